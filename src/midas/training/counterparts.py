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

from midas.neighbours import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        Index of each cell's batch, -1 for none.
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
        kinds = _kinds(states(shared), batch, sorted({code for pair in compared for code in pair}), seed)
        for first, second in compared:
            if first in kinds and second in kinds:
                a, b = kinds[first], kinds[second]
                found[a.members, second] = a.to_all(np.round(a.like(b) * SURE))
                found[b.members, first] = b.to_all(np.round(b.like(a) * SURE))
    return found


def _kinds(c: NDArray[Any], batch: NDArray[np.int64], codes: list[int], seed: int) -> dict[int, _Kind]:
    """Cells of each of these batches that has enough of them."""
    usable = np.isfinite(c).all(1)
    members = {code: np.flatnonzero(usable & (batch == code)) for code in codes}
    members = {code: cells for code, cells in members.items() if len(cells) >= _FEWEST}
    most = min(_MOST_OF_BATCH, _MOST // max(1, len(members)))
    rng = np.random.default_rng([seed, 11])
    return {code: _Kind(c, cells, most, rng) for code, cells in members.items()}


class _Kind:
    """Cells of one batch, and those that stand for them."""

    def __init__(self, c: NDArray[Any], members: NDArray[np.int64], most: int, rng: np.random.Generator) -> None:
        self.members = members
        chosen = np.arange(len(members))
        if len(members) > most:
            chosen = np.sort(rng.choice(len(members), most, replace=False))
        self.c = np.asarray(c[members[chosen]], dtype=np.float64)
        index = Index(self.c)
        self._own = index.find(self.c, _NEIGHBOURS + 1)[1]
        self._nearest = None if len(chosen) == len(members) else index.find(c[members], _NEIGHBOURS)[1]

    def like(self, other: _Kind) -> NDArray[np.float64]:
        """How surely the other batch holds cells like each of the chosen, `(n_chosen,)`, from 0 to 1."""
        k = max(1, min(_NEIGHBOURS, len(self.c) // _SHARE_OF_BATCH, len(other.c) // _SHARE_OF_BATCH))
        mutual = _near(self.c, other.c, k) & _near(other.c, self.c, k).T
        share = mutual.sum(1) / k
        for _ in range(_SMOOTHINGS):
            share = share[self._own].mean(1)
        well = float(np.quantile(share, _WELL_MATCHED))
        if well < _FEW:
            return np.ones(len(share))
        sure: NDArray[np.float64] = np.clip((share / well - _NONE) / (_ENOUGH - _NONE), 0.0, 1.0)
        return sure

    def to_all(self, of_chosen: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the chosen cells to all of the batch: the mean of the nearest."""
        return of_chosen if self._nearest is None else of_chosen[self._nearest].mean(1)


def _near(a: NDArray[np.float64], b: NDArray[np.float64], k: int) -> NDArray[np.bool_]:
    """Whether each of b is among the k of b that are nearest to each of a, `(n_a, n_b)`."""
    at = Index(b).find(a, k)[1]
    near = np.zeros((len(a), len(b)), dtype=bool)
    np.put_along_axis(near, at, values=True, axis=1)
    return near
