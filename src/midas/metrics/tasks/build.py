"""Building a task of the cells and modalities that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from midas import keys
from midas.data.joint import joint
from midas.metrics.tasks.hide import TaskCells
from midas.metrics.tasks.read import Data, all_obs
from midas.metrics.tasks.record import Task
from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray


def build(data: Data, cells: TaskCells, name: str) -> Task:
    """Build a task of cells, and of the modalities that each shows."""
    index = pd.Index(cells.name.astype(str))
    if not index.is_unique:
        repeated = describe_names(index[index.duplicated()])
        msg = f"Expected that the cells' new names are free, found them taken: {repeated}. Rename the cells."
        raise ValueError(msg)
    obs = all_obs(data).iloc[cells.row].set_axis(index)
    obs[data.batch_key] = cells.batch.astype(str)
    seen, true = {}, {}
    for modality, adata in data.mdata.mod.items():
        present = data.present[modality][cells.row]
        columns = [data.batch_key] if data.label_key is None else [data.batch_key, data.label_key]
        true[modality] = _rows(adata, data, cells, present, obs[columns], modality)
        if cells.seen[modality].any():
            seen[modality] = _rows(adata, data, cells, cells.seen[modality], obs[[data.batch_key]], modality)
    obsm = {k: v for k, v in data.mdata.obsm.items() if k not in data.mdata.mod}
    return Task(
        name=name,
        mdata=joined(seen, obs[[data.batch_key]].copy(), {}),
        truth=joined(true, obs, {k: _taken(v, cells.row) for k, v in obsm.items()}),
        batch_key=data.batch_key,
        label_key=data.label_key,
        origin=pd.Series(data.mdata.obs_names[cells.row].astype(str), index=index, name="origin"),
    )


def _rows(
    adata: ad.AnnData, data: Data, cells: TaskCells, keep: NDArray[np.bool_], obs: pd.DataFrame, modality: str
) -> ad.AnnData:
    """Some cells of one modality, under their new names and batches, with a mask for each batch."""
    rows = adata.obs_names.get_indexer(data.mdata.obs_names[cells.row[keep]])
    flags = [c for c in adata.var.columns if str(c).startswith(keys.MEASURED_PREFIX)]
    parents = dict(zip(cells.batch[keep], cells.parent[keep], strict=True))
    measured = {
        f"{keys.MEASURED_PREFIX}{b}": data.measured[modality].loc[str(parents[b])].to_numpy() for b in sorted(parents)
    }
    var = pd.concat([adata.var.drop(columns=flags), pd.DataFrame(measured, index=adata.var_names)], axis=1)
    return ad.AnnData(_taken(adata.X, rows), obs=obs[keep].copy(), var=var)


def _taken(values: Any, rows: NDArray[np.int64]) -> Any:  # noqa: ANN401 - whatever AnnData holds
    if isinstance(values, pd.DataFrame):
        return values.iloc[rows].to_numpy()
    return sp.csr_matrix(values)[rows] if sp.issparse(values) else np.asarray(values)[rows]  # type: ignore[call-overload]


def subset(task: Task, keep: NDArray[np.bool_], name: str) -> Task:
    """Keep some cells of a task, `(n_cells,)` booleans, under a new name."""
    cells = task.truth.obs_names[keep]

    def part(mdata: md.MuData) -> md.MuData:
        parts = {}
        for modality, adata in mdata.mod.items():
            rows = np.flatnonzero(adata.obs_names.isin(cells))
            parts[modality] = ad.AnnData(_taken(adata.X, rows), obs=adata.obs.iloc[rows].copy(), var=adata.var.copy())
        obsm = {k: np.asarray(v)[keep] for k, v in mdata.obsm.items() if k not in mdata.mod}
        return joined(parts, mdata.obs[keep].copy(), obsm)

    return replace(task, name=name, mdata=part(task.mdata), truth=part(task.truth), origin=task.origin[keep])


def joined(parts: Mapping[str, ad.AnnData], obs: pd.DataFrame, obsm: Mapping[str, Any]) -> md.MuData:
    """Join modalities under cells in a given order."""
    mdata = joint(parts, obs.index)
    for column in obs:
        mdata.obs[column] = obs[column]
    for key, values in obsm.items():
        mdata.obsm[key] = values
    return mdata
