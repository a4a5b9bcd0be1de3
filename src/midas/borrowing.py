"""What a cell that lacks a modality borrows from cells of the training data that measured it: the mean of their states.

A cell's own state is known from its other modalities alone, so part of what it says of the missing one is chance, and its u is
that of a batch which the modality's decoder has never seen. The states of cells that measured it and lie nearby hold what the
modality itself tells; the mean of some has little noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from midas import keys
from midas.neighbours import Index

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_MOST_LENDERS: Final = 20_000  # more lie no nearer to matter, and cost time
_ROWS_AT_ONCE: Final = 4096
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
    def of(cls, cells: AnnData, modality: str, distances: pd.DataFrame, *, seed: int) -> Lenders:
        """Take those of a model's own table of cells that measured `modality`, at most 20,000 of them."""
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
        if len(at) > _MOST_LENDERS:
            at = at[np.sort(np.random.default_rng(seed).choice(len(at), _MOST_LENDERS, replace=False))]
        return cls(
            z[at], c.shape[1], cells.obs_names[at].astype(str), pd.Index(cells.obs[keys.BATCH].iloc[at]), distances
        )

    def lend(
        self, z: NDArray[np.float32], names: pd.Index, batch: pd.Categorical[str], borrowers: NDArray[np.int64], k: int
    ) -> NDArray[np.float32]:
        """Mean state of the `k` lenders nearest to each borrower, nearer ones counting more.

        Lenders of a batch that measures otherwise than the borrower's count as farther away. Where no lender is of the borrower's
        kind, it keeps its own c and borrows u.

        Parameters
        ----------
        z, names, batch
            States, `(n_cells, dim_z)`, names and batches of all cells of the data; NaN rows have no state.
        borrowers
            Positions in z.
        k
            Neighbours to borrow from. Where there are no more lenders than that, nobody borrows.

        Returns
        -------
        `(n_cells, dim_z)`; NaN where nothing was borrowed.
        """
        lent = np.full_like(z, np.nan)
        borrowers = borrowers[np.isfinite(z[borrowers]).all(1)]
        if k < 1 or len(self.z) <= k:
            return lent
        variance = float(self.z[:, : self.dim_c].var(0, dtype=np.float64).sum()) or 1.0
        codes = pd.factorize(np.concatenate([self.names, names.astype(str)]))[0]
        lender, borrower = codes[: len(self.names)], codes[len(self.names) :]
        for code in np.unique(batch.codes[borrowers]):
            of_batch = borrowers[batch.codes[borrowers] == code]
            # A column that all borrowers have as 0 adds its square to each distance.
            cost = np.sqrt(_COST_OF_BATCH * variance * self._distances_from(str(batch.categories[code]))).astype(
                np.float32
            )
            index = Index(np.column_stack([self.z[:, : self.dim_c], cost]))
            for start in range(0, len(of_batch), _ROWS_AT_ONCE):
                some = of_batch[start : start + _ROWS_AT_ONCE]
                distance, at = index.find(np.pad(z[some, : self.dim_c], ((0, 0), (0, 1))), k + 1)
                other = lender[at] != borrower[some][:, None]
                other &= np.cumsum(other, 1) <= k  # the farthest goes where the cell itself is not among them
                distance = np.where(other, np.square(distance), np.inf) / variance
                lent[some] = self._mean(z[some], at, distance, np.square(cost, dtype=np.float64) / variance)
        return lent

    def _distances_from(self, batch: str) -> NDArray[np.float64]:
        """How differently each lender's batch measures, `(n_lenders,)`."""
        if batch not in self.distances.index:
            return np.full(len(self.batch), _UNKNOWN)
        known = self.distances.loc[batch].reindex(self.batch.unique())
        found: NDArray[np.float64] = known.fillna(_UNKNOWN).loc[self.batch].to_numpy(dtype=np.float64)
        return found

    def _mean(
        self, own: NDArray[np.float32], at: NDArray[np.int64], distance: NDArray[np.float64], cost: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Mean of the lenders at `at`, `(n, dim_z)`, whose squared distances are infinite where they do not count."""
        weight = np.exp((np.min(distance, 1, keepdims=True) - distance) / _WIDTH)
        weight /= weight.sum(1, keepdims=True)
        mean = np.einsum("ij,ijk->ik", weight, self.z[at])
        nearby = np.sort(distance - cost[at], axis=1)[:, min(_FEW, at.shape[1] - 1) - 1]
        own_share = np.clip((nearby - _NEAR) / (_FAR - _NEAR), 0, 1)[:, None]
        mean[:, : self.dim_c] += own_share * (own[:, : self.dim_c] - mean[:, : self.dim_c])
        states: NDArray[np.float32] = mean.astype(np.float32)
        return states
