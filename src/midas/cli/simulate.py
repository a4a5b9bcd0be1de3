"""``midas simulate``: a mosaic with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from midas.cli.common import Quiet, Seed, errors


def simulate(
    output: Annotated[Path, typer.Option("--output", "-o", help="An .h5mu file.", show_default=False)],
    cells: Annotated[int, typer.Option(help="Cells in all batches together.", min=1)] = 2000,
    genes: Annotated[int, typer.Option(min=1)] = 1000,
    proteins: Annotated[int, typer.Option(min=1)] = 50,
    peaks: Annotated[int, typer.Option(min=1)] = 2000,
    mosaic: Annotated[
        str, typer.Option(help="Modalities of each batch, batches separated by commas.")
    ] = "rna+adt+atac,rna+adt,rna+atac,adt+atac",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Make a mosaic with known truth: cell types in a tree, a continuous branch, batch effects, linked features.

    Example: `midas simulate -o mosaic.h5mu --cells 3000 --mosaic rna+adt,rna,adt`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        from midas.io.files import check_target, write_mudata  # noqa: PLC0415
        from midas.simulate import SimulationConfig  # noqa: PLC0415
        from midas.simulate import mosaic as make  # noqa: PLC0415

        check_target(output)
        config = SimulationConfig(
            n_cells=cells, n_genes=genes, n_proteins=proteins, n_peaks=peaks, mosaic=tuple(mosaic.split(","))
        )
        write_mudata(output, make(config, seed=seed))
        console.print(f"Mosaic: {output}")
