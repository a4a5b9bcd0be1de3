"""Borrowing: impute a cell by the averaged decoded values of similar training cells (lenders) instead of its own.

The state of a cell that lacks a modality is inferred from its other modalities alone, so its prediction of the missing
one is noisy, and the modality's decoder was never trained on the u of its batch. The same holds, to a lesser degree,
for features that a cell's batch did not measure. The states of nearby cells that measured them contain that
information, and averaging over several reduces the noise. Decoded values are averaged, not states: decoding a mean
state gives overconfident values.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from midas import keys
from midas.data.rows import measured_counts
from midas.draw import at_most
from midas.neighbours import Index

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic

MOST_LENDERS: Final = 20_000
"""More lenders hardly improve the nearest neighbours, and cost time."""
_MOST_VALUES: Final = 100_000_000  # decoded values of all lenders, 400 MB
# As squared distances in units of the lenders' total variance in c: the penalty of a batch at the mean batch distance;
# the width of the kernel that weights lenders by distance.
_COST_OF_BATCH, _WIDTH = 3.0, 0.3
# Distance of batches that share no modality: half of the mean, as such batches often come from one experiment, but more
# than that of a batch known to be similar.
_UNKNOWN: Final = 0.5
# If even the fifth-nearest lender is farther than _NEAR, few lenders are of the cell's type; beyond _FAR, none.
_NEAR, _FAR, _FEW = 1.0, 2.0, 5
# Minimum weight of the cell's own state where only features are missing: it was inferred with the modality's other
# features.
_OWN_AT_LEAST: Final = 0.5
_MOST_PANELS: Final = 4  # separate panels; features of all further ones share one panel
_ROWS_AT_ONCE: Final = 4096


@dataclass(frozen=True)
class Lenders:
    """Cells of the training data that measured a modality.

    Attributes
    ----------
    z
        Posterior means, `(n_lenders, dim_z)`, finite.
    dim_c
        Number of leading dimensions of z that are the biological state, used for the neighbour search.
    names, batch
        Names and batches of the lenders, `(n_lenders,)`; cells do not borrow from a lender of their own name.
    distances
        Distances between batches (:func:`midas.batch_effects.batch_distances`), by name.
    measured
        Features measured by each of these batches, batches x features, by name.
    """

    z: NDArray[np.float32]
    dim_c: int
    names: pd.Index
    batch: pd.Index
    distances: pd.DataFrame
    measured: pd.DataFrame

    @classmethod
    def of(
        cls,
        cells: AnnData,
        modality: str,
        measured: pd.DataFrame,
        distances: pd.DataFrame,
        *,
        seed: int,
        most: int = MOST_LENDERS,
    ) -> Lenders:
        """Sample up to `most` cells measured in `modality` from a model's table of cells; fewer if there are many features."""
        c, u = (np.asarray(cells.obsm[key], dtype=np.float32) for key in (keys.LATENT, keys.TECHNICAL))
        z = np.hstack([c, u])
        has = np.zeros(len(z), dtype=bool)
        if keys.MODALITIES in cells.obs:
            combination = cells.obs[keys.MODALITIES].astype("category")
            having = [modality in str(name).split("+") for name in combination.cat.categories]
            has = np.append(having, False)[combination.cat.codes]
        usable = has & np.isfinite(z).all(1)
        # Sorted by state, so that the sample does not depend on the input order.
        at = np.flatnonzero(usable)
        at = at[np.lexsort(z[at].T)]
        at = at[at_most(len(at), min(most, _MOST_VALUES // measured.shape[1]), np.random.default_rng(seed))]
        batch = pd.Index(cells.obs[keys.BATCH].iloc[at].astype(str))
        of_batches = measured.reindex(batch.unique(), fill_value=True)
        return cls(z[at], c.shape[1], cells.obs_names[at].astype(str), batch, distances, of_batches)

    def distances_from(self, batch: str) -> NDArray[np.float64]:
        """Distance from `batch` to the batch of each lender, `(n_lenders,)`."""
        if batch not in self.distances.index:
            return np.full(len(self.batch), _UNKNOWN)
        known = self.distances.loc[batch].reindex(self.batch.unique())
        found: NDArray[np.float64] = known.fillna(_UNKNOWN).loc[self.batch].to_numpy(dtype=np.float64)
        return found

    def panels(self) -> tuple[Panel, ...]:
        """Group features by the batches that measured them; the smaller groups are merged into one."""
        measured = self.measured.to_numpy(dtype=bool)
        known = np.flatnonzero(measured.any(0))
        if not len(known):
            return ()
        kinds, kind, size = np.unique(measured[:, known], axis=1, return_inverse=True, return_counts=True)
        largest = np.argsort(-size, kind="stable")
        alone = largest if len(largest) <= _MOST_PANELS else largest[: _MOST_PANELS - 1]
        of_lender = self.measured.index.get_indexer(self.batch)
        groups = [known[kind.ravel() == number] for number in alone]
        shared = [kinds[:, number] for number in alone]
        if len(alone) < len(largest):
            groups.append(known[~np.isin(kind.ravel(), alone)])
            shared.append(np.atleast_1d(measured[:, groups[-1]].any(1)))
        return tuple(
            Panel(
                features=features,
                lenders=np.flatnonzero(batches[of_lender]),
                measured=measured[:, features][of_lender[batches[of_lender]]],
                joint=measured[batches].all(0),
            )
            for features, batches in zip(groups, shared, strict=True)
        )


@dataclass(frozen=True)
class Panel:
    """A group of features, and the lenders that measured any of them.

    Attributes
    ----------
    features
        Columns of the schema, `(n,)`.
    lenders
        Positions of lenders that measured any of them, `(n_panel_lenders,)`.
    measured
        Which lender measured which feature, `(n_panel_lenders, n)`.
    joint
        Features that all these lenders measured, `(n_features,)`.
    """

    features: NDArray[np.int64]
    lenders: NDArray[np.int64]
    measured: NDArray[np.bool_]
    joint: NDArray[np.bool_]


@dataclass(frozen=True)
class Loans:
    """Lenders and weights of some cells for one panel of features.

    Attributes
    ----------
    rows
        Positions of the borrowing cells, `(n,)`.
    z
        States for the cells' own part, `(n, dim_z)`: their own c and the lenders' mean u.
    at
        Positions among the panel's lenders, `(n, k)`.
    weight
        Weight of each lender, `(n, k)`; the cells' own part has weight 1 minus their sum.
    wanted
        Which of the panel's features are borrowed, `(n, n_panel_features)`.
    totals
        Total counts over the features measured by both the cell and all lenders, `(n,)`; NaN for cells without the
        modality.
    batch
        Positions of their batches, `(n,)`.
    """

    rows: NDArray[np.int64]
    z: NDArray[np.float32]
    at: NDArray[np.int64]
    weight: NDArray[np.float32]
    wanted: NDArray[np.bool_]
    totals: NDArray[np.float32]
    batch: NDArray[np.int64]


@dataclass(frozen=True)
class Borrowing:
    """Which cells borrow from which lenders; computed block by block during decoding.

    Attributes
    ----------
    lenders
        Cells that measured the modality.
    panels
        Of their features.
    lender, cell
        Integer codes of the names of lenders and cells.
    batch
        Index of each cell's batch in `batches`.
    batches
        Names.
    lacks
        Whether each cell lacks the modality.
    borrows
        Whether each cell borrows: it lacks the modality, or its batch did not measure all features.
    measured
        Which features each batch measured, `(n_batches, n_features)`.
    totals
        By panel, total counts over the features measured by both the cell and all lenders, `(n_cells, n_panels)`; NaN
        for cells without the modality.
    k
        Number of neighbours to borrow from. If there are no more lenders than that, no cell borrows.
    """

    lenders: Lenders
    panels: tuple[Panel, ...]
    lender: NDArray[np.int64]
    cell: NDArray[np.int64]
    batch: NDArray[np.int64]
    batches: tuple[str, ...]
    lacks: NDArray[np.bool_]
    borrows: NDArray[np.bool_]
    measured: NDArray[np.bool_]
    totals: NDArray[np.float32]
    k: int
    _looked_up: dict[tuple[int, int, bool], tuple[Index, NDArray[np.int64], NDArray[np.float64]]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def from_cells(cls, lenders: Lenders, mosaic: Mosaic, modality: str, lacks: NDArray[np.bool_], k: int) -> Borrowing:
        """Set up borrowing for cells that lack a modality, or whose batch did not measure all of its features."""
        codes = pd.factorize(np.concatenate([lenders.names, mosaic.cells.astype(str)]))[0]
        rows = mosaic.modalities[modality]
        whole = np.atleast_1d(rows.measured.all(1))
        partly = rows.present & ~whole[mosaic.batch] & ~lacks
        panels = lenders.panels()
        return cls(
            lenders=lenders,
            panels=panels,
            lender=codes[: len(lenders.names)],
            cell=codes[len(lenders.names) :],
            batch=mosaic.batch,
            batches=mosaic.batches,
            lacks=lacks,
            borrows=lacks | partly,
            measured=rows.measured,
            totals=_totals(mosaic, modality, np.flatnonzero(partly), panels),
            k=k,
        )

    def take(self, cells: NDArray[np.int64]) -> Borrowing:
        """Select `cells`, in this order; -1 for rows that do not borrow."""
        return replace(
            self,
            cell=self.cell[cells],
            batch=self.batch[cells],
            lacks=self.lacks[cells],
            borrows=self.borrows[cells] & (cells >= 0),
            totals=self.totals[cells],
        )

    def loans(self, panel: int, z: NDArray[np.float32]) -> Loans | None:
        """Find the nearest lenders of each borrower, weighted by distance; None if no cell borrows from the panel.

        Lenders from batches with other batch effects than the borrower's are treated as farther away. Cells without
        lenders of their type keep their own c and borrow u.

        Parameters
        ----------
        panel
            Index into :attr:`panels`.
        z
            States of the cells, `(n_cells, dim_z)`; NaN rows for cells without a state.
        """
        rows = np.flatnonzero(self.borrows)
        rows = rows[np.isfinite(z[rows]).all(1)]
        missing = ~self.measured[:, self.panels[panel].features]
        wanted = np.asarray(self.lacks[rows][:, None] | missing[self.batch[rows]])
        some = np.atleast_1d(wanted.any(1))
        rows, wanted = rows[some], wanted[some]
        own, dim_c = z[rows], self.lenders.dim_c
        at, weight = np.zeros((len(rows), self.k), np.int64), np.zeros((len(rows), self.k), np.float32)
        found = np.zeros(len(rows), dtype=bool)
        kinds = self.batch[rows] * 2 + self.lacks[rows]
        for kind in np.unique(kinds):
            mine = np.flatnonzero(kinds == kind)
            lacks = bool(kind % 2)
            index, who, cost = self._index(panel, int(kind // 2), lacks=lacks)
            if not 0 < self.k < len(who):
                continue
            distance, near = index.find(np.pad(own[mine, :dim_c], ((0, 0), (0, 1))), self.k + 1)
            cost = cost[near]
            other = self.lender[self.panels[panel].lenders[who[near]]] != self.cell[rows[mine]][:, None]
            other &= np.cumsum(other, 1) <= self.k  # drops the farthest if the cell itself is not among them
            # Valid lenders first; a duplicated name may leave fewer than k.
            first = np.argsort(~other, axis=1, kind="stable")[:, : self.k]
            near, distance, other, cost = (np.take_along_axis(x, first, 1) for x in (near, distance, other, cost))
            distance = np.where(other, np.square(distance) / self._variance, np.inf)
            with np.errstate(invalid="ignore"):  # for cells without lenders
                share = np.exp((np.min(distance, 1, keepdims=True) - distance) / _WIDTH)
                share /= share.sum(1, keepdims=True)
            at[mine] = who[near]
            u = self.lenders.z[self.panels[panel].lenders[at[mine]], dim_c:]
            own[mine, dim_c:] = np.einsum("ij,ijk->ik", share, u)
            kept = _own_share(distance - cost) if lacks else np.maximum(_own_share(distance - cost), _OWN_AT_LEAST)
            weight[mine] = share * (1 - kept)
            found[mine] = other.any(1)  # otherwise all neighbours have the cell's own name
        if not found.any():
            return None
        rows = rows[found]
        return Loans(
            rows, own[found], at[found], weight[found], wanted[found], self.totals[rows, panel], self.batch[rows]
        )

    @property
    def _variance(self) -> float:
        return float(self.lenders.z[:, : self.lenders.dim_c].var(0, dtype=np.float64).sum()) or 1.0

    def _index(self, panel: int, batch: int, *, lacks: bool) -> tuple[Index, NDArray[np.int64], NDArray[np.float64]]:
        """Index of a panel's lenders for cells of one batch, and the batch penalty on each lender's squared distance.

        A batch that measured the modality cannot lend itself what it did not measure.
        """
        key = (panel, batch, lacks)
        if key not in self._looked_up:
            lenders = self.panels[panel].lenders
            who = np.arange(len(lenders))
            if not lacks:
                who = who[self.lenders.batch[lenders] != self.batches[batch]]
            cost = _COST_OF_BATCH * self.lenders.distances_from(self.batches[batch])[lenders[who]]
            # An extra column, 0 for all borrowers, adds its square to each squared distance.
            column = np.sqrt(cost * self._variance).astype(np.float32)
            c = self.lenders.z[lenders[who], : self.lenders.dim_c]
            self._looked_up[key] = Index(np.column_stack([c, column])), who, cost
        return self._looked_up[key]


def _own_share(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of a cell's own c, `(n, 1)`, given the distances of its lenders, `(n, k)`."""
    nearby = np.sort(distance, axis=1)[:, min(_FEW, distance.shape[1]) - 1]
    share: NDArray[np.float64] = np.clip((nearby - _NEAR) / (_FAR - _NEAR), 0, 1)[:, None]
    return share


def _totals(mosaic: Mosaic, modality: str, cells: NDArray[np.int64], panels: tuple[Panel, ...]) -> NDArray[np.float32]:
    totals = np.full((mosaic.n_cells, len(panels)), np.nan, dtype=np.float32)
    if not panels:
        return totals
    joint = np.array([panel.joint for panel in panels], dtype=np.float32).T
    for start in range(0, len(cells), _ROWS_AT_ONCE):
        some = cells[start : start + _ROWS_AT_ONCE]
        totals[some] = measured_counts(mosaic, modality, some) @ joint
    return totals
