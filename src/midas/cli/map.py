"""``midas map``: new data into a reference's space, with its labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from midas.cli.common import BatchKey, Data, Layer, Seed, errors, key_of, log_to

if TYPE_CHECKING:
    from midas.transfer import Labels


def map_(  # noqa: PLR0913 - one argument per option
    data: Data,
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            "-r",
            help="A saved model: folder, URL of an archive, or hf://owner/name.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Result, an .h5mu file.", show_default=False)],
    labels: Annotated[
        list[str] | None, typer.Option(help="Column of the reference's obs to transfer; may be given several times.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="reciprocal (needs the reference's counts), query, transfer (likewise) or encode (no training); by default "
            "reciprocal where the reference has counts, else query."
        ),
    ] = None,
    batch_key: BatchKey = "batch",
    layer: Layer = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder to save the tuned model in: a reference for the next query.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the archive, when the reference is a URL.")] = None,
    seed: Seed = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Place new cells in a reference's space and give them its labels.

    The result is the query with `obsm["X_midas"]`, `obsm["X_midas_u"]`, and for each label column `obs["<label>_transferred"]`,
    `obs["<label>_confidence"]` and `obs["<label>_unknown_score"]`. Cells of a type that the reference lacks are `Unknown`. The
    reference is not changed.

    Example: `midas map query.h5mu --reference model/ -o mapped.h5mu --labels cell_type`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        from midas.io import check_target, read_file, write_mapped  # noqa: PLC0415
        from midas.model import MIDAS  # noqa: PLC0415
        from midas.storage import check_folder  # noqa: PLC0415
        from midas.transfer import Query, label_cells, map_query  # noqa: PLC0415
        from midas.transfer.automatic import check_mode  # noqa: PLC0415
        from midas.transfer.voting import check_columns  # noqa: PLC0415

        log_to(console)
        check_target(output, data)
        if model is not None:
            check_folder(model)
        known = MIDAS.load(reference, sha256=sha256)
        chosen = check_mode(known, mode)
        check_columns(known.cells, labels or [])
        content = read_file(data)
        query = Query(content, batch_key=key_of(batch_key), layer=layer, seed=seed, progress=not quiet)
        mapped = map_query(known, query, mode=chosen)
        console.print(f"Mapped {int(mapped.is_query.sum()):,} cells ({mapped.mode}).")
        found = label_cells(mapped, labels, seed=seed) if labels else None
        if found is not None:
            _print_labels(console, found, labels or [])
        write_mapped(output, content, mapped, None if found is None else found.table)
        console.print(f"Result: {output}")
        if model is not None:
            mapped.model.save(model)
            console.print(f"Model: {model}")


def _print_labels(console: Console, found: Labels, columns: list[str]) -> None:
    for column in columns:
        table = Table(title=column, title_justify="left")
        table.add_column("label")
        table.add_column("cells", justify="right")
        table.add_column("mean confidence", justify="right")
        given = found.table[f"{column}_transferred"]
        sure = found.table[f"{column}_confidence"].groupby(given, observed=True).agg(["size", "mean"])
        for label, n, mean in sure.sort_values("size", ascending=False).itertuples():
            table.add_row(str(label), f"{n:,}", f"{mean:.2f}")
        console.print(table)
