"""Find the batches that contain cells similar to a given cell.

Discriminators that predict a cell's batch from c align the overall distributions of batches, so that a cell type
present in only one batch is forced onto other types. A cell's batch is therefore predicted only among the batches that
contain similar cells. These are found before adversarial training begins: mutual nearest neighbours of two batches are
of the same type, even in the presence of a batch effect (Haghverdi et al., Nature Biotechnology 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midas.draw import at_most
from midas.neighbours import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic

SURE: Final = 255
"""The largest score: the batch certainly contains similar cells."""

# Cells sampled per batch, and over all batches, for the pairwise comparison.
_MOST_OF_BATCH, _MOST = 1_000, 30_000
_FEWEST = 30  # smaller batches are not compared
# Fewer neighbours in a small batch: a type must have more cells than that, or neighbours include other types.
_NEIGHBOURS, _SHARE_OF_BATCH = 25, 20
# Similar cells should get similar scores: number of smoothing passes over each cell's own neighbours.
_SMOOTHINGS = 4
# Scores are relative to this quantile over the batch; if even that is small, the two batches are not comparable.
_WELL_MATCHED, _FEW = 0.75, 0.05
_NONE, _ENOUGH = 0.15, 0.3


def counterparts(
    states: Callable[[tuple[str, ...]], NDArray[Any]],
    batch: NDArray[np.int64],
    measured: Sequence[frozenset[str]],
    *,
    seed: int,
) -> NDArray[np.uint8]:
    """Score how certain it is that each batch contains cells similar to each cell.

    Two batches are compared by their shared modalities, as other modalities are not yet aligned with these.

    Parameters
    ----------
    states
        Maps names of modalities to the biological states encoded from them, `(n_cells, dim_c)`; NaN for cells without
        any.
    batch
        Index of each cell's batch, -1 for none. The cell order must not depend on that of the input, as cells are
        subsampled.
    measured
        Modalities of each batch.
    seed
        Random seed for subsampling large batches.

    Returns
    -------
    `(n_cells, n_batches)`, from 0 (no similar cells) to 255 (certain, or unknown).
    """
    found = np.full((len(batch), len(measured)), SURE, dtype=np.uint8)
    pairs: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for first, second in combinations(range(len(measured)), 2):
        shared = tuple(sorted(measured[first] & measured[second]))
        if shared:
            pairs.setdefault(shared, []).append((first, second))
    for shared, compared in sorted(pairs.items()):
        by_code = _batches(states(shared), batch, sorted({code for pair in compared for code in pair}), seed)
        for first, second in compared:
            if first in by_code and second in by_code:
                a, b = by_code[first], by_code[second]
                mutual = a.mutual(b)
                found[a.members, second] = np.round(a.matched(mutual) * SURE)
                found[b.members, first] = np.round(b.matched(mutual.T) * SURE)
    return found


def _batches(c: NDArray[Any], batch: NDArray[np.int64], codes: list[int], seed: int) -> dict[int, _Batch]:
    """Cells of each of these batches with enough cells."""
    usable = np.isfinite(c).all(1)
    members = {code: np.flatnonzero(usable & (batch == code)) for code in codes}
    members = {code: cells for code, cells in members.items() if len(cells) >= _FEWEST}
    most = min(_MOST_OF_BATCH, _MOST // max(1, len(members)))
    rng = np.random.default_rng([seed, 11])
    return {code: _Batch(c, cells, most, rng) for code, cells in members.items()}


class _Batch:
    """Cells of one batch, and a sample of them."""

    def __init__(self, c: NDArray[Any], members: NDArray[np.int64], most: int, rng: np.random.Generator) -> None:
        self.members = members
        chosen = at_most(len(members), most, rng)
        self._c = np.asarray(c[members[chosen]], dtype=np.float64)
        self._index = Index(self._c)
        self._own = self._index.find(self._c, _NEIGHBOURS + 1)[1]
        self._nearest = None if len(chosen) == len(members) else self._index.find(c[members], _NEIGHBOURS)[1]

    def mutual(self, other: _Batch) -> NDArray[np.float64]:
        """Mutual nearest neighbours among the sampled cells, `(n_sampled, n_sampled of the other)`: 1 / k, otherwise 0."""
        k = max(1, min(_NEIGHBOURS, len(self._c) // _SHARE_OF_BATCH, len(other._c) // _SHARE_OF_BATCH))
        both: NDArray[np.float64] = (other._nearest_to(self, k) & self._nearest_to(other, k).T) / k
        return both

    def _nearest_to(self, other: _Batch, k: int) -> NDArray[np.bool_]:
        """Whether each sampled cell is among the k nearest to each of the other's, `(n_sampled of the other, n_sampled)`."""
        near = np.zeros((len(other._c), len(self._c)), dtype=bool)
        np.put_along_axis(near, self._index.find(other._c, k)[1], values=True, axis=1)
        return near

    def matched(self, mutual: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score that the other batch contains cells similar to each of this one, `(n_members,)`, from 0 to 1."""
        share = mutual.sum(1)
        for _ in range(_SMOOTHINGS):
            share = share[self._own].mean(1)
        well = float(np.quantile(share, _WELL_MATCHED))
        if well < _FEW:
            return np.ones(len(self.members))
        sure: NDArray[np.float64] = np.clip((share / well - _NONE) / (_ENOUGH - _NONE), 0.0, 1.0)
        # With subsampling: mean over the nearest sampled cells.
        return sure if self._nearest is None else sure[self._nearest].mean(1)


def modalities_of(mosaic: Mosaic, batch: NDArray[np.int64], n_batches: int) -> list[frozenset[str]]:
    """Modalities measured in at least half of each batch's cells."""
    sizes = np.bincount(batch[batch >= 0], minlength=n_batches)
    having = {
        name: np.bincount(batch[(batch >= 0) & part.present], minlength=n_batches)
        for name, part in mosaic.modalities.items()
    }
    return [
        frozenset(name for name, n in having.items() if sizes[code] and 2 * n[code] >= sizes[code])
        for code in range(n_batches)
    ]
