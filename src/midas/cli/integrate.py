"""``midas integrate``: from a mosaic to its embedding and counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from midas.cli.common import (
    ConfigFile,
    DataOptions,
    Quiet,
    Seed,
    command_line,
    errors,
    escape,
    key_of,
    layer_of,
    log_to,
    names_of,
    tell_if_interrupted,
)
from midas.cli.options import grouped

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from midas.config import Config
    from midas.model import MIDAS
    from midas.reporting import Choices


@dataclass(frozen=True)
class Results:
    """What is written."""

    output: Annotated[Path, typer.Option("--output", "-o", help="Result, an .h5mu file.", show_default=False)]
    model: Annotated[
        Path | None,
        typer.Option(
            help="Folder to save the trained model in, with the cells' latents and obs columns but no counts."
        ),
    ] = None
    with_counts: Annotated[
        int,
        typer.Option(
            help="Keep the counts of so many cells with the model, for reciprocal mapping; 0 for none.", min=0
        ),
    ] = 0
    impute: Annotated[bool, typer.Option("--impute", help="Add imputed counts of every modality for every cell.")] = (
        False
    )
    correct: Annotated[bool, typer.Option("--correct", help="Add batch-corrected counts likewise.")] = False


@dataclass(frozen=True)
class Training:
    """How the model is trained, and where the counts are meanwhile."""

    config: ConfigFile = None
    seed: Seed = 0
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that keeps the state of training; an interrupted run goes on from it.")
    ] = None
    backed: Annotated[
        bool | None,
        typer.Option(
            "--backed/--in-memory",
            help="Leave the counts on disk and read them as they are needed; by default when they would take more than a "
            "third of the memory. `midas convert` makes the file that is read fastest.",
            show_default=False,
        ),
    ] = None
    devices: Annotated[
        int | None,
        typer.Option(help="Processes to train with on each machine, one for each GPU or share of the CPU.", min=1),
    ] = None
    num_nodes: Annotated[int | None, typer.Option(help="Machines to train on, for example under SLURM.", min=1)] = None

    def settings(self) -> Config:
        """Read the configuration; options go before what the file says."""
        from midas.config import Config  # noqa: PLC0415 - keep --help fast

        settings = Config() if self.config is None else Config.from_toml(self.config)
        training = settings.training
        devices, num_nodes = self.devices or training.devices, self.num_nodes or training.num_nodes
        return replace(settings, training=replace(training, devices=devices, num_nodes=num_nodes))


@dataclass(frozen=True)
class Page:
    """The page about the run."""

    report: Annotated[
        Path | None,
        typer.Option(help="Page about the run, an .html file that opens offline. Needs the extra 'report'."),
    ] = None
    report_columns: Annotated[
        str | None, typer.Option(help="Columns of obs that the page shows, separated by commas; '' for none.")
    ] = None
    report_label: Annotated[
        str | None, typer.Option(help="Column of obs with the cells' types, for the page's diagnostics.")
    ] = None
    report_features: Annotated[
        str, typer.Option(help="Features to colour the page's plot by, separated by commas, such as CD3E or adt:CD3.")
    ] = ""
    report_names: Annotated[
        bool, typer.Option("--report-names/--no-report-names", help="Whether the page has the cells' names.")
    ] = True

    @property
    def unused(self) -> tuple[str, ...]:
        """Options that mean nothing without a page."""
        given = {
            "--report-columns": self.report_columns is not None,
            "--report-label": self.report_label is not None,
            "--report-features": bool(self.report_features),
            "--no-report-names": not self.report_names,
        }
        return tuple(name for name, on in given.items() if on)

    def choices(self) -> Choices:
        """What the page shows."""
        from midas.reporting import Choices  # noqa: PLC0415

        columns = None if self.report_columns is None else names_of(self.report_columns)
        return Choices(columns, self.report_label, names_of(self.report_features), self.report_names)


@grouped
def integrate(
    context: typer.Context,
    results: Results,
    source: DataOptions,
    training: Training,
    page: Page,
    quiet: Quiet = False,
) -> None:
    """Train on a mosaic and write the data back with the results.

    The result holds the embedding in `obsm["X_midas"]`, the technical noise in `obsm["X_midas_u"]`, and on request
    `layers["imputed"]` and `layers["corrected"]`; where cells lack a modality, the modality `<name>_imputed` (and
    `<name>_corrected`) has all cells. `--report` adds a page about the run.

    Example: `midas integrate mosaic.h5mu -o result.h5mu --impute --model model/`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        from midas.training.device import compute_of  # noqa: PLC0415

        log_to(console)
        _check_targets(results, source, training, page)
        settings = training.settings()
        first = compute_of(settings.training).ranks.first
        console.quiet = quiet or not first
        content = _read(console, source, training)
        model = _model(content, source, settings, training.seed, page)
        console.print(f"{model}")
        model.fit(progress=not quiet, checkpoint=training.checkpoint, resume=training.checkpoint is not None)
        if first:  # with several processes, another one writes the results
            _write(console, results, model, content)
            _print_findings(console, model, page.report_label)
            _write_page(console, page, model, content, command_line(context))
        tell_if_interrupted(console, model, training.checkpoint)


def _check_targets(results: Results, source: DataOptions, training: Training, page: Page) -> None:
    """Refuse targets that cannot be written, before hours of training."""
    from midas.io.files import check_target  # noqa: PLC0415
    from midas.reporting import check_page  # noqa: PLC0415
    from midas.storage import check_folder  # noqa: PLC0415
    from midas.training.checkpoint import check_checkpoint  # noqa: PLC0415

    check_target(results.output, source.data)
    if results.with_counts and results.model is None:
        raise ValueError(
            "Expected --model with --with-counts, as the counts go beside a model; found none. Add --model DIR."
        )
    if page.report is None and page.unused:
        msg = f"Expected --report with {', '.join(page.unused)}, which say what a page shows; found none. Add --report PAGE.html."
        raise ValueError(msg)
    if training.checkpoint is not None:
        check_checkpoint(training.checkpoint)
    if results.model is not None:
        check_folder(results.model)
    if page.report is not None:
        config = () if training.config is None else (training.config,)
        check_page(page.report, (source.data, results.output, *config))


def _read(console: Console, source: DataOptions, training: Training) -> MuData | AnnData:
    from midas.io.files import read_file, too_large  # noqa: PLC0415

    backed = training.backed
    if backed is None and source.data.is_file() and too_large(source.data):
        console.print("The counts would take more than a third of the memory: they are left on disk (--in-memory).")
        backed = True
    return read_file(source.data, backed=bool(backed))


def _model(content: MuData | AnnData, source: DataOptions, settings: Config, seed: int, page: Page) -> MIDAS:
    """Create the model; refuse data whose results, or whose page, could not be written."""
    from midas.model import MIDAS  # noqa: PLC0415
    from midas.reporting import check_choices  # noqa: PLC0415
    from midas.results import check_rows  # noqa: PLC0415

    model = MIDAS(content, batch_key=key_of(source.batch_key), layer=layer_of(source.layer), config=settings, seed=seed)
    assert model.mosaic is not None
    check_rows(model.mosaic.cells, content)
    if page.report is not None:
        check_choices(content, model.mosaic, page.choices())
    return model


def _write(console: Console, results: Results, model: MIDAS, content: MuData | AnnData) -> None:
    from midas.io import write_result  # noqa: PLC0415

    if results.model is not None:
        model.save(results.model, with_counts=results.with_counts)
        console.print(f"Model: {results.model}")
    write_result(results.output, content, model, impute=results.impute, correct=results.correct, mosaic=model.mosaic)
    console.print(f"Result: {results.output}")


def _print_findings(console: Console, model: MIDAS, label: str | None) -> None:
    """Report what is worth a look in the integration; with --report, the page has the rest."""
    if console.quiet:
        return
    from midas.reporting import diagnose  # noqa: PLC0415

    found = diagnose(model, label=label)
    doubtful = found[found["level"].isin(["look", "poor"])]
    for _, (level, title, sentence) in doubtful.iterrows():
        console.print(f"[yellow]![/] {title} ({level}): {escape(sentence)}", highlight=False)
    if len(doubtful):
        for advice in found.attrs["advice"]:
            console.print(f"  {escape(advice)}", highlight=False)
    else:
        console.print("Nothing in the integration looks amiss (midas.diagnose).", highlight=False)


def _write_page(console: Console, page: Page, model: MIDAS, content: MuData | AnnData, command: str) -> None:
    from midas.reporting import report  # noqa: PLC0415

    if page.report is None:
        return
    chosen = page.choices()
    report(
        model,
        content,
        page.report,
        columns=chosen.columns,
        label=chosen.label,
        features=chosen.features,
        cell_names=chosen.cell_names,
        command=command,
    )
    console.print(f"Report: {page.report}")
