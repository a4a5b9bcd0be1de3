"""The command line: ``midas inspect``, ``midas integrate``, ``midas simulate``."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from midas.data.mosaic import Mosaic

app = typer.Typer(
    name="midas",
    help="Integrate a mosaic of single-cell RNA, protein and chromatin data: one embedding, imputed and batch-corrected counts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Data = Annotated[
    Path, typer.Argument(help="An .h5mu file (or .h5ad of one modality) with raw counts.", show_default=False)
]
BatchKey = Annotated[
    str, typer.Option(help="Column of obs that names each cell's batch; 'none' when all cells are one batch.")
]
Layer = Annotated[str | None, typer.Option(help="Layer that holds the counts, instead of X.")]
Seed = Annotated[int, typer.Option(help="Same seed, same data, same machine: same result.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        help='TOML file with tables [network], [objective], [training]; `preset = "paper"` for the published set-up.'
    ),
]


@app.command()
def inspect(data: Data, batch_key: BatchKey = "batch", layer: Layer = None, config: ConfigFile = None) -> None:
    """Print what is in a mosaic, what looks wrong, and what would be trained.

    Nothing is changed or written. Also prints what a saved model (a folder) was trained on.

    Example: `midas inspect mosaic.h5mu`
    """
    console = Console()
    with _errors(console):
        if data.is_dir():
            _print_card(console, data)
            return
        from midas.config import Config  # noqa: PLC0415 - keep --help fast
        from midas.data import read_mosaic  # noqa: PLC0415
        from midas.io import read_file  # noqa: PLC0415
        from midas.training.plan import plan_training  # noqa: PLC0415

        settings = Config() if config is None else Config.from_toml(config)
        logging.getLogger("midas").setLevel(logging.ERROR)  # the notes are printed below
        mosaic = read_mosaic(read_file(data), batch_key=_key(batch_key), layer=layer)
        _print_mosaic(console, mosaic)
        plan = plan_training(mosaic, settings.training, seed=0)
        console.print(
            f"\nWould train on {len(plan.train):,} cells ({len(plan.validation):,} held out): at most {plan.epochs:,} epochs of "
            f"{plan.steps_per_epoch:,} steps, {plan.batch_size:,} cells a step."
        )


@app.command()
def integrate(  # noqa: PLR0913 - one argument per option
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Result, an .h5mu file.", show_default=False)],
    batch_key: BatchKey = "batch",
    layer: Layer = None,
    config: ConfigFile = None,
    model: Annotated[Path | None, typer.Option(help="Folder to save the trained model in.")] = None,
    seed: Seed = 0,
    impute: Annotated[
        bool, typer.Option("--impute", help="Add imputed counts of every modality for every cell.")
    ] = False,
    correct: Annotated[bool, typer.Option("--correct", help="Add batch-corrected counts likewise.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that keeps the state of training; an interrupted run goes on from it.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train on a mosaic and write the data back with the results.

    The result holds the embedding in `obsm["X_midas"]`, the technical noise in `obsm["X_midas_u"]`, and on request
    `layers["imputed"]` and `layers["corrected"]`; where cells lack a modality, the modality `<name>_imputed` (and
    `<name>_corrected`) has all cells.

    Example: `midas integrate mosaic.h5mu -o result.h5mu --impute --model model/`
    """
    console = Console(stderr=True, quiet=quiet)
    with _errors(console):
        from midas.config import Config  # noqa: PLC0415
        from midas.io import check_target, read_file, write_result  # noqa: PLC0415
        from midas.model import MIDAS  # noqa: PLC0415
        from midas.results import check_rows  # noqa: PLC0415
        from midas.storage import check_folder  # noqa: PLC0415

        _log_to(console)
        check_target(output, data)
        if model is not None:
            check_folder(model)
        settings = Config() if config is None else Config.from_toml(config)
        content = read_file(data)
        fitted = MIDAS(content, batch_key=_key(batch_key), layer=layer, config=settings, seed=seed)
        assert fitted.mosaic is not None
        check_rows(fitted.mosaic, content)
        console.print(f"{fitted}")
        fitted.fit(progress=not quiet, checkpoint=checkpoint, resume=checkpoint is not None)
        if model is not None:
            fitted.save(model)
            console.print(f"Model: {model}")
        write_result(output, content, fitted, impute=impute, correct=correct)
        console.print(f"Result: {output}")


@app.command()
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
) -> None:
    """Make a mosaic with known truth: cell types in a tree, a continuous branch, batch effects, linked features.

    Example: `midas simulate -o mosaic.h5mu --cells 3000 --mosaic rna+adt,rna,adt`
    """
    console = Console(stderr=True)
    with _errors(console):
        from midas.io import check_target, write_mudata  # noqa: PLC0415
        from midas.simulate import SimulationConfig  # noqa: PLC0415
        from midas.simulate import mosaic as make  # noqa: PLC0415

        check_target(output)
        config = SimulationConfig(
            n_cells=cells, n_genes=genes, n_proteins=proteins, n_peaks=peaks, mosaic=tuple(mosaic.split(","))
        )
        write_mudata(output, make(config, seed=seed))
        console.print(f"Mosaic: {output}")


def _key(batch_key: str) -> str | None:
    return None if batch_key == "none" else batch_key


def _log_to(console: Console) -> None:
    handler = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    # Shared feature names of two modalities are no concern here: features are looked up per modality.
    warnings.filterwarnings("ignore", module="mudata")
    package = logging.getLogger("midas")
    package.handlers = [handler]
    package.propagate = False
    package.setLevel(logging.INFO)


class _errors:  # noqa: N801 - used like a function
    """Turn errors that the user can mend into one message and exit code 1; anything else stays a traceback."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        expected = (ValueError, KeyError, TypeError, OSError, ArithmeticError)
        if isinstance(error, KeyboardInterrupt):
            self._fail("Interrupted; nothing was written.", 130)
        if isinstance(error, expected):
            self._fail(str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error), 1)

    def _fail(self, message: str, code: int) -> NoReturn:
        Console(stderr=True).print(f"[bold red]Error:[/] {_escape(message)}", highlight=False, soft_wrap=True)
        raise typer.Exit(code)


def _escape(text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415

    return escape(text)


def _print_mosaic(console: Console, mosaic: Mosaic) -> None:
    from midas.data.summary import summarise  # noqa: PLC0415

    summary = summarise(mosaic)
    table = Table(title=f"{mosaic.n_cells:,} cells, {len(mosaic.batches)} batches", title_justify="left")
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
        console.print(f"[yellow]![/] {_escape(warning)}", highlight=False)


def _print_frame(console: Console, frame: pd.DataFrame, title: str) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column(str(frame.index.name))
    for name in frame.columns:
        table.add_column(str(name), justify="right")
    for index, row in frame.iterrows():
        table.add_row(str(index), *(f"{int(value):,}" if value else "-" for value in row))
    console.print(table)


def _print_card(console: Console, folder: Path) -> None:
    from midas.storage import read_card  # noqa: PLC0415

    description = read_card(folder)
    card = description["card"]
    console.print(f"Model of midas-mosaic {description['versions']['midas-mosaic']}, saved {description['created']}")
    console.print(f"{card['total_cells']:,} cells, {len(description['schema']['batches'])} batches")
    for name, part in description["schema"]["modalities"].items():
        cells = sum(card["cells"][name].values())
        console.print(f"{name}: {len(part['features']):,} features, {cells:,} cells, {part['modality']['likelihood']}")


if __name__ == "__main__":
    app()
