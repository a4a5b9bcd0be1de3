"""``midas bench``: this package and others on the same tasks, in one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from midas.cli.common import errors, escape, log_to

_QUICK_CELLS, _QUICK_SECONDS = 1000, 30.0
_FULL_METHODS = "midas,scmidas,scmidas-equal-time"


def bench(  # noqa: PLR0913 - one argument per option
    out: Annotated[Path, typer.Argument(help="Folder for runs, table and figures.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Folder with the data files; else the variable MIDAS_DATA.")] = None,
    datasets: Annotated[str | None, typer.Option(help="Comma-separated; all if left out.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated; all of each data set if left out.")] = None,
    methods: Annotated[
        str | None, typer.Option(help=f"Comma-separated; if left out, all with --quick, else {_FULL_METHODS}.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated; 0 with --quick.")] = "0,1,2",
    cells: Annotated[int, typer.Option(help="Cells of a task at most, 0 for all.", min=0)] = 2000,
    seconds: Annotated[
        float | None, typer.Option(help="CPU seconds of training for other methods that train in epochs.", min=0)
    ] = None,
    timeout: Annotated[float, typer.Option(help="Wall seconds after which a method is ended.", min=1)] = 7200,
    threads: Annotated[int, typer.Option(help="Threads of each method.", min=1)] = 1,
    environments: Annotated[
        Path | None, typer.Option(help="Folder with the methods' environments; the user's cache if left out.")
    ] = None,
    python: Annotated[str, typer.Option(help="Interpreter that environments are made with.")] = sys.executable,
    setup: Annotated[
        bool, typer.Option("--setup", help="Make missing environments from PyPI first; only then are other tools run.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"A few tasks, {_QUICK_CELLS:,} cells, seed 0, at most {_QUICK_SECONDS:g} CPU seconds of training.",
        ),
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Repeat runs that failed or took too long.")] = False,
) -> None:
    """Run data sets x tasks x methods x seeds, one at a time, and write a table and figures.

    Finished runs are kept, so the same command goes on after an interruption. `OUT/table.md` says for each method what it scored,
    what it took, or why it could not be run.

    Example: `midas bench results/ --data DATA --quick --setup`
    """
    console = Console(stderr=True)
    with errors(console):
        from midas.bench.data import grid  # noqa: PLC0415 - keep --help fast
        from midas.bench.environments import default_folder, prepare  # noqa: PLC0415
        from midas.bench.figures import write_figures  # noqa: PLC0415
        from midas.bench.grid import Settings, run_grid  # noqa: PLC0415
        from midas.bench.registry import chosen  # noqa: PLC0415
        from midas.bench.scoring import COLUMNS, OVERALL, TITLES, instrument  # noqa: PLC0415
        from midas.bench.table import write_tables  # noqa: PLC0415

        log_to(console)
        cases = grid(datasets, tasks, quick=quick)
        wanted = chosen(methods if methods is not None or quick else _FULL_METHODS)
        place = environments or default_folder()
        if setup:
            for name, reason in prepare(wanted, place, python=python).items():
                console.print(f"{name}: {escape(reason or 'ready')}", highlight=False)
        settings = Settings(
            cells=(_QUICK_CELLS if quick else cells) or None,
            seconds=_QUICK_SECONDS if quick and seconds is None else seconds,
            timeout=timeout,
            threads=threads,
        )
        numbers = [0] if quick else _seeds(seeds)
        run_grid(
            out,
            cases,
            wanted,
            seeds=numbers,
            settings=settings,
            environments=place,
            instrument=instrument(data),
            retry=retry,
        )
        summary = write_tables(out, scores=COLUMNS, titles=TITLES)
        figures = write_figures(out, summary, COLUMNS, OVERALL, TITLES)
        for file in (out / "table.md", out / "table.csv", *figures):
            console.print(str(file), highlight=False)


def _seeds(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found:
        msg = f"Expected seeds as whole numbers separated by commas, found {text!r}."
        raise ValueError(msg)
    return found
