"""Correlation of features with dimensions of the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas import keys
from midas.text import describe_names
from midas.tl.inputs import Panels, embedding_of, is_sparse, modality_of, panels_of, values_of

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray


def latent_correlation(
    data: MuData | AnnData,
    modality: str | None = None,
    *,
    basis: str = keys.LATENT,
    layer: str | None = None,
    log1p: bool = True,
    batch_key: str | None = "batch",
) -> pd.DataFrame:
    """Pearson r between each dimension of an embedding and each feature, over the cells in which the feature was measured.

    Counts stay sparse.

    Parameters
    ----------
    data
        Object with ``obsm[basis]``.
    modality
        Modality of a MuData; cells are matched by name.
    basis
        Key of the embedding in obsm.
    layer
        Layer with the counts; None for X.
    log1p
        Whether to take log1p of the counts; data with negative values are not counts and are used as they are.
    batch_key
        Column of obs with the batches named in ``var["measured_<batch>"]``.

    Returns
    -------
    Dimensions x features; NaN for constant features.

    Examples
    --------
    >>> import anndata, midas, numpy as np
    >>> counts = np.random.default_rng(0).poisson(5, (100, 3)).astype("f4")
    >>> adata = anndata.AnnData(counts)
    >>> adata.obsm["X_midas"] = np.log1p(counts[:, [2]])
    >>> midas.tl.latent_correlation(adata).iloc[0].abs().round().tolist()
    [0.0, 0.0, 1.0]
    """
    adata = modality_of(data, modality)
    at = np.arange(adata.n_obs) if data is adata else pd.Index(data.obs_names).get_indexer(adata.obs_names)
    z = embedding_of(data, basis)
    here = np.where(at[:, None] >= 0, z[at], np.nan)
    values = values_of(adata, layer)
    usable = np.isfinite(here).all(1)
    if not is_sparse(values):
        usable &= np.isfinite(values).any(1)
    rows = np.flatnonzero(usable)
    if len(rows) < 2:
        msg = f"Expected cells with both {basis!r} and counts, found {len(rows)} ({describe_names(adata.obs_names)})."
        raise ValueError(msg)
    values = values[rows].astype(np.float64)
    if log1p and not ((values.data if is_sparse(values) else values) < 0).any():
        values = values.log1p() if is_sparse(values) else np.log1p(values)
    panels = panels_of(adata, batch_key, data.obs)
    r = _correlation(here[rows], values, Panels(panels.batch[rows], panels.measured))
    dims = pd.Index([f"{basis}_{i + 1}" for i in range(z.shape[1])], name="dimension")
    return pd.DataFrame(r, index=dims, columns=adata.var_names)


def _correlation(z: NDArray[np.float64], values: Any, panels: Panels) -> NDArray[np.float64]:  # noqa: ANN401
    """Pearson r `(dim, n_features)` from sums over the batches that measured a feature."""
    z = z - z.mean(0)  # keeps precision when differences of large numbers are taken below
    squares = values.multiply(values) if is_sparse(values) else values**2
    dim, d = z.shape[1], values.shape[1]
    n, x, xx = (np.zeros((1, d)) for _ in range(3))
    y, yy, xy = (np.zeros((dim, d)) for _ in range(3))
    for b, measured in enumerate(panels.measured):
        rows = np.flatnonzero(panels.batch == b)
        zb, xb = z[rows], values[rows]
        n += len(rows) * measured
        x += np.asarray(xb.sum(0)).reshape(1, d) * measured
        xx += np.asarray(squares.tocsr()[rows].sum(0) if is_sparse(squares) else squares[rows].sum(0)) * measured
        xy += np.asarray((xb.T @ zb).T) * measured
        y += zb.sum(0)[:, None] * measured
        yy += (zb**2).sum(0)[:, None] * measured
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = xy - x * y / n
        spread = np.maximum(xx - x**2 / n, 0) * np.maximum(yy - y**2 / n, 0)
        r: NDArray[np.float64] = np.where(spread > 1e-12 * xx * yy, covariance / np.sqrt(spread), np.nan)
    return np.clip(r, -1, 1)
