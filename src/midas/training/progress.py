"""Progress of a run: a bar in a terminal or notebook, occasional lines elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import rich.progress
from rich.console import Console
from rich.table import Column

_SHORT = {
    "batch_reconstruction": "batch",
    "alignment": "align",
    "discriminator": "discr",
    "kl_c": "kl c",
}
_FIRST = {"total": "total", "val_total": "held out"}
_EVERY = 10  # steps between updates
_WIDTH: Final = 51  # of the bar without its terms, from ten hours on
_BETWEEN_LINES: Final = 60.0  # seconds, at most


class Progress:
    """Progress bar over all steps of a run, some of which may already be done; silent if not shown.

    Without a terminal, as in the log of a job, prints a line after each tenth of the steps and at least once a minute.
    """

    def __init__(self, total_steps: int, *, done: int = 0, shown: bool) -> None:
        self._console = Console(stderr=True)
        drawn = self._console.is_terminal or self._console.is_jupyter
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=14)),
            rich.progress.BarColumn(bar_width=12),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left", table_column=Column(no_wrap=True)),
            rich.progress.TimeRemainingColumn(compact=True),
            rich.progress.TextColumn(
                "[dim]{task.fields[terms]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
            console=self._console,
            disable=not (shown and drawn),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("training", total=total_steps, completed=done, terms="")
        self._pending = 0
        self._lines = _Lines(self._console, total_steps, done) if shown and not drawn else None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.update(self._task, advance=self._pending)
        self._bar.stop()

    def advance(self) -> None:
        """Count a step."""
        self._pending += 1
        if self._pending >= _EVERY:
            self._bar.update(self._task, advance=self._pending)
            self._pending = 0
        if self._lines is not None:
            self._lines.advance()

    def epoch(self, record: dict[str, float], total_steps: int) -> None:
        """Show an epoch's mean terms."""
        name = f"epoch {int(record['epoch']) + 1:,}"
        shown = _fitting(_terms(record, _FIRST | _names(record)), self._console.width - _WIDTH)
        self._bar.update(self._task, total=total_steps, description=name, terms=shown)
        if self._lines is not None:
            self._lines.epoch(f"{name}: {', '.join(_terms(record, _FIRST))}", total_steps)


class _Lines:
    """Lines of plain text."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console, self._total, self._done, self._before = console, total, done, done
        self._started = self._last = time.monotonic()
        self._tenth = self._tenths()
        self._name = "training"

    def _tenths(self) -> int:
        return 10 * self._done // max(1, self._total)

    def advance(self) -> None:
        """Count a step; print a line if a minute has passed."""
        self._done += 1
        if time.monotonic() - self._last >= _BETWEEN_LINES:
            self._say()

    def epoch(self, name: str, total: int) -> None:
        """Update the epoch and its terms; print a line if another tenth of the steps is done."""
        self._name, self._total = name, total
        if self._tenths() > self._tenth:
            self._say()

    def _say(self) -> None:
        self._last, self._tenth = time.monotonic(), self._tenths()
        took = self._last - self._started
        left = took / max(1, self._done - self._before) * (self._total - self._done)
        took_text, left_text = (timedelta(seconds=round(seconds)) for seconds in (took, left))
        line = f"{self._name}; step {self._done:,} of {self._total:,}, {took_text} passed, about {left_text} left"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _names(record: dict[str, float]) -> dict[str, str]:
    """Short names of an epoch's terms."""
    return {
        name: _SHORT.get(name, name.removeprefix("reconstruction_"))
        for name in record
        if name in _SHORT or name.startswith("reconstruction_")
    }


def _terms(record: dict[str, float], names: dict[str, str]) -> list[str]:
    return [f"{short} {record[name]:.5g}" for name, short in names.items() if name in record]


def _fitting(terms: list[str], width: int) -> str:
    """As many of the first terms as fit; numbers are never truncated."""
    line = ""
    for term in terms:
        longer = f"{line}  {term}" if line else term
        if len(longer) > width:
            break
        line = longer
    return line
