"""Learning rate over the steps, and when to wind down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midas.config import TrainingConfig


@dataclass(frozen=True)
class LearningRate:
    """Factor of the learning rate at each step: up, level, down.

    Attributes
    ----------
    rise
        Steps of the rise.
    fall_from
        Step at which the fall begins.
    end
        Step at which training is over; a rate that falls is zero there.
    """

    rise: int
    fall_from: int
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
        if step < self.rise:
            return (step + 1) / (self.rise + 1)
        if step < self.fall_from:
            return 1.0
        return max(0.0, (self.end - step) / max(1, self.end - self.fall_from))

    def wind_down(self, step: int) -> LearningRate:
        """Begin the fall now, as long as it would have been in proportion to the steps done."""
        if step >= self.fall_from:
            return self
        share = (self.end - self.fall_from) / max(1, self.fall_from)
        return replace(self, fall_from=step, end=step + max(1, round(share * step)))


@dataclass
class Watch:
    """Remembers the best validation loss."""

    patience: int | None
    best: float = float("inf")
    best_epoch: int = -1

    def better(self, loss: float, epoch: int) -> bool:
        """Note a loss; whether it is the best so far."""
        if loss < self.best:
            self.best, self.best_epoch = loss, epoch
            return True
        return False

    def tired(self, epoch: int) -> bool:
        """Whether the loss has not improved for as many epochs as the patience."""
        return self.patience is not None and epoch - self.best_epoch >= self.patience
