"""``midas inspect``: what a mosaic or a saved model is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from midas.cli.common import BatchKey, ConfigFile, Data, Layer, as_options, errors, escape, key_of, layer_of

if TYPE_CHECKING:
    import pandas as pd

    from midas.data.mosaic import Mosaic


def inspect(data: Data, batch_key: BatchKey = "batch", layer: Layer = None, config: ConfigFile = None) -> None:
    """Print what is in a mosaic, what looks wrong, and what would be trained.

    Nothing is changed or written. Also prints what a saved model (a folder) was trained on.

    Example: `midas inspect mosaic.h5mu`
    """
    console = Console()
    with errors(console):
        if data.is_dir():
            _print_card(console, data)
            return
        from midas.bridging import bridged_by_genes  # noqa: PLC0415 - keep --help fast
        from midas.config import Config  # noqa: PLC0415
        from midas.data import read_mosaic  # noqa: PLC0415
        from midas.io import read_file  # noqa: PLC0415
        from midas.training.plan import plan_training  # noqa: PLC0415

        settings = Config() if config is None else Config.from_toml(config)
        logging.getLogger("midas").setLevel(logging.ERROR)  # the notes are printed below
        mosaic = read_mosaic(read_file(data), batch_key=key_of(batch_key), layer=layer_of(layer))
        mosaic = mosaic.suited_to(settings.network)
        _print_mosaic(console, mosaic)
        if settings.training.bridge:
            mosaic, bridges = bridged_by_genes(mosaic, seed=0)
            for bridge in bridges:
                console.print(escape(str(bridge)), highlight=False)
        plan = plan_training(mosaic, settings.training, seed=0)
        console.print(
            f"\nWould train on {len(plan.train):,} cells ({len(plan.validation):,} held out): at most {plan.epochs:,} epochs of "
            f"{plan.steps_per_epoch:,} steps, {plan.batch_size:,} cells a step."
        )


def _print_mosaic(console: Console, mosaic: Mosaic) -> None:
    from midas.data.summary import summarise  # noqa: PLC0415
    from midas.text import counted  # noqa: PLC0415

    summary = summarise(mosaic)
    table = Table(
        title=f"{mosaic.n_cells:,} cells, {counted(len(mosaic.batches), 'batch', 'batches')}", title_justify="left"
    )
    table.add_column("batch")
    for name in summary.cells.columns:
        table.add_column(str(name) if name != "all" else "all cells", justify="right")
    for batch in summary.cells.index:
        row = []
        for name in summary.cells.columns:
            n = int(summary.cells.loc[batch, name])
            width = "" if name == "all" or not n else f" x {int(summary.features.loc[batch, name]):,}"
            row.append(f"{n:,}{width}" if n else "-")
        table.add_row(str(batch), *row)
    console.print(table)
    _print_frame(console, summary.combinations, "Cells by what they have")
    for modality, part in mosaic.schema.modalities.items():
        kind = part.modality
        blocks = f", {len(part.blocks)} blocks (chromosomes)" if len(part.blocks) > 1 else ""
        console.print(f"{modality}: {part.n_features:,} features, {kind.likelihood}, {kind.transform}{blocks}")
    for (a, b), n in summary.bridges.items():
        console.print(f"bridge {a} - {b}: {n:,} cells")
    for warning in summary.warnings:
        console.print(f"[yellow]![/] {escape(as_options(warning))}", highlight=False)


def _print_frame(console: Console, frame: pd.DataFrame, title: str) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column(str(frame.index.name))
    for name in frame.columns:
        table.add_column(str(name), justify="right")
    for index, row in frame.iterrows():
        table.add_row(str(index), *(f"{int(value):,}" if value else "-" for value in row))
    console.print(table)


def _print_card(console: Console, folder: Path) -> None:
    from midas.storage import ModelFileError, read_card  # noqa: PLC0415
    from midas.text import counted  # noqa: PLC0415

    try:
        description = read_card(folder)
    except ModelFileError as error:
        if any(folder.glob("*.json")):
            raise
        msg = f"{error} To make a mosaic of raw files, see midas prepare."
        raise ModelFileError(msg) from error
    card = description["card"]
    console.print(f"Model of midas-mosaic {description['versions']['midas-mosaic']}, saved {description['created']}")
    n_batches = counted(len(description["schema"]["batches"]), "batch", "batches")
    console.print(f"{card['total_cells']:,} cells, {n_batches}")
    for name, part in description["schema"]["modalities"].items():
        cells = sum(card["cells"][name].values())
        console.print(f"{name}: {len(part['features']):,} features, {cells:,} cells, {part['modality']['likelihood']}")
