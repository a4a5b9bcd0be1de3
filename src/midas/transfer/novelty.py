"""How new a cell is to a reference: how far from its cells, and how badly its model explains what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas import keys
from midas.data.minibatch import gather
from midas.decoding import States, decode
from midas.inference import Encoded, encode
from midas.neighbours import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.model import MIDAS

_NEIGHBOURS = 15
_CELLS_AT_ONCE = 1024
_CELLS_FOR_A_SCALE = 100
_NO_WIDTH = 1e-6  # of the quartiles' distance over the standard deviation
_FEWEST_FEATURES = 3


def novelty(reference: MIDAS, query: Mosaic) -> NDArray[np.float64]:
    """Score each query cell, from the reference's untuned model: the higher, the less it is like any reference cell.

    The mean of two standardised terms: the logarithm of the mean distance of c to its 15 nearest reference cells, and the
    misfit of the reference's reconstruction, 1 - r of the measured with the expected profile (log1p of counts; mean over the
    cell's modalities). A type that the reference lacks may be placed among its cells, but cannot be rebuilt from there.

    Parameters
    ----------
    reference
        With its table of cells.
    query
        Read by the reference.

    Returns
    -------
    `(n_cells,)`; NaN for cells without any modality of the reference.
    """
    dim_c = reference.config.network.dim_c
    found = encode(reference.vae, query, reference.modalities)
    z = found.mean
    known = np.isfinite(z).all(1)
    score = np.full(query.n_cells, np.nan)
    if not known.any():
        return score
    near = np.asarray(reference.cells.obsm[keys.LATENT], dtype=np.float32)
    near = near[np.isfinite(near).all(1)]
    distance, _ = Index(near).find(z[known, :dim_c], _NEIGHBOURS)
    group, _ = pd.factorize(query.combinations().to_numpy()[known])
    terms = [_standardised(np.log(np.maximum(distance.mean(1), 1e-12)), group)]
    misfits = []
    for name in reference.modalities:
        misfit = _misfit(reference, query, name, found)[known]
        if np.isfinite(misfit).any():
            misfits.append(_standardised(misfit, group))
    if misfits:
        stacked = np.stack(misfits)
        has = np.isfinite(stacked)
        terms.append(np.where(has, stacked, 0).sum(0) / np.maximum(has.sum(0), 1))
    score[known] = np.mean(terms, axis=0)
    return score


def _misfit(reference: MIDAS, query: Mosaic, name: str, encoded: Encoded) -> NDArray[np.float64]:
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
        expected = np.concatenate(list(decode(reference.vae, reference.schema, states, name, columns)))
        if schema.modality.transform == "log1p":
            expected = np.log1p(expected)
        seen = np.ones(measured.shape, dtype=bool) if counts.mask is None else counts.mask.numpy() > 0
        found[at] = 1 - _row_correlation(measured, expected, seen)
    return found


def _row_correlation(a: NDArray[np.float32], b: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    n = np.maximum(seen.sum(1, keepdims=True), 1)
    x, y = (np.where(seen, v - np.where(seen, v, 0).sum(1, keepdims=True) / n, 0.0) for v in (a, b))
    spread = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    r: NDArray[np.float64] = np.where(spread > 0, (x * y).sum(1) / np.maximum(spread, 1e-12), 0.0)
    return np.where(n[:, 0] < _FEWEST_FEATURES, np.nan, r)  # of two features it is 1 or -1


def _standardised(values: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Centre at the median, scale by the interquartile range: what a few outlying cells do not change.

    Cells with other modalities lie elsewhere and are rebuilt otherwise, so each combination has its own scale if it is not small.
    """
    scaled = _scaled(values)
    for g in np.unique(group):
        mine = group == g
        if np.isfinite(values[mine]).sum() >= _CELLS_FOR_A_SCALE:
            scaled[mine] = _scaled(values[mine])
    return scaled


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, middle, high = np.nanpercentile(values, [25, 50, 75])
    width, spread = high - low, float(np.nanstd(values))
    if width <= _NO_WIDTH * spread:  # most values are one
        width = spread if spread > 0 else 1.0
    scaled: NDArray[np.float64] = (values - middle) / width
    return scaled
