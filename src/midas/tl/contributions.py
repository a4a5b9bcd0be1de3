"""How much each modality contributes to the neighbourhoods of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from midas.columns import as_text, group_names
from midas.tl.inputs import by_cell, same_cells
from midas.tl.latents import JOINT

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Contributions:
    """Modality contributions.

    Attributes
    ----------
    share
        Clusters x modalities; each row sums to 1, and is NaN if no modality recovers a neighbour.
    recovered
        Clusters x modalities, mean share of joint neighbours that the modality recovers, before normalisation.
    cells
        Number of cells used in each cluster.
    """

    share: pd.DataFrame
    recovered: pd.DataFrame
    cells: pd.Series


def modality_contributions(
    latents: Mapping[str, pd.DataFrame | ArrayLike], groups: pd.Series | ArrayLike, *, n_neighbors: int = 30
) -> Contributions:
    """Share of a cell's joint-space neighbours that each single-modality space recovers (He et al. 2024).

    Neighbours are searched among cells that have every modality, since a cell without one has no position in its space.

    Parameters
    ----------
    latents
        Embeddings of the same cells by modality, and the joint one under ``joint``, as returned by :func:`midas.tl.latents`.
        Tables are matched to the joint one by cell name; arrays must be in its order.
    groups
        Cluster of each cell: a Series by cell name, or values in the order of the embeddings. NaN for cells without a cluster.
    n_neighbors
        Number of neighbours.

    Returns
    -------
    Shares that sum to 1 for each cluster, the recovered shares behind them, and the number of cells.

    Examples
    --------
    The cells of a cluster have their joint neighbours in one modality's space, and random ones in the other's:

    >>> import midas, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> joint, noise = rng.normal(size=(2, 200, 3))
    >>> found = midas.tl.modality_contributions({"rna": joint, "adt": noise, "joint": joint}, ["a"] * 200, n_neighbors=10)
    >>> found.share.round(2).to_dict("index")
    {'a': {'rna': 0.95, 'adt': 0.05}}
    """
    if JOINT not in latents or len(latents) < 2:
        msg = f"Expected latents of {JOINT!r} and of one modality or more, found {', '.join(latents) or 'none'}."
        raise KeyError(msg)
    tables, cells = same_cells(latents, JOINT)
    if cells is None:  # arrays have no names to match a Series by
        cells = pd.RangeIndex(len(tables[JOINT]))
        groups = groups.reset_index(drop=True) if isinstance(groups, pd.Series) else groups
    of = by_cell(groups, cells, "groups")
    whole = np.flatnonzero(np.all([np.isfinite(z).all(1) for z in tables.values()], axis=0))
    if len(whole) < 3:
        have = ", ".join(f"{name} {int(np.isfinite(z).all(1).sum()):,}" for name, z in tables.items())
        msg = f"Expected cells that have every modality, found {len(whole)} (cells with each: {have}). Leave a modality out."
        raise ValueError(msg)
    names, k = group_names(of), min(n_neighbors, len(whole) - 1)
    near = _neighbours(tables.pop(JOINT)[whole], k)
    overlap = pd.DataFrame({name: _overlap(near, _neighbours(z[whole], k)) for name, z in tables.items()})
    labels = pd.Series(as_text(of)[whole], dtype=object)
    by_group = overlap.groupby(labels)
    recovered = by_group.mean().reindex(names).rename_axis("group")
    counted = by_group.size().reindex(names, fill_value=0).rename("cells").rename_axis("group")
    total = recovered.sum(axis=1)
    return Contributions(recovered.div(total.where(total > 0), axis=0), recovered, counted)


def _neighbours(z: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    return found


def _overlap(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each row's entries of `a` that are among those of `b`, `(n,)`."""
    found = np.empty(len(a))
    for start in range(0, len(a), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        found[rows] = (a[rows, :, None] == b[rows, None, :]).any(2).mean(1)
    return found
