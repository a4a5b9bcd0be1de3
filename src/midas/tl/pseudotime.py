"""Pseudotime on the embedding, computed with scanpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas import keys
from midas.columns import as_text
from midas.expect import sklearn_seed
from midas.extras import needs
from midas.tl.inputs import by_cell, column_of, embedding_of

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import ArrayLike, NDArray


def pseudotime(
    data: MuData | AnnData,
    root: str,
    *,
    groupby: str | None = None,
    cells: pd.Series | ArrayLike | None = None,
    basis: str = keys.LATENT,
    n_neighbors: int = 30,
    n_components: int = 10,
    seed: int = 0,
) -> pd.Series:
    """Order cells along a process: neighbours on the embedding, diffusion map, diffusion pseudotime.

    Calls ``scanpy.pp.neighbors``, ``scanpy.tl.diffmap`` and ``scanpy.tl.dpt``. Needs the extra ``analysis``.

    Parameters
    ----------
    data
        Object with ``obsm[basis]``. ``obs["midas_pseudotime"]`` and ``obsm["X_midas_diffmap"]`` are added to it.
    root
        Name of the cell where the process starts; or, with `groupby`, of a group whose most central cell is used.
    groupby
        Column of obs in which to look for `root`.
    cells
        Boolean mask of the cells to use; None for all that have an embedding. It is best to leave out cells that are not part of
        the process.
    basis
        Key of the embedding in obsm.
    n_neighbors, n_components
        Parameters of the neighbourhood graph and of the diffusion map.
    seed
        Seed of the graph and of the map.

    Returns
    -------
    From 0 at the root to 1; NaN for cells that were not used or cannot be reached from the root.

    Examples
    --------
    >>> import anndata, midas, numpy as np
    >>> line = np.linspace(0, 1, 200)
    >>> adata = anndata.AnnData(np.zeros((200, 1), dtype="f4"))
    >>> adata.obsm["X_midas"] = np.c_[line, line**2]
    >>> time = midas.tl.pseudotime(adata, root="0")
    >>> bool(np.corrcoef(time, line)[0, 1] > 0.95), float(time.iloc[0])
    (True, 0.0)
    """
    with needs("scanpy", "analysis"):
        import scanpy as sc  # noqa: PLC0415 - optional, and slow to import
    from anndata import AnnData as Frame  # noqa: PLC0415

    z = embedding_of(data, basis)
    part = np.isfinite(z).all(1)
    if cells is not None:
        chosen = by_cell(cells, data.obs_names.astype(str), "cells")
        part &= np.asarray(chosen.eq(other=True).fillna(value=False), dtype=bool)
    if part.sum() < 4:
        msg = f"Expected 4 cells or more with an embedding, found {int(part.sum())}."
        raise ValueError(msg)
    at = np.flatnonzero(part)
    frame = Frame(np.zeros((len(at), 1), dtype=np.float32), obs=pd.DataFrame(index=data.obs_names[at]))
    frame.obsm[basis] = z[at]
    frame.uns["iroot"] = _root(data, root, groupby, at, z)
    sc.pp.neighbors(frame, n_neighbors=min(n_neighbors, len(at) - 1), use_rep=basis, random_state=sklearn_seed(seed))
    sc.tl.diffmap(frame, n_comps=min(n_components, len(at) - 2), random_state=sklearn_seed(seed))
    sc.tl.dpt(frame, n_dcs=frame.obsm["X_diffmap"].shape[1])
    time = np.full(data.n_obs, np.nan)
    time[at] = frame.obs["dpt_pseudotime"].to_numpy()
    time[~np.isfinite(time)] = np.nan  # scanpy returns infinity for unreachable cells
    maps = np.full((data.n_obs, frame.obsm["X_diffmap"].shape[1]), np.nan, dtype=np.float32)
    maps[at] = frame.obsm["X_diffmap"]
    data.obs[keys.PSEUDOTIME], data.obsm[keys.DIFFUSION] = time, maps
    return pd.Series(time, index=data.obs_names, name=keys.PSEUDOTIME)


def _root(data: MuData | AnnData, root: str, groupby: str | None, at: NDArray[np.int64], z: NDArray[np.float64]) -> int:
    """Position of the root among the cells `at`."""
    if groupby is None:
        found = np.flatnonzero(np.asarray(data.obs_names[at].astype(str)) == root)
        if len(found) != 1:
            msg = f"Expected root= to be the name of a cell that takes part, found {root!r}. A group needs groupby=."
            raise KeyError(msg)
        return int(found[0])
    groups = as_text(column_of(data, groupby).iloc[at])
    in_group = np.flatnonzero(groups == str(root))
    if not len(in_group):
        there = ", ".join(sorted({name for name in groups if name is not None})) or "none"
        msg = f"Expected root= to be a group of {groupby!r} that takes part ({there}), found {root!r}."
        raise KeyError(msg)
    inside = z[at[in_group]]
    return int(in_group[np.argmin(((inside - np.median(inside, axis=0)) ** 2).sum(1))])
