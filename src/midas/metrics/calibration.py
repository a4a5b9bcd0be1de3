"""Calibration of stated uncertainty: confidences of labels, intervals of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.metrics.inputs import same_cells

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def reliability(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = 10) -> pd.DataFrame:
    """Accuracy of labels by confidence: ``confidence``, ``accuracy`` and ``n`` of each non-empty bin.

    Cells without confidence (NaN) are ignored. They have no label either, like cells without latents in
    :func:`midas.transfer.label_cells`.

    Examples
    --------
    >>> midas.metrics.reliability([0.9, 0.8, 0.3], [True, True, False]).shape[0] > 0
    True
    """
    same_cells(confidence, correct)
    p, hit = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if p.shape != hit.shape or ((p < 0) | (p > 1)).any():
        msg = f"Expected a confidence from 0 to 1 for each label, found shapes {p.shape} and {hit.shape}, or other values."
        raise ValueError(msg)
    p, hit = p[~np.isnan(p)], hit[~np.isnan(p)]
    if not len(p):
        raise ValueError("Expected a label with a confidence or more, found none.")
    place = np.minimum((p * n_bins).astype(int), n_bins - 1)
    table = pd.DataFrame({"confidence": p, "accuracy": hit.astype(float), "bin": place})
    found = table.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), n=("bin", "size")
    )
    return found.reset_index(drop=True)


def calibration_error(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = 10) -> float:
    """Expected calibration error: mean over labels of the gap between accuracy and confidence in their bin; 0 is best.

    Cells without confidence (NaN) are ignored.

    Examples
    --------
    >>> round(midas.metrics.calibration_error([0.9] * 10, [True] * 9 + [False]), 2)
    0.0
    """
    table = reliability(confidence, correct, n_bins=n_bins)
    return float(((table["confidence"] - table["accuracy"]).abs() * table["n"]).sum() / table["n"].sum())


def coverage(
    true: ArrayLike,
    samples: ArrayLike,
    *,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    measured: ArrayLike | None = None,
) -> pd.Series:
    """Share of true values within central predictive intervals; equals the level if the uncertainty is calibrated.

    Intervals of counts cover more, as whole numbers cannot hit a level exactly. Non-finite values, in the truth or in a draw, are
    ignored; NaN if none is left.

    Parameters
    ----------
    true
        `(n_cells, n_features)`.
    samples
        Draws, `(n_samples, n_cells, n_features)`.
    levels
        Levels of the intervals.
    measured
        Mask, broadcast to `true`, of the values to use.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> true, samples = rng.poisson(5, (50, 4)), rng.poisson(5, (30, 50, 4))
    >>> midas.metrics.coverage(true, samples, levels=(0.5, 0.9))
    0.5    0.58
    0.9    0.89
    Name: coverage, dtype: float64
    """
    truth, draws = np.asarray(true, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    if draws.shape[1:] != truth.shape:
        msg = f"Expected samples x {truth.shape}, found {draws.shape}."
        raise ValueError(msg)
    counted = np.broadcast_to(True if measured is None else np.asarray(measured, dtype=bool), truth.shape)
    counted = counted & np.isfinite(truth) & np.isfinite(draws).all(0)
    if not counted.any():
        return pd.Series(dict.fromkeys(levels, float("nan")), name="coverage")
    truth, draws = truth[counted], draws[:, counted]
    found = {}
    for level in levels:
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        found[level] = float(((truth >= low) & (truth <= high)).mean())
    return pd.Series(found, name="coverage")
