"""The progress bar: epochs, the terms of the objective, the time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import rich.progress
from rich.console import Console

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
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=20),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("[dim]{task.fields[terms]}"),
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
        terms = "  ".join(
            f"{_SHORT.get(name, name.removeprefix('reconstruction_'))} {value:.4g}"
            for name, value in record.items()
            if name in _SHORT or name.startswith("reconstruction_")
        )
        if "val_total" in record:
            terms += f"  held out {record['val_total']:.4g}"
        self._bar.update(self._task, total=total_steps, description=f"epoch {int(record['epoch']) + 1}", terms=terms)
