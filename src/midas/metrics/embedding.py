"""Embeddings: whether batches mix, types stay separate, and measurements of one cell lie close together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from midas.metrics.inputs import finite_rows, same_cells
from midas.metrics.labels import complete, known_labels, some_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ROWS_AT_ONCE = 1024


def foscttm(a: ArrayLike, b: ArrayLike) -> float:
    """Fraction of samples closer than the true match, averaged over both directions; 0 is perfect, 0.5 chance (Liu et al. 2019).

    Parameters
    ----------
    a, b
        The same cells in the same order, embedded from different modalities, `(n_cells, dim)`.

    Returns
    -------
    NaN for fewer than two cells.

    Raises
    ------
    ValueError
        If the two do not hold the same cells, or contain non-finite values.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 3))
    >>> midas.metrics.foscttm(x, x), bool(midas.metrics.foscttm(x, rng.normal(size=(100, 3))) > 0.4)
    (0.0, True)
    """
    same_cells(a, b)
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        msg = f"Expected two embeddings of the same cells, found shapes {x.shape} and {y.shape}."
        raise ValueError(msg)
    _check_finite(x, y)
    if len(x) < 2:
        return float("nan")
    centre = (x.mean(0) + y.mean(0)) / 2  # distances lose less precision if points lie close to zero
    x, y = x - centre, y - centre
    return (_closer(x, y) + _closer(y, x)) / (2 * len(x) * (len(x) - 1))


def _closer(x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    """Number of pairs of a row of `x` and another row of `y` closer than the row's own match, by more than rounding error."""
    rounding = (4 * x.shape[1] + 16) * np.finfo(np.float64).eps  # relative to the two squared norms
    left, right = (x**2).sum(1), (y**2).sum(1)
    own = ((x - y) ** 2).sum(1) - rounding * (left + right)
    left, right = left * (1 + rounding), right * (1 + rounding)
    closer = 0
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        distance = left[rows, None] - 2 * x[rows] @ y.T + right
        closer += int((distance < own[rows, None]).sum())
    return closer


def label_transfer_f1(
    source: ArrayLike,
    source_labels: ArrayLike,
    target: ArrayLike,
    target_labels: ArrayLike,
    *,
    k: int = 10,
    average: Literal["macro", "micro"] = "macro",
    weights: Literal["uniform", "distance"] = "uniform",
) -> float:
    """F1 of labels transferred from one embedding to another by k nearest neighbours, from 0 to 1.

    Cells without a label (NaN) neither vote nor are scored.

    Examples
    --------
    >>> z, labels = np.repeat([[0.0], [9.0]], 20, axis=0), ["B"] * 20 + ["T"] * 20
    >>> midas.metrics.label_transfer_f1(z, labels, z, labels)
    1.0
    """
    same_cells(source, source_labels)
    same_cells(target, target_labels)
    (given, gives), (truth, judged) = some_labels(source_labels), some_labels(target_labels)
    _check_finite(np.asarray(source)[gives])
    _check_finite(np.asarray(target)[judged])
    voters: Any = KNeighborsClassifier(min(k, int(gives.sum())), weights=weights)
    voters.fit(np.asarray(source)[gives], given[gives])
    return float(f1_score(truth[judged], voters.predict(np.asarray(target)[judged]), average=average))


def label_micro_f1(labels: ArrayLike, reference: ArrayLike, *, match: bool = False) -> float:
    """Micro-F1 between two labellings of the same cells: the share of cells with equal labels.

    Parameters
    ----------
    labels, reference
        `(n_cells,)`; cells without a label (NaN) in either are ignored.
    match
        Whether cluster names are arbitrary: clusters are then matched to labels one to one so that most cells agree.

    Examples
    --------
    >>> midas.metrics.label_micro_f1(["B", "T", "T", "T"], ["B", "T", "T", "B"])
    0.75
    """
    same_cells(labels, reference)
    (a, has), (b, judged) = known_labels(labels), known_labels(reference)
    both = has & judged
    if not both.any():
        n, m = int(has.sum()), int(judged.sum())
        msg = f"Expected cells that both labellings label, found {n:,} labelled in the first, {m:,} in the second, none in both."
        raise ValueError(msg)
    a, b = a[both], b[both]
    if not match:
        return float((a == b).mean())
    table = pd.crosstab(a, b).to_numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(a))


def neighbourhood_overlap(a: ArrayLike, b: ArrayLike, ks: Sequence[int] = (10, 30, 100, 300)) -> pd.Series:
    """Mean share of a cell's k nearest neighbours in one embedding that are also among them in the other, for each k.

    Two unrelated embeddings have an expected overlap of k / (n_cells - 1).

    Parameters
    ----------
    a, b
        The same cells in the same order, `(n_cells, dim)`.
    ks
        Numbers of neighbours, each capped at the number of other cells.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 3))
    >>> midas.metrics.neighbourhood_overlap(x, x, ks=(10, 30)).tolist()
    [1.0, 1.0]
    """
    same_cells(a, b)
    n = len(np.asarray(a))
    if n != len(np.asarray(b)) or n < 2:
        msg = f"Expected two embeddings of the same cells, two or more, found {n} and {len(np.asarray(b))}."
        raise ValueError(msg)
    largest = min(max(ks), n - 1)
    near, other = _neighbours(a, largest), _neighbours(b, largest)
    found = {}
    for k in ks:
        k_there = min(k, largest)
        both = [
            len(np.intersect1d(x[:k_there], y[:k_there], assume_unique=True)) for x, y in zip(near, other, strict=True)
        ]
        found[k] = float(np.mean(both)) / k_there
    return pd.Series(found, name="overlap")


def label_agreement(z: ArrayLike, labels: ArrayLike, *, k: int = 15) -> float:
    """Share of cells whose k nearest neighbours have their label by majority; 1 is perfect.

    Cells without a label (NaN) are left out.

    Examples
    --------
    >>> z, labels = np.repeat([[0.0], [9.0]], 20, axis=0), ["B"] * 20 + ["T"] * 20
    >>> midas.metrics.label_agreement(z, labels)
    1.0
    """
    same_cells(z, labels)
    types, known = some_labels(labels)
    classes, codes = np.unique(types[known], return_inverse=True)
    near = codes[_neighbours(np.asarray(z)[known], k)]
    votes = np.stack([(near == c).sum(1) for c in range(len(classes))], axis=1)
    return float((votes.argmax(1) == codes).mean())


def mixing(z: ArrayLike, batch: ArrayLike, *, k: int = 30) -> float:
    """How evenly batches mix among nearest neighbours: mean inverse Simpson index, 0 for one batch, 1 for the overall mix.

    NaN if all cells are from one batch.

    The local inverse Simpson index of Korsunsky et al. 2019 with equal weights, scaled by that of all cells together.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(200, 2))
    >>> bool(midas.metrics.mixing(z, ["a", "b"] * 100) > 0.9)
    True
    """
    same_cells(z, batch)
    classes, codes = np.unique(complete(batch, "batch"), return_inverse=True)
    if len(classes) == 1:
        return float("nan")
    near = codes[_neighbours(z, k)]
    shares = np.stack([(near == c).mean(1) for c in range(len(classes))], axis=1)
    overall = 1 / ((np.bincount(codes) / len(codes)) ** 2).sum()
    return float(np.clip((np.mean(1 / (shares**2).sum(1)) - 1) / (overall - 1), 0, 1))


def _check_finite(*embeddings: NDArray[Any]) -> None:
    finite = finite_rows(*embeddings)
    if not finite.all():
        msg = (
            f"Expected finite embeddings, found {int((~finite).sum()):,} of {len(finite):,} cells with values that are not, as "
            "cells that were not embedded have. Leave them out."
        )
        raise ValueError(msg)


def _neighbours(z: ArrayLike, k: int) -> NDArray[np.int64]:
    x = np.asarray(z)
    _check_finite(x)
    found: NDArray[np.int64] = NearestNeighbors(n_neighbors=min(k, len(x) - 1)).fit(x).kneighbors(return_distance=False)
    return found
