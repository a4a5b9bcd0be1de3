"""``midas bench``: this package and others on the same tasks, in one table."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from midas.cli.common import Quiet, errors, escape, log_to
from midas.cli.options import grouped

if TYPE_CHECKING:
    from midas.bench.grid import Settings
    from midas.bench.registry import Method

_QUICK_CELLS, _QUICK_SECONDS = 1000, 30.0
_FULL_METHODS = "midas,scmidas,scmidas-equal-time"


@dataclass(frozen=True)
class Wanted:
    """What is run."""

    datasets: Annotated[str | None, typer.Option(help="Comma-separated; all if left out.")] = None
    tasks: Annotated[str | None, typer.Option(help="Comma-separated; all of each data set if left out.")] = None
    methods: Annotated[
        str | None, typer.Option(help=f"Comma-separated; if left out, all with --quick, else {_FULL_METHODS}.")
    ] = None
    seeds: Annotated[str, typer.Option(help="Comma-separated; 0 with --quick.")] = "0,1,2"


@dataclass(frozen=True)
class Limits:
    """How much each run may take."""

    cells: Annotated[int, typer.Option(help="Cells of a task at most, 0 for all.", min=0)] = 2000
    seconds: Annotated[
        float | None, typer.Option(help="CPU seconds of training for other methods that train in epochs.", min=0)
    ] = None
    timeout: Annotated[float, typer.Option(help="Wall seconds after which a method is ended.", min=1)] = 7200
    threads: Annotated[int, typer.Option(help="Threads of each method.", min=1)] = 1

    def settings(self, *, quick: bool) -> Settings:
        """The limits of the runs."""
        from midas.bench.grid import Settings  # noqa: PLC0415 - keep --help fast

        return Settings(
            cells=(_QUICK_CELLS if quick else self.cells) or None,
            seconds=_QUICK_SECONDS if quick and self.seconds is None else self.seconds,
            timeout=self.timeout,
            threads=self.threads,
        )


@dataclass(frozen=True)
class Tools:
    """Where the methods are installed."""

    environments: Annotated[
        Path | None, typer.Option(help="Folder with the methods' environments; the user's cache if left out.")
    ] = None
    python: Annotated[str, typer.Option(help="Interpreter that environments are made with.")] = sys.executable
    setup: Annotated[
        bool, typer.Option("--setup", help="Make missing environments from PyPI first; only then are other tools run.")
    ] = False

    def folder(self, console: Console, methods: list[Method]) -> Path:
        """Folder with the environments; those that the methods lack are made first if wanted."""
        from midas.bench.environments import default_folder, prepare  # noqa: PLC0415

        place = self.environments or default_folder()
        if self.setup:
            for name, reason in prepare(methods, place, python=self.python).items():
                console.print(f"{name}: {escape(reason or 'ready')}", highlight=False)
        return place


@grouped
def bench(
    *,
    out: Annotated[Path, typer.Argument(help="Folder for runs, table and figures.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Folder with the data files; else the variable MIDAS_DATA.")] = None,
    wanted: Wanted,
    limits: Limits,
    tools: Tools,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"A few tasks, {_QUICK_CELLS:,} cells, seed 0, at most {_QUICK_SECONDS:g} CPU seconds of training.",
        ),
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Repeat runs that failed, took too long, or could not be scored.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run data sets x tasks x methods x seeds, one at a time, and write a table and figures.

    Finished runs are kept, so the same command goes on after an interruption. `OUT/table.md` says for each method what it scored,
    what it took, or why it could not be run.

    Example: `midas bench results/ --data DATA --quick --setup`
    """
    console = Console(stderr=True, quiet=quiet)
    with errors(console):
        from midas.bench.data import grid  # noqa: PLC0415
        from midas.bench.grid import run_grid  # noqa: PLC0415
        from midas.bench.registry import parse_methods  # noqa: PLC0415
        from midas.bench.scoring import instrument  # noqa: PLC0415

        log_to(console)
        cases = grid(wanted.datasets, wanted.tasks, quick=quick)
        methods = parse_methods(wanted.methods if wanted.methods is not None or quick else _FULL_METHODS)
        place = tools.folder(console, methods)
        run_grid(
            out,
            cases,
            methods,
            settings=limits.settings(quick=quick),
            seeds=[0] if quick else _seeds(wanted.seeds),
            environments=place,
            instrument=instrument(data),
            retry=retry,
        )
        for file in _write(out):
            console.print(str(file), highlight=False)


def _write(out: Path) -> tuple[Path, ...]:
    """Write tables and figures of all runs in the folder."""
    from midas.bench.figures import write_figures  # noqa: PLC0415
    from midas.bench.scoring import COLUMNS, OVERALL, TITLES  # noqa: PLC0415
    from midas.bench.table import write_tables  # noqa: PLC0415

    summary = write_tables(out, scores=COLUMNS, titles=TITLES)
    figures = write_figures(out, summary, COLUMNS, OVERALL, TITLES)
    return (out / "table.md", out / "table.csv", *figures)


def _seeds(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found:
        msg = f"Expected seeds as whole numbers separated by commas, found {text!r}."
        raise ValueError(msg)
    return found
