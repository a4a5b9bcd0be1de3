"""Learning-rate schedule and early stopping."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midas.config import TrainingConfig


@dataclass(frozen=True)
class LearningRate:
    """Learning-rate factor at each step: warm-up, constant, decay.

    Attributes
    ----------
    warmup_steps
        Steps over which the rate rises.
    decay_start
        Step at which the rate begins to fall.
    end
        Step at which training ends; a decaying rate reaches zero there.
    """

    warmup_steps: int
    decay_start: int
    end: int

    @classmethod
    def of(cls, training: TrainingConfig, total_steps: int) -> LearningRate:
        """Lay out the schedule over a full run."""
        if training.schedule == "constant":
            return cls(0, total_steps, total_steps)
        fall = round(training.decay * total_steps)
        return cls(round(training.warmup * total_steps), total_steps - fall, total_steps)

    def factor(self, step: int) -> float:
        """Factor at a step, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if step < self.decay_start:
            return 1.0
        return max(0.0, (self.end - step) / max(1, self.end - self.decay_start))

    def wind_down(self, step: int) -> LearningRate:
        """Start the decay now, with a length in the planned proportion to the steps done."""
        if step >= self.decay_start:
            return self
        share = (self.end - self.decay_start) / max(1, self.decay_start)
        return replace(self, decay_start=step, end=step + max(1, round(share * step)))


@dataclass
class EarlyStopping:
    """Tracks the best validation loss, and whether the patience is exhausted."""

    patience: int | None
    best: float = float("inf")
    best_epoch: int = -1

    def better(self, loss: float, epoch: int) -> bool:
        """Record a loss; return whether it is the best so far."""
        if loss < self.best:
            self.best, self.best_epoch = loss, epoch
            return True
        return False

    def exhausted(self, epoch: int) -> bool:
        """Whether the loss has not improved for as many epochs as the patience."""
        return self.patience is not None and epoch - self.best_epoch >= self.patience
