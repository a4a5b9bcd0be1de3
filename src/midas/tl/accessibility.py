"""Detect cells with low chromatin accessibility."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.mixture import GaussianMixture

from midas.columns import as_text, group_names
from midas.expect import sklearn_seed
from midas.tl.inputs import column_of, is_sparse, panels_of, values_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_MIN_CELLS_FOR_MIXTURE = 30


@dataclass(frozen=True)
class Accessibility:
    """Accessible share of the peaks.

    Attributes
    ----------
    share
        For each cell, the share of the peaks measured in its batch that are accessible.
    low
        For each cell, whether that is below the cut-off.
    groups
        For each group: number of cells, share of low cells, and whether the group is bimodal: two Gaussians fit the log shares
        better than one (BIC), are well separated (Ashman's D above 2), and have the cut-off between them.
    cutoff
        The cut-off.
    """

    share: pd.Series
    low: pd.Series
    groups: pd.DataFrame
    cutoff: float


def low_accessibility(
    adata: AnnData,
    groupby: str | None = None,
    *,
    cutoff: float = 0.02,
    layer: str | None = None,
    batch_key: str | None = "batch",
    seed: int = 0,
) -> Accessibility:
    """Find low-chromatin-accessibility (LCA) cells: less than 2% of the peaks accessible (He et al. 2024).

    A type that contains such cells next to normal ones is bimodal; a type that is low as a whole is not.

    Parameters
    ----------
    adata
        Chromatin accessibility, counts or 0 and 1.
    groupby
        Column of obs with cell types; None to look at all cells together.
    cutoff
        Share of accessible peaks below which a cell is low. The right value depends on the set of peaks: look at the histogram.
    layer
        Layer with the counts; None for X.
    batch_key
        Column of obs with the batches named in ``var["measured_<batch>"]``.
    seed
        Seed of the mixture fits.

    Returns
    -------
    Shares, low cells, and a table of the groups.

    Examples
    --------
    >>> import anndata, midas, numpy as np, pandas as pd
    >>> density = np.r_[np.full(60, 0.2), np.full(40, 0.005)][:, None]
    >>> peaks = (np.random.default_rng(0).random((100, 2000)) < density).astype("f4")
    >>> adata = anndata.AnnData(peaks, obs=pd.DataFrame({"type": "T"}, index=map(str, range(100))))
    >>> found = midas.tl.low_accessibility(adata, "type")
    >>> int(found.low.sum()), found.groups.loc["T"].to_dict()
    (40, {'cells': 100, 'low': 0.4, 'bimodal': True})
    """
    values, panels = values_of(adata, layer), panels_of(adata, batch_key)
    open_ = sp.csr_matrix(values) > 0 if is_sparse(values) else np.nan_to_num(values) > 0
    there = None if is_sparse(values) else np.isfinite(values)  # decoded layers hold NaN for unmeasured values
    measured = np.asarray(panels.measured, dtype=np.float64)
    accessible, looked_at = np.zeros((2, adata.n_obs))
    for b, mask in enumerate(measured):
        rows = np.flatnonzero(panels.batch == b)
        accessible[rows] = np.asarray(open_[rows] @ mask).ravel()
        looked_at[rows] = mask.sum() if there is None else there[rows] @ mask
    with np.errstate(invalid="ignore"):
        share = pd.Series(accessible / looked_at, index=adata.obs_names, name="accessible")
    low = (share < cutoff).rename("low_accessibility")
    groups = pd.Series("all", index=adata.obs_names, dtype=object) if groupby is None else column_of(adata, groupby)
    text, found = as_text(groups), {}
    for name in group_names(groups):
        in_group = share.to_numpy()[(text == name) & share.notna().to_numpy()]
        found[name] = {
            "cells": len(in_group),
            "low": float((in_group < cutoff).mean()) if len(in_group) else np.nan,
            "bimodal": _bimodal(in_group, cutoff, 1 / adata.n_vars, seed),
        }
    table = pd.DataFrame.from_dict(found, orient="index").rename_axis(groupby or "group")
    return Accessibility(share, low, table, cutoff)


def _bimodal(share: NDArray[np.float64], cutoff: float, least: float, seed: int) -> bool:
    """Whether low cells form their own group: two well-separated Gaussians, on both sides of the cut-off."""
    if len(share) < _MIN_CELLS_FOR_MIXTURE:
        return False
    x = np.log(np.maximum(share, least / 2))[:, None]  # half a peak for a cell without any
    if x.std() == 0:
        return False
    one, two = (GaussianMixture(n, random_state=sklearn_seed(seed), n_init=3).fit(x) for n in (1, 2))
    (low, high), spread = np.sort(two.means_.ravel()), np.sqrt(two.covariances_.ravel())
    # Ashman's D: above 2, the two parts show as two peaks.
    apart = np.sqrt(2) * (high - low) / np.sqrt((spread**2).sum())
    return bool(two.bic(x) < one.bic(x) and apart > 2 and low < np.log(cutoff) < high)
