"""Where a query's cells belong among a reference's: the batch shift is subtracted cluster by cluster.

The reference stays fixed and its clusters serve as landmarks, as in Symphony (Kang et al. 2021, Nature Communications).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from midas.draw import at_most
from midas.expect import sklearn_seed
from midas.neighbours import squared_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data import Mosaic

_MOST_CLUSTERS, _CELLS_PER_CLUSTER, _MOST_CELLS = 50, 20, 20_000
# Softness of the cluster assignment, as a multiple of the mean squared distance of a cell from its centre: final and initial.
# Wide clusters come first: the shift of a whole neighbourhood is right even if a cell's nearest cluster is of another type. If
# cells lie close to the reference, that is rare, and wide clusters would blur similar types.
_SOFTNESS, _WIDEST = 0.5, (2.0, 8.0)
_ROUNDS = 2
# A shift is shrunk as if this many more cells showed none; or, for a cluster, as if this many more, plus a share of the mean
# number of cells per cluster, showed the group's common shift.
_DOUBT, _DOUBT_SHARE = 3.0, 0.5
# Weights fall off quickly for cells farther from all landmarks than this share of the reference's: the reference may lack their
# type.
_TYPICAL, _STEEPNESS = 0.99, 8


@dataclass(frozen=True)
class Landmarks:
    """Clusters of a reference's cells.

    Attributes
    ----------
    centres
        `(n_clusters, dim_c)`.
    spread
        Mean squared distance of a cell from its centre.
    far
        Squared distance from the nearest centre that few of the reference's cells exceed.
    """

    centres: NDArray[np.float64]
    spread: float
    far: float

    @classmethod
    def of(cls, c: NDArray[np.float32], seed: int) -> Landmarks:
        """Find clusters among the reference's latents `(n_cells, dim_c)`."""
        known = c[np.isfinite(c).all(1)].astype(np.float64)
        known = known[np.lexsort(known.T)]  # makes the result independent of the order of the reference's cells
        known = known[at_most(len(known), _MOST_CELLS, np.random.default_rng([seed, 11]))]
        n = int(np.clip(len(known) // _CELLS_PER_CLUSTER, 1, _MOST_CLUSTERS))
        centres = KMeans(n, n_init=1, random_state=sklearn_seed(seed)).fit(known).cluster_centers_
        away = squared_distances(known, centres).min(1)
        return cls(centres, max(float(away.mean()), 1e-12), float(np.quantile(away, _TYPICAL)))

    def shift_to_reference(self, c: NDArray[np.float32], group: NDArray[np.int64]) -> NDArray[np.float32]:
        """Subtract each group's shift from the reference near each landmark.

        Parameters
        ----------
        c
            Latents of the query, `(n_cells, dim_c)`; rows of NaN stay.
        group
            Group of each cell, `(n_cells,)`; see :func:`groups_of`.

        Returns
        -------
        The shifted latents, `(n_cells, dim_c)`. Cells keep their relative positions within a group and cluster.
        """
        shifted = c.copy()
        finite = np.isfinite(c).all(1)
        for name in np.unique(group[finite]):
            at = np.flatnonzero(finite & (group == name))
            shifted[at] = self._shifted(c[at].astype(np.float64))
        return shifted

    def known(self, c: NDArray[np.float32]) -> NDArray[np.float32]:
        """1 for cells as close to a landmark as the reference's own, falling to 0 for types that it lacks, `(n_cells,)`."""
        known = np.zeros(len(c), dtype=np.float32)
        finite = np.isfinite(c).all(1)
        known[finite] = self._typical(c[finite].astype(np.float64))
        return known

    def _shifted(self, c: NDArray[np.float64]) -> NDArray[np.float64]:
        now, softness = c, self._first_softness(c)
        while softness > _SOFTNESS:
            now = self._nearer(now, softness)
            softness /= 2
        for _ in range(2):
            now = self._nearer(now, _SOFTNESS)
        return c + (now - c) * len(c) / (len(c) + _DOUBT)

    def _first_softness(self, c: NDArray[np.float64]) -> float:
        """Wider if cells lie far from the landmarks once their common shift is removed (cubed, so that it rises steeply)."""
        away = squared_distances(c - self._common(c, _SOFTNESS), self.centres).min(1)
        return float(np.clip((np.median(away) / self.spread) ** 3, *_WIDEST))

    def _common(self, c: NDArray[np.float64], softness: float) -> NDArray[np.float64]:
        """Common shift of all cells, `(dim_c,)`."""
        shift: NDArray[np.float64] = np.median(c - self._shares(c, softness) @ self.centres, axis=0)
        return shift * len(c) / (len(c) + _DOUBT)

    def _nearer(self, c: NDArray[np.float64], softness: float) -> NDArray[np.float64]:
        doubt = _DOUBT + _DOUBT_SHARE * len(c) / len(self.centres)
        now = c - self._common(c, softness)
        for _ in range(_ROUNDS):
            share, counts = self._shares(now, softness), self._typical(now)[:, None]
            away = c - share @ self.centres
            common = (counts * away).sum(0) / (counts.sum() + _DOUBT)
            weight = share * counts
            n = weight.sum(0)[:, None]
            shift = (weight.T @ c - n * self.centres + doubt * common) / (n + doubt)
            now = c - share @ shift
        return now

    def _shares(self, c: NDArray[np.float64], softness: float) -> NDArray[np.float64]:
        """Soft assignment of each cell to each cluster, `(n_cells, n_clusters)`."""
        away = squared_distances(c, self.centres)
        near = np.exp(-(away - away.min(1, keepdims=True)) / (softness * self.spread))
        share: NDArray[np.float64] = near / near.sum(1, keepdims=True)
        return share

    def _typical(self, c: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 for cells as close to a landmark as the reference's own, falling with distance beyond that, `(n_cells,)`."""
        away = np.maximum(squared_distances(c, self.centres).min(1), 1e-12)
        typical: NDArray[np.float64] = np.minimum(1.0, (self.far / away) ** _STEEPNESS)
        return typical


def groups_of(mosaic: Mosaic) -> NDArray[np.int64]:
    """Index of each cell's batch and combination of modalities: cells of one group share a shift, `(n_cells,)`."""
    kind, _ = pd.factorize(mosaic.combinations().to_numpy())
    group: NDArray[np.int64] = kind * (len(mosaic.batches) + 1) + mosaic.batch
    return group
