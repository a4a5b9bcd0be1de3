"""What a cell that lacks a modality borrows from cells of the training data that measured it: the mean of their states.

A cell's own state is known from its other modalities alone, so part of what it says of the missing one is chance. The states of
cells that measured it and lie nearby hold what the modality itself tells; the mean of some has little noise.
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


@dataclass(frozen=True)
class Lenders:
    """Cells of the training data that measured a modality.

    Attributes
    ----------
    z
        Means of their posteriors, `(n_lenders, dim_z)`, finite.
    dim_c
        Leading dimensions of z that are the biological state, in which neighbours are looked for.
    names
        Of the cells, `(n_lenders,)`: no cell borrows from one of its own name.
    """

    z: NDArray[np.float32]
    dim_c: int
    names: pd.Index

    @classmethod
    def of(cls, cells: AnnData, modality: str, *, seed: int) -> Lenders:
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
        return cls(z[at], c.shape[1], cells.obs_names[at].astype(str))

    def lend(
        self, z: NDArray[np.float32], names: pd.Index, borrowers: NDArray[np.int64], k: int
    ) -> NDArray[np.float32]:
        """Mean state of the `k` lenders nearest to each borrower.

        Parameters
        ----------
        z, names
            States, `(n_cells, dim_z)`, and names of all cells of the data; NaN rows have no state.
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
        index = Index(self.z[:, : self.dim_c])
        codes = pd.factorize(np.concatenate([self.names, names.astype(str)]))[0]
        lender, borrower = codes[: len(self.names)], codes[len(self.names) :]
        for start in range(0, len(borrowers), _ROWS_AT_ONCE):
            some = borrowers[start : start + _ROWS_AT_ONCE]
            at = index.find(z[some, : self.dim_c], k + 1)[1]
            other = lender[at] != borrower[some][:, None]
            other &= np.cumsum(other, 1) <= k  # the farthest goes where the cell itself is not among them
            lent[some] = (self.z[at] * other[:, :, None]).sum(1) / np.maximum(other.sum(1, keepdims=True), 1)
        return lent
