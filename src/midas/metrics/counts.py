"""Imputed counts: how close they are to the hidden ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from midas.metrics.inputs import dense, same_cells

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
        `(n_cells, n_features)`; non-finite values are ignored.
    log1p
        Whether to compare log1p of the counts.
    measured
        `(n_features,)`, mask of the features to use; None for all. Features that are constant in the truth are always left out; a
        feature with a constant prediction has r = 0.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> true = rng.poisson(5, (50, 4))
    >>> round(midas.metrics.feature_correlation(2 * true, true, log1p=False), 2)
    1.0
    """
    a, b, mask = _counted(predicted, true, measured)
    if log1p:
        a, b = _log1p(a), _log1p(b)
    r = _pearson(a, b, mask, 0)
    if np.isnan(r):
        raise ValueError("Expected at least one measured feature that varies, found none.")
    return r


@dataclass(frozen=True)
class CountScores:
    """Agreement of predicted with hidden counts. Pearson r, averaged over cells or features; NaN where nothing can be scored.

    Attributes
    ----------
    r_counts_cell, r_counts_feature
        Of counts, over a cell's features or a feature's cells.
    r_log1p_cell, r_log1p_feature
        Of log1p of counts.
    auroc, average_precision
        Over all measured values together, if the truth is binary.
    """

    r_counts_cell: float
    r_counts_feature: float
    r_log1p_cell: float
    r_log1p_feature: float
    auroc: float
    average_precision: float

    def to_dict(self) -> dict[str, float]:
        """Scores by name."""
        return asdict(self)


def count_scores(
    predicted: ArrayLike | sp.spmatrix,
    true: ArrayLike | sp.spmatrix,
    *,
    measured: ArrayLike | None = None,
    n_ranked: int = 5_000_000,
    seed: int = 0,
) -> CountScores:
    """Compare predicted with true counts by all scores of :class:`CountScores`.

    Parameters
    ----------
    predicted, true
        `(n_cells, n_features)`; cells with non-finite values are ignored.
    measured
        `(n_cells, n_features)` or `(n_features,)`: mask of the values to use.
    n_ranked
        Maximum number of values for AUROC and average precision; if there are more, cells are drawn at random.
    seed
        Seed of that draw.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> true = rng.poisson(5, (50, 4))
    >>> midas.metrics.count_scores(true, true).to_dict()["r_counts_feature"]
    1.0
    """
    a, b, mask = _counted(predicted, true, measured)
    binary = bool(np.isin(b[mask], (0, 1)).all())
    auroc, precision = _ranked(a, b, mask, n_ranked, seed) if binary and mask.any() else (np.nan, np.nan)
    log_a, log_b = _log1p(a), _log1p(b)
    return CountScores(
        r_counts_cell=_pearson(a, b, mask, 1),
        r_counts_feature=_pearson(a, b, mask, 0),
        r_log1p_cell=_pearson(log_a, log_b, mask, 1),
        r_log1p_feature=_pearson(log_a, log_b, mask, 0),
        auroc=auroc,
        average_precision=precision,
    )


def _counted(
    predicted: ArrayLike | sp.spmatrix, true: ArrayLike | sp.spmatrix, measured: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Both as dense arrays with 0 where a value is not used, and the mask of used values."""
    same_cells(predicted, true)
    a, b = (dense(x).astype(np.float64, copy=False) for x in (predicted, true))
    if a.shape != b.shape:
        msg = f"Expected predicted and true counts of one shape, found {a.shape} and {b.shape}."
        raise ValueError(msg)
    mask = np.broadcast_to(True if measured is None else np.asarray(measured, dtype=bool), a.shape)
    mask = mask & np.isfinite(a) & np.isfinite(b)
    return np.where(mask, a, 0.0), np.where(mask, b, 0.0), mask


def _log1p(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logged: NDArray[np.float64] = np.log1p(np.maximum(values, 0))
    return logged


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64], mask: NDArray[np.bool_], axis: int) -> float:
    """Mean r over rows (axis 1) or columns (axis 0) whose truth varies; a constant prediction has r = 0."""
    n = np.maximum(mask.sum(axis, keepdims=True), 1)
    a, b = (_centred(x, mask, n, axis) for x in (a, b))
    over = "ij,ij->i" if axis == 1 else "ij,ij->j"
    spread, truth = np.sqrt(np.einsum(over, a, a)), np.sqrt(np.einsum(over, b, b))
    counted = truth > 1e-9
    if not counted.any():
        return float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(spread > 1e-9, np.einsum(over, a, b) / (spread * truth), 0.0)
    return float(r[counted].mean())


def _centred(x: NDArray[np.float64], mask: NDArray[np.bool_], n: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
    """Values minus their mean; unused values, which are 0 already, stay 0."""
    centred: NDArray[np.float64] = x - x.sum(axis, keepdims=True) / n
    centred *= mask
    return centred


def _ranked(
    a: NDArray[np.float64], b: NDArray[np.float64], mask: NDArray[np.bool_], n_values: int, seed: int
) -> tuple[float, float]:
    order = np.random.default_rng(seed).permutation(len(a))
    rows = order[: max(n_values // max(a.shape[1], 1), 1)]
    guess, truth = a[rows][mask[rows]], b[rows][mask[rows]]
    if truth.min(initial=1) == truth.max(initial=0):
        return float("nan"), float("nan")
    return _ranking(guess, truth > 0)


def _ranking(guess: NDArray[np.float64], is_open: NDArray[np.bool_]) -> tuple[float, float]:
    """AUROC and average precision as in scikit-learn, ties included; ten times faster, as only the values are sorted."""
    closed, (open_, hits) = np.sort(guess[~is_open]), np.unique(guess[is_open], return_counts=True)
    n_open, below = hits.sum(), np.searchsorted(closed, open_, "left")
    tied = np.searchsorted(closed, open_, "right") - below
    auroc = (hits * (below + tied / 2)).sum() / (n_open * len(closed))
    found = np.cumsum(hits[::-1])[::-1]  # open ones from this value on
    precision = (hits * found / (found + len(closed) - below)).sum() / n_open
    return float(auroc), float(precision)
