"""``midas convert``: the file that training from disk reads fastest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from midas.cli.common import Data, Quiet, errors, log_to


def convert(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="An .h5mu or .h5ad file, as the input.")],
    quiet: Quiet = False,
) -> None:
    """Write the same data so that cells can be read fast in portions, for training that leaves the counts on disk.

    Counts become CSR in the smallest type of whole numbers that holds them, in small chunks and lightly compressed. Cells,
    their order and all names stay; so does everything beside the counts.

    Example: `midas convert atlas.h5mu -o fast.h5mu && midas integrate fast.h5mu -o result.h5mu --backed`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        from midas.convert import convert as run  # noqa: PLC0415

        log_to(console)
        run(data, output)
        console.print(f"Store: {output}")
