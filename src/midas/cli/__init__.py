"""The command line: one file per command, listed here. Heavy imports are inside the commands, so that ``--help`` is fast."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from midas.cli.bench import bench
from midas.cli.convert import convert
from midas.cli.inspect import inspect
from midas.cli.integrate import integrate
from midas.cli.map import label, map_
from midas.cli.prepare import prepare
from midas.cli.simulate import simulate

app = typer.Typer(
    name="midas",
    help="Integrate a mosaic of single-cell RNA, protein and chromatin data: one embedding, imputed and batch-corrected counts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"midas-mosaic {importlib.metadata.version('midas-mosaic')}")
        raise typer.Exit


@app.callback()
def _midas(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Have options of the whole program beside those of its commands."""


for command in (prepare, convert, inspect, integrate, label, simulate, bench):
    app.command()(command)
app.command("map")(map_)
