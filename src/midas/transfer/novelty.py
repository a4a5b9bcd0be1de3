"""Novelty of query cells: their distance from the reference's cells, and how badly its model reconstructs them."""

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
_NO_WIDTH = 1e-6  # interquartile range over standard deviation
_FEWEST_FEATURES = 3
# Cells closer to the reference than half of its own cells are of its types. In 16 queries whose type the reference lacked, this
# held for 0 to 2% of the new cells (in one, 62%: NK cells next to T cells) and for 11 to 94% of the others
# (benchmarks/unknown.py).
NEAR, _SHARE_NEAR, _FEWEST_NEAR = 0.5, 0.15, 20
_OFF, _MOSTLY = 0.05, 0.7
FAR = 3.25
"""Score above which a cell is of a new type, in units of the spread of near cells: 1 to 4% of cells of known types exceed it."""


@dataclass(frozen=True)
class Novelty:
    """Novelty of each query cell.

    Attributes
    ----------
    score
        `(n_cells,)`, higher for newer cells; NaN for cells without any modality of the reference. In units of the spread among
        the cells that lie near the reference if there are enough of them, else among all cells.
    nearness
        `(n_cells,)`, from 0 to 1: share of the reference's own cells that lie at least as far from the reference as this cell
        does, each compared with the other batches only.
    """

    score: NDArray[np.float64]
    nearness: NDArray[np.float64]


def enough_near(nearness: NDArray[np.float64]) -> bool:
    """Whether enough cells lie near the reference to calibrate the scores of the others."""
    known = np.isfinite(nearness)
    near = int((nearness[known] > NEAR).sum())
    return near >= max(_FEWEST_NEAR, _SHARE_NEAR * int(known.sum()))


def mostly_far(nearness: NDArray[np.float64]) -> bool:
    """Whether too few cells lie near the reference to trust labels. For very few cells only the share is tested."""
    known = np.isfinite(nearness)
    n, near = int(known.sum()), int((nearness[known] > NEAR).sum())
    return n > 0 and (near < _SHARE_NEAR * n if n < _FEWEST_NEAR else not enough_near(nearness))


def far_off(nearness: NDArray[np.float64], c: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which cells lie farther away than 95% of the reference's own cells, as do most of their neighbours, `(n,)`.

    One in twenty cells of known types lies that far away, too, but scattered among others: a new type forms a group.

    Parameters
    ----------
    nearness
        Nearness of the query's cells, `(n,)`.
    c
        Latents of the query's cells, `(n, dim_c)`; NaN for cells without.
    """
    known = np.isfinite(nearness) & np.isfinite(c).all(1)
    far = known & (nearness < _OFF)
    if not far.any() or known.sum() < 2:
        return np.zeros(len(far), dtype=bool)
    _, about = Index(c[known]).find(c[far], min(_NEIGHBOURS + 1, int(known.sum())))
    far[far] = far[known][about].mean(1) > _MOSTLY
    return far


def novelty(reference: MIDAS, query: Mosaic, encoded: Posterior, readings: Readings | None = None) -> Novelty:
    """Score how unlike any reference cell each query cell is, by the reference's untuned model.

    The mean of two standardised terms: the logarithm of the mean distance of c to its 15 nearest reference cells, and the misfit
    of the reference's reconstruction, 1 - r between measured and expected profile (log1p of counts; mean over the cell's
    modalities). A type that the reference lacks may be placed among its cells, but cannot be reconstructed from there.

    Distance and misfit of known types differ from query to query. They are calibrated on the cells that lie closer than half of
    the reference's own cells, so most of a query may be of new types.

    Parameters
    ----------
    reference
        Reference model with its table of cells.
    query
        Query as read by the reference.
    encoded
        Latents from the reference's encoders, with all of the cells' modalities.
    readings
        Latents of the reference's own cells from the query's modalities; None for those stored in the reference.
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
    """Share of the reference's cells, encoded from the same modalities, that lie at least as far from its other batches."""
    latent = np.asarray(reference.cells.obsm[keys.LATENT], dtype=np.float32)
    batch, _ = pd.factorize(reference.cells.obs[keys.BATCH].astype(str).to_numpy())
    if len(np.unique(batch)) < 2:  # random halves of the only batch serve as two batches
        batch = np.random.default_rng(17).integers(0, 2, len(batch))
    found = np.empty(len(distance))
    for name in np.unique(combination):
        in_group = combination == name
        c = None if readings is None else readings.get(str(name))
        rows = np.arange(len(latent)) if readings is None or c is None else readings.rows
        own = np.sort(_from_other_batches(latent, batch, rows, latent if c is None else c))
        as_near = np.searchsorted(own, distance[in_group], side="left")
        found[in_group] = 1 - as_near / max(1, len(own)) if len(own) else np.nan
    return found


def _from_other_batches(
    latent: NDArray[np.float32], batch: NDArray[np.int64], rows: NDArray[np.int64], c: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean distance to the nearest cells of other batches; k shrinks with the number of cells, so that the radius stays alike."""
    whole, placed = np.isfinite(latent).all(1), np.isfinite(c).all(1)
    out = []
    for b in np.unique(batch[rows]):
        others, in_batch = whole & (batch != b), placed & (batch[rows] == b)
        if others.any() and in_batch.any():
            k = max(3, round(_NEIGHBOURS * others.sum() / whole.sum()))
            out.append(Index(latent[others]).find(c[in_batch], k)[0].mean(1))
    return np.concatenate(out) if out else np.empty(0)


def _misfit(reference: MIDAS, query: Mosaic, name: str, encoded: Posterior) -> NDArray[np.float64]:
    """1 - Pearson r between each cell's profile and its reconstruction, over measured features; NaN where not measured."""
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
    return np.where(n[:, 0] < _FEWEST_FEATURES, np.nan, r)  # with two features r is always 1 or -1


def _standardised(values: NDArray[np.float64], group: NDArray[np.int64], by: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Centre at the median and scale by the interquartile range of the cells `by`, which is robust to outliers.

    Latents and misfits depend on the modalities, so each combination gets its own scale unless it has too few cells.
    """
    scaled = _scaled(values, values[by])
    for g in np.unique(group):
        in_group = group == g
        calibration = values[in_group & by]
        if np.isfinite(calibration).sum() >= _CELLS_FOR_A_SCALE:
            scaled[in_group] = _scaled(values[in_group], calibration)
    return scaled


def _scaled(values: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    low, middle, high = np.nanpercentile(calibration, [25, 50, 75])
    width, spread = high - low, float(np.nanstd(calibration))
    if width <= _NO_WIDTH * spread:  # most values are identical
        width = spread if spread > 0 else 1.0
    scaled: NDArray[np.float64] = (values - middle) / width
    return scaled
