"""Imputed counts: how close they are to the ones that were hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def feature_correlation(
    predicted: ArrayLike | sp.spmatrix,
    true: ArrayLike | sp.spmatrix,
    *,
    log1p: bool = True,
    measured: ArrayLike | None = None,
) -> float:
    """Pearson r of predicted with true counts over cells, averaged over features.

    Parameters
    ----------
    predicted, true
        `(n_cells, n_features)`.
    log1p
        Whether to compare log1p of the counts.
    measured
        `(n_features,)`, features that count; None for all. Features without variance in the truth never do; a feature
        predicted as a constant has r = 0.
    """
    a, b = _dense(predicted), _dense(true)
    if a.shape != b.shape:
        msg = f"Expected predicted and true counts of one shape, found {a.shape} and {b.shape}."
        raise ValueError(msg)
    if log1p:
        a, b = np.log1p(np.maximum(a, 0)), np.log1p(b)
    a, b = a - a.mean(0), b - b.mean(0)
    spread, truth = np.sqrt((a**2).sum(0)), np.sqrt((b**2).sum(0))
    counted = truth > 0
    if measured is not None:
        counted &= np.asarray(measured, dtype=bool)
    if not counted.any():
        raise ValueError("Expected at least one measured feature that varies, found none.")
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(spread > 0, (a * b).sum(0) / (spread * truth), 0.0)
    return float(r[counted].mean())


def _dense(values: ArrayLike | sp.spmatrix) -> NDArray[np.float64]:
    return np.asarray(values.toarray() if sp.issparse(values) else values, dtype=np.float64)
