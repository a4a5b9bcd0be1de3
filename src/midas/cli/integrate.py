"""``midas integrate``: from a mosaic to its embedding and counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from midas.cli.common import BatchKey, ConfigFile, Data, Layer, Seed, command_line, errors, key_of, log_to


def integrate(  # noqa: PLR0913 - one argument per option
    context: typer.Context,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Result, an .h5mu file.", show_default=False)],
    batch_key: BatchKey = "batch",
    layer: Layer = None,
    config: ConfigFile = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Folder to save the trained model in, with the cells' latents and obs columns but no counts."
        ),
    ] = None,
    with_cells: Annotated[
        int,
        typer.Option(
            help="Keep the counts of so many cells with the model, for reciprocal mapping; 0 for none.", min=0
        ),
    ] = 0,
    seed: Seed = 0,
    impute: Annotated[
        bool, typer.Option("--impute", help="Add imputed counts of every modality for every cell.")
    ] = False,
    correct: Annotated[bool, typer.Option("--correct", help="Add batch-corrected counts likewise.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that keeps the state of training; an interrupted run goes on from it.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Page about the run, an .html file that opens offline. Needs the extra 'report'."),
    ] = None,
    report_columns: Annotated[
        str | None, typer.Option(help="Columns of obs that the page shows, separated by commas; '' for none.")
    ] = None,
    report_label: Annotated[
        str | None, typer.Option(help="Column of obs with the cells' types, for the page's diagnostics.")
    ] = None,
    report_features: Annotated[
        str, typer.Option(help="Features to colour the page's plot by, separated by commas, such as CD3E or adt:CD3.")
    ] = "",
    report_names: Annotated[
        bool, typer.Option("--report-names/--no-report-names", help="Whether the page has the cells' names.")
    ] = True,
    backed: Annotated[
        bool | None,
        typer.Option(
            "--backed/--in-memory",
            help="Leave the counts on disk and read them as they are needed; by default when they would take more than a "
            "third of the memory. `midas convert` makes the file that is read fastest.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(help="Processes to train with on each machine, one for each GPU or share of the CPU.", min=1),
    ] = None,
    num_nodes: Annotated[int | None, typer.Option(help="Machines to train on, for example under SLURM.", min=1)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train on a mosaic and write the data back with the results.

    The result holds the embedding in `obsm["X_midas"]`, the technical noise in `obsm["X_midas_u"]`, and on request
    `layers["imputed"]` and `layers["corrected"]`; where cells lack a modality, the modality `<name>_imputed` (and
    `<name>_corrected`) has all cells. `--report` adds a page about the run.

    Example: `midas integrate mosaic.h5mu -o result.h5mu --impute --model model/`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        from midas.config import Config  # noqa: PLC0415
        from midas.io import check_target, read_file, too_large, write_result  # noqa: PLC0415
        from midas.model import MIDAS  # noqa: PLC0415
        from midas.reporting import Choices, check_choices, check_page  # noqa: PLC0415
        from midas.reporting import report as write_report  # noqa: PLC0415
        from midas.results import check_rows  # noqa: PLC0415
        from midas.storage import check_folder  # noqa: PLC0415
        from midas.training.device import compute_of  # noqa: PLC0415

        log_to(console)
        check_target(output, data)
        if model is not None:
            check_folder(model)
        columns = None if report_columns is None else tuple(filter(None, report_columns.split(",")))
        choices = Choices(columns, report_label, tuple(filter(None, report_features.split(","))), report_names)
        if report is not None:
            check_page(report, (data, output, *([] if config is None else [config])))
        settings = Config() if config is None else Config.from_toml(config)
        training = settings.training
        training = replace(training, devices=devices or training.devices, num_nodes=num_nodes or training.num_nodes)
        settings = replace(settings, training=training)
        first = compute_of(settings.training).ranks.first
        console.quiet = quiet or not first
        if backed is None and data.is_file() and too_large(data):
            console.print("The counts would take more than a third of the memory: they are left on disk (--in-memory).")
            backed = True
        content = read_file(data, backed=bool(backed))
        fitted = MIDAS(content, batch_key=key_of(batch_key), layer=layer, config=settings, seed=seed)
        assert fitted.mosaic is not None
        check_rows(fitted.mosaic, content)
        if report is not None:
            check_choices(content, fitted.mosaic, choices)
        console.print(f"{fitted}")
        fitted.fit(progress=not quiet, checkpoint=checkpoint, resume=checkpoint is not None)
        if not first:  # another process writes the results
            return
        if model is not None:
            fitted.save(model, with_cells=with_cells)
            console.print(f"Model: {model}")
        write_result(output, content, fitted, impute=impute, correct=correct, mosaic=fitted.mosaic)
        console.print(f"Result: {output}")
        if report is not None:
            write_report(
                fitted,
                content,
                report,
                columns=choices.columns,
                label=choices.label,
                features=choices.features,
                cell_names=choices.cell_names,
                command=command_line(context),
            )
            console.print(f"Report: {report}")
