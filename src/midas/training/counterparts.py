"""Which batches hold cells like a given one.

Discriminators that guess a cell's batch from c make batches alike as a whole, so that a type which only one batch has is drawn to
whatever the others have instead. A cell is therefore only to be guessed among the batches that hold cells like it. That is seen
before the discriminators move anything: cells of two batches that are among each other's nearest neighbours are of one kind, also
where a batch effect sets them apart (Haghverdi et al., Nature Biotechnology 2018).
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
"""A cell's batch surely holds cells like it."""

# Cells of a batch that stand for all of it, and of all batches together, as each two batches are compared.
_MOST_OF_BATCH, _MOST = 1_000, 30_000
_FEWEST = 30  # a batch of fewer tells nothing
# Of a small batch, fewer: a type has to have more cells than that, or the nearest are of another one.
_NEIGHBOURS, _SHARE_OF_BATCH = 25, 20
# What holds of a cell holds of its kind: shares of mutual neighbours are smoothed so often over a cell's own neighbours.
_SMOOTHINGS = 4
# Shares are judged against those of the pair's well-matched cells; if even these are few, the two say nothing of each other.
_WELL_MATCHED, _FEW = 0.75, 0.05
_NONE, _ENOUGH = 0.15, 0.3


def counterparts(
    states: Callable[[tuple[str, ...]], NDArray[Any]],
    batch: NDArray[np.int64],
    measured: Sequence[frozenset[str]],
    *,
    seed: int,
) -> NDArray[np.uint8]:
    """How surely each batch holds cells like each cell.

    Two batches are compared by the modalities that both have: what other modalities say of a cell is not yet in line with them.

    Parameters
    ----------
    states
        From names of modalities to the biological states that they give, `(n_cells, dim_c)`; NaN for cells without any of them.
    batch
        Index of each cell's batch, -1 for none. The order of the cells must not depend on that of the input, as some are
        drawn.
    measured
        Modalities of each batch.
    seed
        Of the cells that stand for a large batch.

    Returns
    -------
    `(n_cells, n_batches)`, from 0, no cells like it, to 255; that, too, where nothing is known.
    """
    found = np.full((len(batch), len(measured)), SURE, dtype=np.uint8)
    pairs: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for first, second in combinations(range(len(measured)), 2):
        shared = tuple(sorted(measured[first] & measured[second]))
        if shared:
            pairs.setdefault(shared, []).append((first, second))
    for shared, compared in sorted(pairs.items()):
        of = _batches(states(shared), batch, sorted({code for pair in compared for code in pair}), seed)
        for first, second in compared:
            if first in of and second in of:
                a, b = of[first], of[second]
                mutual = a.mutual(b)
                found[a.members, second] = np.round(a.matched(mutual) * SURE)
                found[b.members, first] = np.round(b.matched(mutual.T) * SURE)
    return found


def _batches(c: NDArray[Any], batch: NDArray[np.int64], codes: list[int], seed: int) -> dict[int, _Batch]:
    """Cells of each of these batches that has enough of them."""
    usable = np.isfinite(c).all(1)
    members = {code: np.flatnonzero(usable & (batch == code)) for code in codes}
    members = {code: cells for code, cells in members.items() if len(cells) >= _FEWEST}
    most = min(_MOST_OF_BATCH, _MOST // max(1, len(members)))
    rng = np.random.default_rng([seed, 11])
    return {code: _Batch(c, cells, most, rng) for code, cells in members.items()}


class _Batch:
    """Cells of one batch, and those that stand for them."""

    def __init__(self, c: NDArray[Any], members: NDArray[np.int64], most: int, rng: np.random.Generator) -> None:
        self.members = members
        chosen = at_most(len(members), most, rng)
        self._c = np.asarray(c[members[chosen]], dtype=np.float64)
        self._index = Index(self._c)
        self._own = self._index.find(self._c, _NEIGHBOURS + 1)[1]
        self._nearest = None if len(chosen) == len(members) else self._index.find(c[members], _NEIGHBOURS)[1]

    def mutual(self, other: _Batch) -> NDArray[np.float64]:
        """Which chosen cells of both are among each other's nearest, `(n_chosen, n_chosen of the other)`: 1 / k, else 0."""
        k = max(1, min(_NEIGHBOURS, len(self._c) // _SHARE_OF_BATCH, len(other._c) // _SHARE_OF_BATCH))
        both: NDArray[np.float64] = (other._nearest_to(self, k) & self._nearest_to(other, k).T) / k
        return both

    def _nearest_to(self, other: _Batch, k: int) -> NDArray[np.bool_]:
        """Which chosen cells are among the k nearest to each of the other's, `(n_chosen of the other, n_chosen)`."""
        near = np.zeros((len(other._c), len(self._c)), dtype=bool)
        np.put_along_axis(near, self._index.find(other._c, k)[1], values=True, axis=1)
        return near

    def matched(self, mutual: NDArray[np.float64]) -> NDArray[np.float64]:
        """How surely the other batch holds cells like each of this one, `(n_members,)`, from 0 to 1."""
        share = mutual.sum(1)
        for _ in range(_SMOOTHINGS):
            share = share[self._own].mean(1)
        well = float(np.quantile(share, _WELL_MATCHED))
        if well < _FEW:
            return np.ones(len(self.members))
        sure: NDArray[np.float64] = np.clip((share / well - _NONE) / (_ENOUGH - _NONE), 0.0, 1.0)
        # Of cells that others stand for: the mean of the nearest of these.
        return sure if self._nearest is None else sure[self._nearest].mean(1)


def modalities_of(mosaic: Mosaic, batch: NDArray[np.int64], n_batches: int) -> list[frozenset[str]]:
    """Modalities that half of each batch's cells have, or more."""
    sizes = np.bincount(batch[batch >= 0], minlength=n_batches)
    having = {
        name: np.bincount(batch[(batch >= 0) & part.present], minlength=n_batches)
        for name, part in mosaic.modalities.items()
    }
    return [
        frozenset(name for name, n in having.items() if sizes[code] and 2 * n[code] >= sizes[code])
        for code in range(n_batches)
    ]
