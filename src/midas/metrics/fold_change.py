"""Whether batch-corrected counts keep what tells types apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def fold_changes(
    counts: ArrayLike, labels: ArrayLike, *, unlabelled: Sequence[str] = ("unknown",), pseudocount: float = 0.01
) -> pd.DataFrame:
    r"""Natural log fold change of each feature in each type against the rest, types x features.

    :math:`\log \frac{\bar x_{\text{type}} + \varepsilon}{\bar x_{\text{rest}} + \varepsilon}` of mean counts.
    """
    x, types = np.asarray(counts, dtype=np.float64), np.asarray(labels).astype(str)
    if len(x) != len(types):
        msg = f"Expected a label for each of {len(x)} cells, found {len(types)}."
        raise ValueError(msg)
    known = ~np.isin(types, list(unlabelled))
    x, types = x[known], types[known]
    names = np.unique(types)
    if len(names) < 2:
        msg = f"Expected two types or more, found {', '.join(names) or 'none'}."
        raise ValueError(msg)
    rows = [np.log((x[types == t].mean(0) + pseudocount) / (x[types != t].mean(0) + pseudocount)) for t in names]
    return pd.DataFrame(rows, index=names)


def fold_change_correlation(
    raw: ArrayLike,
    corrected: ArrayLike,
    labels: ArrayLike,
    *,
    measured: ArrayLike | None = None,
    unlabelled: Sequence[str] = ("unknown",),
    pseudocount: float = 0.01,
) -> float:
    """Pearson r of the fold changes of raw with those of batch-corrected counts, over all types and features.

    Parameters
    ----------
    raw, corrected
        The same cells and features, `(n_cells, n_features)`.
    labels
        Of the cells.
    measured
        `(n_features,)`, features that count: those that every batch measured.
    unlabelled, pseudocount
        As in :func:`fold_changes`.
    """
    a = fold_changes(raw, labels, unlabelled=unlabelled, pseudocount=pseudocount).to_numpy()
    b = fold_changes(corrected, labels, unlabelled=unlabelled, pseudocount=pseudocount).to_numpy()
    kept = slice(None) if measured is None else np.asarray(measured, dtype=bool)
    return float(np.corrcoef(a[:, kept].ravel(), b[:, kept].ravel())[0, 1])
