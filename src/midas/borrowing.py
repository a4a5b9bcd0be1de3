"""What a cell that lacks a modality borrows from cells of the training data that measured it: what their states decode to.

A cell's own state is known from its other modalities alone, so part of what it says of the missing one is chance, and its u is
that of a batch which the modality's decoder has never seen. The states of cells that measured it and lie nearby hold what the
modality itself tells; the mean over some has little noise. It is taken of decoded values: the decoder of a mean state is surer of
itself than any of its cells is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from midas import keys
from midas.neighbours import Index

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_MOST_LENDERS: Final = 20_000  # more lie no nearer to matter, and cost time
_MOST_VALUES: Final = 100_000_000  # that lenders are decoded to, 400 MB
# In units of the lenders' total variance in c, all squared distances: what a batch that measures as differently as batches do on
# the mean costs; how fast lenders count less the farther they lie.
_COST_OF_BATCH, _WIDTH = 1.0, 0.3
# What a batch that shares no modality with the borrower's counts as: a little less than the mean, as what was measured apart is
# often of one experiment.
_UNKNOWN: Final = 0.8
# Where even the fifth of the lenders is farther than that, there is hardly one of the cell's type; from the second on, none.
_NEAR, _FAR, _FEW = 1.0, 2.0, 5


@dataclass(frozen=True)
class Lenders:
    """Cells of the training data that measured a modality.

    Attributes
    ----------
    z
        Means of their posteriors, `(n_lenders, dim_z)`, finite.
    dim_c
        Leading dimensions of z that are the biological state, in which neighbours are looked for.
    names, batch
        Of the cells, `(n_lenders,)`: no cell borrows from one of its own name.
    distances
        How differently batches measure (:func:`midas.batch_effects.batch_distances`), by their names.
    """

    z: NDArray[np.float32]
    dim_c: int
    names: pd.Index
    batch: pd.Index
    distances: pd.DataFrame

    @classmethod
    def of(cls, cells: AnnData, modality: str, n_features: int, distances: pd.DataFrame, *, seed: int) -> Lenders:
        """Take those of a model's own table of cells that measured `modality`: 20,000 at most, fewer where they are wide."""
        c, u = (np.asarray(cells.obsm[key], dtype=np.float32) for key in (keys.LATENT, keys.TECHNICAL))
        z = np.hstack([c, u])
        measured = np.zeros(len(z), dtype=bool)
        if keys.MODALITIES in cells.obs:
            combination = cells.obs[keys.MODALITIES].astype("category")
            having = [modality in str(name).split("+") for name in combination.cat.categories]
            measured = np.append(having, False)[combination.cat.codes]
        usable = measured & np.isfinite(z).all(1)
        # Sorted by state, so that the input's order decides nothing.
        at = np.flatnonzero(usable)
        at = at[np.lexsort(z[at].T)]
        most = min(_MOST_LENDERS, _MOST_VALUES // n_features)
        if len(at) > most:
            at = at[np.sort(np.random.default_rng(seed).choice(len(at), most, replace=False))]
        return cls(
            z[at], c.shape[1], cells.obs_names[at].astype(str), pd.Index(cells.obs[keys.BATCH].iloc[at]), distances
        )

    def distances_from(self, batch: str) -> NDArray[np.float64]:
        """How differently each lender's batch measures, `(n_lenders,)`."""
        if batch not in self.distances.index:
            return np.full(len(self.batch), _UNKNOWN)
        known = self.distances.loc[batch].reindex(self.batch.unique())
        found: NDArray[np.float64] = known.fillna(_UNKNOWN).loc[self.batch].to_numpy(dtype=np.float64)
        return found


@dataclass(frozen=True)
class Loans:
    """What some cells borrow.

    Attributes
    ----------
    z
        States that are their own part, `(n_cells, dim_z)`: where something is borrowed, the own c and the lenders' mean u.
    at
        Positions among the lenders, `(n_cells, k)`.
    weight
        Of each lender, `(n_cells, k)`; 1 less their sum is the weight of the cells' own part.
    """

    z: NDArray[np.float32]
    at: NDArray[np.int64]
    weight: NDArray[np.float32]


@dataclass(frozen=True)
class Borrowing:
    """Who borrows from whom; found block by block, as cells are decoded.

    Attributes
    ----------
    lenders
        Cells that measured the modality.
    lender, cell
        A number for each name, of the lenders and of the cells.
    batch
        Of each cell, a position in `batches`.
    batches
        Names.
    borrows
        Whether each cell does.
    k
        Neighbours to borrow from. Where there are no more lenders than that, nobody borrows.
    """

    lenders: Lenders
    lender: NDArray[np.int64]
    cell: NDArray[np.int64]
    batch: NDArray[np.int64]
    batches: tuple[str, ...]
    borrows: NDArray[np.bool_]
    k: int
    _looked_up: dict[int, tuple[Index, NDArray[np.float64]]] = field(default_factory=dict, repr=False)

    @classmethod
    def of_cells(
        cls,
        lenders: Lenders,
        names: pd.Index,
        batch: NDArray[np.int64],
        batches: tuple[str, ...],
        borrows: NDArray[np.bool_],
        k: int,
    ) -> Borrowing:
        """Let those of some cells borrow that `borrows` marks."""
        codes = pd.factorize(np.concatenate([lenders.names, names.astype(str)]))[0]
        able = borrows & (0 < k < len(lenders.z))
        return cls(lenders, codes[: len(lenders.names)], codes[len(lenders.names) :], batch, batches, able, k)

    def of(self, cells: NDArray[np.int64]) -> Borrowing:
        """The same of `cells`, in this order; -1 borrows nothing."""
        return replace(self, cell=self.cell[cells], batch=self.batch[cells], borrows=self.borrows[cells] & (cells >= 0))

    def loans(self, z: NDArray[np.float32]) -> Loans:
        """Find the lenders nearest to each borrower, nearer ones counting more.

        Lenders of a batch that measures otherwise than the borrower's count as farther away. Where no lender is of the borrower's
        kind, it keeps its own c and borrows u.

        Parameters
        ----------
        z
            States of the cells, `(n_cells, dim_z)`; NaN rows have none.
        """
        own, dim_c = z.copy(), self.lenders.dim_c
        at, weight = np.zeros((len(z), self.k), np.int64), np.zeros((len(z), self.k), np.float32)
        borrowers = np.flatnonzero(self.borrows)
        borrowers = borrowers[np.isfinite(z[borrowers]).all(1)]
        for code in np.unique(self.batch[borrowers]):
            some = borrowers[self.batch[borrowers] == code]
            index, cost = self._index(int(code))
            distance, near = index.find(np.pad(z[some, :dim_c], ((0, 0), (0, 1))), self.k + 1)
            other = self.lender[near] != self.cell[some][:, None]
            other &= np.cumsum(other, 1) <= self.k  # the farthest goes where the cell itself is not among them
            # Cells that lend come first; a name that is there twice may leave fewer than k.
            first = np.argsort(~other, axis=1, kind="stable")[:, : self.k]
            near, distance, other = (np.take_along_axis(x, first, 1) for x in (near, distance, other))
            distance = np.where(other, np.square(distance) / self._variance, np.inf)
            share = np.exp((np.min(distance, 1, keepdims=True) - distance) / _WIDTH)
            share /= share.sum(1, keepdims=True)
            own[some, dim_c:] = np.einsum("ij,ijk->ik", share, self.lenders.z[near, dim_c:])
            at[some], weight[some] = near, share * (1 - _own_share(distance - cost[near]))
        return Loans(own, at, weight)

    @property
    def _variance(self) -> float:
        return float(self.lenders.z[:, : self.lenders.dim_c].var(0, dtype=np.float64).sum()) or 1.0

    def _index(self, batch: int) -> tuple[Index, NDArray[np.float64]]:
        """Lenders as cells of a batch see them, and what each lender's batch adds to its squared distance."""
        if batch not in self._looked_up:
            cost = _COST_OF_BATCH * self.lenders.distances_from(self.batches[batch])
            # A column that all borrowers have as 0 adds its square to each distance.
            column = np.sqrt(cost * self._variance).astype(np.float32)
            self._looked_up[batch] = Index(np.column_stack([self.lenders.z[:, : self.lenders.dim_c], column])), cost
        return self._looked_up[batch]


def _own_share(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of its own c a cell keeps, `(n, 1)`, whose lenders lie so far away, `(n, k)`."""
    nearby = np.sort(distance, axis=1)[:, min(_FEW, distance.shape[1]) - 1]
    share: NDArray[np.float64] = np.clip((nearby - _NEAR) / (_FAR - _NEAR), 0, 1)[:, None]
    return share
