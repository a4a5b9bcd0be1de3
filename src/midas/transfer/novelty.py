"""How new a cell is to a reference: how far from its cells, and how badly its model explains what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas import keys
from midas.data.minibatch import gather
from midas.decoding import States, decode
from midas.neighbours import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.inference import Posterior
    from midas.model import MIDAS
    from midas.readings import Readings

_NEIGHBOURS = 15
_CELLS_AT_ONCE = 1024
_CELLS_FOR_A_SCALE = 100
_NO_WIDTH = 1e-6  # of the quartiles' distance over the standard deviation
_FEWEST_FEATURES = 3
# Cells nearer to the reference than half of its own are of its types: of 16 queries without their type in the reference, 0 to 2%
# of the new cells were (one, 62%: NK cells beside T cells), and 11 to 94% of the others (benchmarks/unknown.py).
NEAR, _SHARE_NEAR, _FEWEST_NEAR = 0.5, 0.15, 20
_OFF, _MOSTLY = 0.05, 0.7
FAR = 3.25
"""Score above which a cell is of a new type, in units of the spread among the near ones: 1 to 4% of cells of known types."""


@dataclass(frozen=True)
class Novelty:
    """How new cells are.

    Attributes
    ----------
    score
        `(n_cells,)`, the higher the newer; NaN for cells without any modality of the reference. In units of the spread among the
        cells that lie near the reference, if there are enough, else among all.
    nearness
        `(n_cells,)`, from 0 to 1: share of the reference's own cells, each held against its other batches, that lie as far from
        these or farther.
    """

    score: NDArray[np.float64]
    nearness: NDArray[np.float64]


def enough_near(nearness: NDArray[np.float64]) -> bool:
    """Whether so many cells lie near the reference that the others can be measured by them."""
    known = np.isfinite(nearness)
    near = int((nearness[known] > NEAR).sum())
    return near >= max(_FEWEST_NEAR, _SHARE_NEAR * int(known.sum()))


def mostly_far(nearness: NDArray[np.float64]) -> bool:
    """Whether too few cells lie near the reference to believe labels; of a handful of cells the share alone tells."""
    known = np.isfinite(nearness)
    n, near = int(known.sum()), int((nearness[known] > NEAR).sum())
    return n > 0 and (near < _SHARE_NEAR * n if n < _FEWEST_NEAR else not enough_near(nearness))


def far_off(nearness: NDArray[np.float64], c: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which cells lie farther than 95% of the reference's own, and so do most cells about them, `(n,)`.

    One in twenty of the reference's types does, too, but scattered among others: a new type is a group.

    Parameters
    ----------
    nearness
        Of the query's cells, `(n,)`.
    c
        Where they lie, `(n, dim_c)`; NaN for nowhere.
    """
    known = np.isfinite(nearness) & np.isfinite(c).all(1)
    far = known & (nearness < _OFF)
    if not far.any() or known.sum() < 2:
        return np.zeros(len(far), dtype=bool)
    _, about = Index(c[known]).find(c[far], min(_NEIGHBOURS + 1, int(known.sum())))
    far[far] = far[known][about].mean(1) > _MOSTLY
    return far


def novelty(reference: MIDAS, query: Mosaic, encoded: Posterior, readings: Readings | None = None) -> Novelty:
    """Score each query cell, from the reference's untuned model: the higher, the less it is like any reference cell.

    The mean of two standardised terms: the logarithm of the mean distance of c to its 15 nearest reference cells, and the
    misfit of the reference's reconstruction, 1 - r of the measured with the expected profile (log1p of counts; mean over the
    cell's modalities). A type that the reference lacks may be placed among its cells, but cannot be rebuilt from there.

    How far cells of the reference's types lie, and how well they are rebuilt, differs from query to query. The cells that lie
    nearer than half of the reference's own do tell, so that a query may well be of new types for the most part.

    Parameters
    ----------
    reference
        With its table of cells.
    query
        Read by the reference.
    encoded
        What the reference's encoders make of it, by all of its modalities.
    readings
        How the reference reads its own cells by the query's modalities; None for what it knows of that.
    """
    dim_c = reference.config.network.dim_c
    z = encoded.mean
    known = np.isfinite(z).all(1)
    score, nearness = np.full(query.n_cells, np.nan), np.full(query.n_cells, np.nan)
    if not known.any():
        return Novelty(score, nearness)
    combination = query.combinations().to_numpy()[known]
    distance = _distances(reference, z[known, :dim_c])
    nearness[known] = _nearness(reference, readings or reference.learned.readings, distance, combination)
    by = nearness[known] > NEAR if enough_near(nearness) else np.ones(int(known.sum()), dtype=bool)
    group, _ = pd.factorize(combination)
    terms = [_standardised(np.log(np.maximum(distance, 1e-12)), group, by)]
    misfits = []
    for name in reference.modalities:
        misfit = _misfit(reference, query, name, encoded)[known]
        if np.isfinite(misfit[by]).any():
            misfits.append(_standardised(misfit, group, by))
    if misfits:
        stacked = np.stack(misfits)
        has = np.isfinite(stacked)
        terms.append(np.where(has, stacked, 0).sum(0) / np.maximum(has.sum(0), 1))
    score[known] = np.mean(terms, axis=0)
    return Novelty(score, nearness)


def _distances(reference: MIDAS, c: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean distance to the nearest reference cells, `(n,)`."""
    near = np.asarray(reference.cells.obsm[keys.LATENT], dtype=np.float32)
    distance, _ = Index(near[np.isfinite(near).all(1)]).find(c, _NEIGHBOURS)
    found: NDArray[np.float64] = distance.mean(1)
    return found


def _nearness(
    reference: MIDAS, readings: Readings | None, distance: NDArray[np.float64], combination: NDArray[np.object_]
) -> NDArray[np.float64]:
    """Share of the reference's cells, read by the same modalities, that lie as far from those of its other batches."""
    latent = np.asarray(reference.cells.obsm[keys.LATENT], dtype=np.float32)
    batch, _ = pd.factorize(reference.cells.obs[keys.BATCH].astype(str).to_numpy())
    if len(np.unique(batch)) < 2:  # the halves of one batch stand for two
        batch = np.random.default_rng(17).integers(0, 2, len(batch))
    found = np.empty(len(distance))
    for name in np.unique(combination):
        mine = combination == name
        c = None if readings is None else readings.get(str(name))
        rows = np.arange(len(latent)) if readings is None or c is None else readings.rows
        own = np.sort(_from_other_batches(latent, batch, rows, latent if c is None else c))
        as_near = np.searchsorted(own, distance[mine], side="left")
        found[mine] = 1 - as_near / max(1, len(own)) if len(own) else np.nan
    return found


def _from_other_batches(
    latent: NDArray[np.float32], batch: NDArray[np.int64], rows: NDArray[np.int64], c: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean distance of cells to the nearest of other batches; of fewer cells fewer are near, so that the circle is as wide."""
    whole, placed = np.isfinite(latent).all(1), np.isfinite(c).all(1)
    out = []
    for b in np.unique(batch[rows]):
        others, mine = whole & (batch != b), placed & (batch[rows] == b)
        if others.any() and mine.any():
            k = max(3, round(_NEIGHBOURS * others.sum() / whole.sum()))
            out.append(Index(latent[others]).find(c[mine], k)[0].mean(1))
    return np.concatenate(out) if out else np.empty(0)


def _misfit(reference: MIDAS, query: Mosaic, name: str, encoded: Posterior) -> NDArray[np.float64]:
    """1 - Pearson r over measured features of each cell's profile with its reconstruction; NaN where not measured."""
    schema = reference.schema.modalities[name]
    found = np.full(query.n_cells, np.nan)
    cells = np.flatnonzero(query.modalities[name].present & np.isfinite(encoded.mean).all(1))
    columns = np.arange(schema.n_features)
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        at = cells[start : start + _CELLS_AT_ONCE]
        counts = gather(query, at, frozenset({name})).counts[name]
        measured = counts.dense(schema.modality.transform).numpy()
        states = States(encoded.mean[at], depths=encoded.depths[at])
        decoded = np.concatenate(list(decode(reference.vae, reference.schema, states, name, columns)))
        expected = schema.modality.encoded(decoded)
        seen = np.ones(measured.shape, dtype=bool) if counts.mask is None else counts.mask.numpy() > 0
        found[at] = 1 - _row_correlation(measured, expected, seen)
    return found


def _row_correlation(a: NDArray[np.float32], b: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    n = np.maximum(seen.sum(1, keepdims=True), 1)
    x, y = (np.where(seen, v - np.where(seen, v, 0).sum(1, keepdims=True) / n, 0.0) for v in (a, b))
    spread = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    r: NDArray[np.float64] = np.where(spread > 0, (x * y).sum(1) / np.maximum(spread, 1e-12), 0.0)
    return np.where(n[:, 0] < _FEWEST_FEATURES, np.nan, r)  # of two features it is 1 or -1


def _standardised(values: NDArray[np.float64], group: NDArray[np.int64], by: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Centre at the median of some cells, scale by their interquartile range: what a few outlying ones do not change.

    Cells with other modalities lie elsewhere and are rebuilt otherwise, so each combination has its own scale if it is not small.
    """
    scaled = _scaled(values, values[by])
    for g in np.unique(group):
        mine = group == g
        some = values[mine & by]
        if np.isfinite(some).sum() >= _CELLS_FOR_A_SCALE:
            scaled[mine] = _scaled(values[mine], some)
    return scaled


def _scaled(values: NDArray[np.float64], some: NDArray[np.float64]) -> NDArray[np.float64]:
    low, middle, high = np.nanpercentile(some, [25, 50, 75])
    width, spread = high - low, float(np.nanstd(some))
    if width <= _NO_WIDTH * spread:  # most values are one
        width = spread if spread > 0 else 1.0
    scaled: NDArray[np.float64] = (values - middle) / width
    return scaled
