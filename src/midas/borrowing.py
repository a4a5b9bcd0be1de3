"""What cells borrow from cells of the training data: what the lenders' states decode to, averaged, in place of their own.

Of a cell that lacks a modality, the state is known from its other modalities alone, so part of what it says of the missing one is
chance, and its u is that of a batch which the modality's decoder has never seen. The same holds for features that a cell's batch
did not measure, though more is known of its state. The states of cells that measured them and lie nearby hold what the features
themselves tell; the mean over some has little noise. It is taken of decoded values: the decoder of a mean state is surer of
itself than any of its cells is.
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
"""More lie no nearer to matter, and cost time."""
_MOST_VALUES: Final = 100_000_000  # that lenders are decoded to, 400 MB
# In units of the lenders' total variance in c, all squared distances: what a batch that measures as differently as batches do on
# the mean costs; how fast lenders count less the farther they lie.
_COST_OF_BATCH, _WIDTH = 3.0, 0.3
# What a batch that shares no modality with the borrower's counts as: half of the usual, as what was measured apart is often of
# one experiment, and a batch that is known to be alike still comes first.
_UNKNOWN: Final = 0.5
# Where even the fifth of the lenders is farther than that, there is hardly one of the cell's type; from the second on, none.
_NEAR, _FAR, _FEW = 1.0, 2.0, 5
# Least share of its own state where only features are missing: the state was found with the others of the modality.
_OWN_AT_LEAST: Final = 0.5
_MOST_PANELS: Final = 4  # looked up one by one; features of others together
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
    names, batch
        Of the cells, `(n_lenders,)`: no cell borrows from one of its own name.
    distances
        How differently batches measure (:func:`midas.batch_effects.batch_distances`), by their names.
    measured
        Which features each of these batches measured, batches x features, by their names.
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
        """Take those of a model's own table of cells that measured `modality`: `most` of them, fewer where they are wide."""
        c, u = (np.asarray(cells.obsm[key], dtype=np.float32) for key in (keys.LATENT, keys.TECHNICAL))
        z = np.hstack([c, u])
        has = np.zeros(len(z), dtype=bool)
        if keys.MODALITIES in cells.obs:
            combination = cells.obs[keys.MODALITIES].astype("category")
            having = [modality in str(name).split("+") for name in combination.cat.categories]
            has = np.append(having, False)[combination.cat.codes]
        usable = has & np.isfinite(z).all(1)
        # Sorted by state, so that the input's order decides nothing.
        at = np.flatnonzero(usable)
        at = at[np.lexsort(z[at].T)]
        at = at[at_most(len(at), min(most, _MOST_VALUES // measured.shape[1]), np.random.default_rng(seed))]
        batch = pd.Index(cells.obs[keys.BATCH].iloc[at].astype(str))
        of_batches = measured.reindex(batch.unique(), fill_value=True)
        return cls(z[at], c.shape[1], cells.obs_names[at].astype(str), batch, distances, of_batches)

    def distances_from(self, batch: str) -> NDArray[np.float64]:
        """How differently each lender's batch measures, `(n_lenders,)`."""
        if batch not in self.distances.index:
            return np.full(len(self.batch), _UNKNOWN)
        known = self.distances.loc[batch].reindex(self.batch.unique())
        found: NDArray[np.float64] = known.fillna(_UNKNOWN).loc[self.batch].to_numpy(dtype=np.float64)
        return found

    def panels(self) -> tuple[Panel, ...]:
        """Group features by the batches that measured them; those of the rarer groups are in one."""
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
    """Features that lenders of some batches measured.

    Attributes
    ----------
    features
        Columns of the schema, `(n,)`.
    lenders
        Positions of those that measured any of them, `(n_panel_lenders,)`.
    measured
        Which lender measured which, `(n_panel_lenders, n)`.
    joint
        Features that all these lenders measured, `(n_features,)`.
    """

    features: NDArray[np.int64]
    lenders: NDArray[np.int64]
    measured: NDArray[np.bool_]
    joint: NDArray[np.bool_]


@dataclass(frozen=True)
class Loans:
    """What some cells borrow of one panel's features.

    Attributes
    ----------
    rows
        Which cells do, `(n,)`.
    z
        States that are their own part, `(n, dim_z)`: the own c, and the lenders' mean u.
    at
        Positions among the panel's lenders, `(n, k)`.
    weight
        Of each lender, `(n, k)`; 1 less their sum is the weight of the cells' own part.
    wanted
        Which of the panel's features, `(n, n_panel_features)`.
    totals
        Sum of the cells' counts of the features that they and all lenders measured, `(n,)`; NaN for cells that lack the modality.
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
    """Who borrows from whom; found block by block, as cells are decoded.

    Attributes
    ----------
    lenders
        Cells that measured the modality.
    panels
        Of their features.
    lender, cell
        A number for each name, of the lenders and of the cells.
    batch
        Of each cell, a position in `batches`.
    batches
        Names.
    lacks
        Whether each cell lacks the modality.
    borrows
        Whether each cell borrows at all: it lacks the modality, or its batch did not measure all features.
    measured
        Which features each batch measured, `(n_batches, n_features)`.
    totals
        By panel, sum of each cell's counts of the features that it and all lenders measured, `(n_cells, n_panels)`; NaN for cells
        that lack the modality.
    k
        Neighbours to borrow from. Where there are no more lenders than that, nobody borrows.
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
        """Let cells of a mosaic borrow that lack a modality, or whose batch did not measure all of its features."""
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
        """The same of `cells`, in this order; -1 borrows nothing."""
        return replace(
            self,
            cell=self.cell[cells],
            batch=self.batch[cells],
            lacks=self.lacks[cells],
            borrows=self.borrows[cells] & (cells >= 0),
            totals=self.totals[cells],
        )

    def loans(self, panel: int, z: NDArray[np.float32]) -> Loans | None:
        """Find the lenders nearest to each borrower, nearer ones counting more; None where nobody borrows of a panel.

        Lenders of a batch that measures otherwise than the borrower's count as farther away. Where no lender is of the borrower's
        kind, it keeps its own c and borrows u.

        Parameters
        ----------
        panel
            Which of :attr:`panels`.
        z
            States of the cells, `(n_cells, dim_z)`; NaN rows have none.
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
            other &= np.cumsum(other, 1) <= self.k  # the farthest goes where the cell itself is not among them
            # Those that lend come first; a name that is there twice may leave fewer than k.
            first = np.argsort(~other, axis=1, kind="stable")[:, : self.k]
            near, distance, other, cost = (np.take_along_axis(x, first, 1) for x in (near, distance, other, cost))
            distance = np.where(other, np.square(distance) / self._variance, np.inf)
            with np.errstate(invalid="ignore"):  # of cells without lenders
                share = np.exp((np.min(distance, 1, keepdims=True) - distance) / _WIDTH)
                share /= share.sum(1, keepdims=True)
            at[mine] = who[near]
            u = self.lenders.z[self.panels[panel].lenders[at[mine]], dim_c:]
            own[mine, dim_c:] = np.einsum("ij,ijk->ik", share, u)
            kept = _own_share(distance - cost) if lacks else np.maximum(_own_share(distance - cost), _OWN_AT_LEAST)
            weight[mine] = share * (1 - kept)
            found[mine] = other.any(1)  # else all that are near bear the cell's own name
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
        """Lenders of a panel as cells of a batch see them, and what each one's batch adds to its squared distance.

        A batch that measured the modality cannot lend itself what it did not measure.
        """
        key = (panel, batch, lacks)
        if key not in self._looked_up:
            lenders = self.panels[panel].lenders
            who = np.arange(len(lenders))
            if not lacks:
                who = who[self.lenders.batch[lenders] != self.batches[batch]]
            cost = _COST_OF_BATCH * self.lenders.distances_from(self.batches[batch])[lenders[who]]
            # A column that all borrowers have as 0 adds its square to each distance.
            column = np.sqrt(cost * self._variance).astype(np.float32)
            c = self.lenders.z[lenders[who], : self.lenders.dim_c]
            self._looked_up[key] = Index(np.column_stack([c, column])), who, cost
        return self._looked_up[key]


def _own_share(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of its own c a cell keeps, `(n, 1)`, whose lenders lie so far away, `(n, k)`."""
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
