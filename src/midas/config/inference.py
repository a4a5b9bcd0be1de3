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
        Number of nearest neighbours in c, among cells measured in the modality, whose decoded values are averaged for a
        cell without it; cells from batches with similar batch effects are preferred. Where a cell's batch lacks only
        some features, half of their value comes from the neighbours and half from the cell itself. 0: decode from the
        cell's own state only.
    spread
        Whether sampled counts are overdispersed to match the variance of measured counts around the model's
        expectation, where the likelihood (Poisson) has no dispersion parameter.
    """

    n_neighbors: int = 40
    spread: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        expect(self, "n_neighbors", self.n_neighbors >= 0, "0 or more")
