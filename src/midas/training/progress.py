"""The progress bar: epochs, the terms of the objective, the time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import rich.progress
from rich.console import Console
from rich.table import Column

_SHORT = {
    "batch_reconstruction": "batch",
    "alignment": "align",
    "discriminator": "discr",
    "total": "total",
    "kl_c": "kl c",
}
_EVERY = 10  # steps between updates


class Progress:
    """A bar over all steps of a run; silent when not shown."""

    def __init__(self, total_steps: int, *, shown: bool) -> None:
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=14)),
            rich.progress.BarColumn(bar_width=12),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left", table_column=Column(no_wrap=True)),
            rich.progress.TimeRemainingColumn(compact=True),
            rich.progress.TextColumn(
                "[dim]{task.fields[terms]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
            console=Console(stderr=True),
            disable=not shown,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("training", total=total_steps, terms="")
        self._pending = 0

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

    def epoch(self, record: dict[str, float], total_steps: int) -> None:
        """Show an epoch's mean terms."""
        held_out = f"held out {record['val_total']:.5g}  " if "val_total" in record else ""
        terms = held_out + "  ".join(
            f"{_SHORT.get(name, name.removeprefix('reconstruction_'))} {value:.4g}"
            for name, value in record.items()
            if name in _SHORT or name.startswith("reconstruction_")
        )
        self._bar.update(self._task, total=total_steps, description=f"epoch {int(record['epoch']) + 1:,}", terms=terms)
