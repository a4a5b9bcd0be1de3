"""How counts are decoded."""

from __future__ import annotations

from dataclasses import dataclass

from midas.config.fields import check_types
from midas.expect import expect


@dataclass(frozen=True)
class InferenceConfig:
    """How counts are decoded once the model is trained.

    Attributes
    ----------
    neighbours
        A cell that lacks a modality gets the mean of what the states of so many cells of the training data decode to that
        measured it and are nearest in c, those of batches that measure alike before others; a cell whose batch did not measure
        some features gets half of that. 0: its own state's counts.
    spread
        Whether drawn counts scatter as widely about what the model expects as measured counts do, where the likelihood (Poisson)
        leaves no room for that.
    """

    neighbours: int = 40
    spread: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        expect(self, "neighbours", self.neighbours >= 0, "0 or more")
