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
    n_neighbors
        A cell without the modality gets the mean over so many nearest cells in c that were measured in it, each decoded from its
        own state; cells of batches that measure alike come first. Where a cell's batch merely lacks some features, half of their
        value comes from the neighbours and half from the cell itself. 0: from the cell's own state alone.
    spread
        Whether drawn counts scatter as widely about what the model expects as measured counts do, where the likelihood (Poisson)
        leaves no room for that.
    """

    n_neighbors: int = 40
    spread: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        expect(self, "n_neighbors", self.n_neighbors >= 0, "0 or more")
