"""Whether batch correction preserves differences between cell types: fold changes of raw and corrected counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas import keys, metrics
from midas.columns import as_text, group_names
from midas.tl.inputs import column_of, is_sparse, panels_of, values_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True)
class FoldChanges:
    """Log2 fold changes of each group against all other cells.

    Attributes
    ----------
    raw, corrected
        Groups x features; NaN where no cell of a group, or no other cell, was measured.
    r
        Pearson r between the two over features, for each group.
    overall
        Pearson r over all groups and features.
    """

    raw: pd.DataFrame
    corrected: pd.DataFrame
    r: pd.Series
    overall: float


def fold_change_consistency(
    adata: AnnData,
    groupby: str,
    *,
    layer: str = keys.CORRECTED,
    raw: str | None = None,
    batch_key: str | None = "batch",
    pseudocount: float = 0.1,
    min_cells: int = 10,
) -> FoldChanges:
    """Compare log2 fold changes of raw counts with those of batch-corrected ones (He et al. 2024: r > 0.98).

    Both are differences of log2 mean counts between a group and all other cells. Each feature is compared over the batches that
    measured it, for raw and corrected counts alike.

    Parameters
    ----------
    adata
        One modality with both kinds of counts, as stored by :meth:`midas.MIDAS.annotate`.
    groupby
        Column of obs with the groups, usually cell types.
    layer, raw
        Layers of corrected and raw counts; None for X.
    batch_key
        Column of obs with the batches named in ``var["measured_<batch>"]``.
    pseudocount
        Added to the means, so that features with hardly any counts do not dominate the comparison.
    min_cells
        Groups with fewer cells are left out: their raw means are mostly noise.

    Returns
    -------
    The fold changes and their correlation.

    Examples
    --------
    >>> import anndata, midas, numpy as np, pandas as pd
    >>> counts = np.array([[8, 1, 2], [8, 1, 3]] * 25 + [[1, 8, 2], [1, 8, 3]] * 25, dtype="f4")
    >>> adata = anndata.AnnData(counts, obs=pd.DataFrame({"type": ["a"] * 50 + ["b"] * 50}, index=map(str, range(100))))
    >>> adata.layers["corrected"] = counts * 1.5
    >>> found = midas.tl.fold_change_consistency(adata, "type")
    >>> found.overall > 0.99, found.raw.round(1).loc["a"].tolist()
    (True, [2.9, -2.9, 0.0])
    """
    groups, panels = column_of(adata, groupby), panels_of(adata, batch_key)
    before, after = values_of(adata, raw), values_of(adata, layer)
    # Cells and features that the model does not know are NaN in its layers.
    known = _finite_rows(after)
    text = as_text(groups)
    names = [n for n in group_names(groups) if (known & (text == n)).sum() >= min_cells]
    others = known & pd.Series(text, dtype=object).notna().to_numpy()
    if not names or len(set(text[others])) < 2:
        sizes = pd.Series(text[others], dtype=object).value_counts().to_dict()
        msg = f"Expected two groups or more in {groupby!r}, one of {min_cells} cells or more, found {sizes or 'none'}."
        raise ValueError(msg)
    every = sorted(set(text[others]))
    codes = np.where(others, pd.Categorical(text, categories=every).codes, -1).astype(np.int64)
    index = pd.Index(every, name=groupby)
    of: dict[str, Any] = {"batch": panels.batch, "measured": panels.measured}
    tables = [
        pd.DataFrame(
            metrics.group_fold_changes(values, codes, len(every), **of, pseudocount=pseudocount),
            index=index,
            columns=adata.var_names,
        ).loc[names]
        for values in (before, after)
    ]
    ok = np.isfinite(tables[1].to_numpy()).any(0) & np.isfinite(tables[0].to_numpy()).any(0)
    a, b = (table.loc[:, ok] for table in tables)
    by_group = {name: metrics.pearson(a.loc[name].to_numpy(), b.loc[name].to_numpy()) for name in names}
    return FoldChanges(a, b, pd.Series(by_group, name="r"), metrics.pearson(a.to_numpy(), b.to_numpy()))


def _finite_rows(values: Any) -> NDArray[np.bool_]:  # noqa: ANN401 - sparse or dense
    """Rows with any finite value."""
    if is_sparse(values):
        return np.ones(values.shape[0], dtype=bool)
    return np.fromiter((bool(np.isfinite(row).any()) for row in values), dtype=np.bool_, count=len(values))
