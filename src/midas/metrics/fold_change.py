"""Whether batch-corrected counts preserve the differences between types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from midas import keys
from midas.metrics.inputs import same_cells
from midas.metrics.labels import known_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def group_fold_changes(
    counts: Any,  # noqa: ANN401 - sparse or dense
    groups: NDArray[np.int64],
    n_groups: int,
    *,
    batch: NDArray[np.int64] | None = None,
    measured: NDArray[np.bool_] | None = None,
    pseudocount: float = 0.01,
) -> NDArray[np.float64]:
    """Log2 fold change of the mean counts of each group against all other cells, `(n_groups, n_features)`.

    Parameters
    ----------
    counts
        Sparse or dense, `(n_cells, n_features)`.
    groups
        Group of each cell, `(n_cells,)`; cells with group -1 are ignored.
    n_groups
        Number of groups.
    batch, measured
        Batch of each cell, `(n_cells,)`, and the features that each batch measured, `(n_batches, n_features)`: each feature is
        compared only over the batches that measured it. None if all batches measured all features.
    pseudocount
        Added to the means; smaller than in :mod:`midas.tl`, to match published scores.

    Returns
    -------
    NaN where no cell of a group, or no other cell, was measured.

    Examples
    --------
    >>> import midas, numpy as np
    >>> counts = np.array([[4.0, 1], [4, 1], [1, 1]])
    >>> midas.metrics.group_fold_changes(counts, np.array([0, 0, 1]), 2, pseudocount=0).tolist()
    [[2.0, 0.0], [-2.0, 0.0]]
    """
    batch = np.zeros(len(groups), dtype=np.int64) if batch is None else batch
    measured = np.ones((1, counts.shape[1]), dtype=np.bool_) if measured is None else measured
    n_batches = len(measured)
    rows = np.flatnonzero(groups >= 0)
    of = groups[rows] * n_batches + batch[rows]
    pick = sp.csr_matrix((np.ones(len(rows)), (of, rows)), shape=(n_groups * n_batches, len(groups)))
    summed: Any = pick @ counts
    # The stubs know no sparse result of this product.
    dense = summed.toarray() if hasattr(summed, "toarray") else summed
    total = np.asarray(dense, dtype=np.float64)
    total = np.where(measured, total.reshape(n_groups, n_batches, -1), 0.0).sum(1)
    number = np.bincount(of, minlength=n_groups * n_batches).reshape(n_groups, n_batches, 1)
    cells = (number * measured).sum(1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, rest = total / cells, (total.sum(0) - total) / (cells.sum(0) - cells)
        change: NDArray[np.float64] = np.log2((mean + pseudocount) / (rest + pseudocount))
    return change


def fold_changes(
    counts: ArrayLike | sp.spmatrix,
    labels: ArrayLike,
    *,
    unlabelled: Sequence[str] = keys.NO_LABEL,
    pseudocount: float = 0.01,
) -> pd.DataFrame:
    r"""Log2 fold change of each feature in each type against the rest, types x features.

    :math:`\log_2 \frac{\bar x_{\text{type}} + \varepsilon}{\bar x_{\text{rest}} + \varepsilon}` of mean counts, dense or sparse.
    Cells whose label is missing (NaN) or one of `unlabelled` (case-insensitive) are ignored, as are cells without a finite count,
    for which a method returned none.

    Examples
    --------
    >>> import midas
    >>> midas.metrics.fold_changes([[4, 1], [4, 1], [1, 1]], ["a", "a", "b"], pseudocount=0).round(2).loc["a"].tolist()
    [2.0, 0.0]
    """
    types, known = known_labels(_with_counts(counts, labels), unlabelled)
    names = np.unique(types[known])
    if len(names) < 2:
        msg = f"Expected two types or more, found {', '.join(names) or 'none'}."
        raise ValueError(msg)
    groups = np.where(known, np.searchsorted(names, types), -1)
    return pd.DataFrame(group_fold_changes(_matrix(counts), groups, len(names), pseudocount=pseudocount), index=names)


def fold_change_correlation(
    raw: ArrayLike | sp.spmatrix,
    corrected: ArrayLike | sp.spmatrix,
    labels: ArrayLike,
    *,
    measured: ArrayLike | None = None,
    unlabelled: Sequence[str] = keys.NO_LABEL,
    pseudocount: float = 0.01,
) -> float:
    """Pearson r between the fold changes of raw and batch-corrected counts, over all types and features.

    Parameters
    ----------
    raw, corrected
        Same cells and features, `(n_cells, n_features)`, dense or sparse. Cells without a finite count in either are ignored.
    labels
        Of the cells.
    measured
        `(n_features,)`, mask of the features to use: those measured by every batch.
    unlabelled, pseudocount
        As in :func:`fold_changes`.

    Examples
    --------
    >>> import midas, numpy as np
    >>> counts = np.array([[4.0, 1, 2], [4, 1, 2], [1, 1, 9]])
    >>> round(midas.metrics.fold_change_correlation(counts, counts * 2, ["a", "a", "b"]), 2)
    1.0
    """
    same_cells(raw, corrected, labels)
    labels = _with_counts(raw, _with_counts(corrected, labels))
    a = fold_changes(raw, labels, unlabelled=unlabelled, pseudocount=pseudocount).to_numpy()
    b = fold_changes(corrected, labels, unlabelled=unlabelled, pseudocount=pseudocount).to_numpy()
    kept = slice(None) if measured is None else np.asarray(measured, dtype=bool)
    return pearson(a[:, kept], b[:, kept])


def _matrix(counts: ArrayLike | sp.spmatrix) -> Any:  # noqa: ANN401 - sparse or dense
    return sp.csr_matrix(counts) if sp.issparse(counts) else np.asarray(counts, dtype=np.float64)


def _with_counts(counts: ArrayLike | sp.spmatrix, labels: ArrayLike) -> NDArray[np.object_]:
    """Labels, set to None for cells without a finite count."""
    same_cells(counts, labels)
    x, values = _matrix(counts), np.array(labels, dtype=object)
    if x.shape[0] != len(values):
        msg = f"Expected a label for each of {x.shape[0]} cells, found {len(values)}."
        raise ValueError(msg)
    values[_not_finite(x) == x.shape[1]] = None
    return values


def _not_finite(x: Any) -> NDArray[np.int64]:  # noqa: ANN401 - sparse or dense
    """Number of non-finite values in each row, `(n_cells,)`."""
    if isinstance(x, np.ndarray):
        rows = np.nonzero(~np.isfinite(x))[0]
    else:
        stored = x.tocoo()
        rows = stored.row[~np.isfinite(stored.data)]
    return np.bincount(rows, minlength=x.shape[0])


def pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson r over entries that are finite in both; NaN if there are fewer than two, or if either is constant.

    Examples
    --------
    >>> import midas, numpy as np
    >>> round(midas.metrics.pearson(np.array([1, 2, 3, np.nan]), np.array([2.0, 4, 6, 8])), 2)
    1.0
    """
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
