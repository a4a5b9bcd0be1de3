"""Join prepared batches into one mosaic, with masks of the features that each batch measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anndata as ad
import mudata as md
import pandas as pd

from midas.columns import joint_categories, writable
from midas.data.joint import joint
from midas.keys import MEASURED_PREFIX
from midas.pp.arrays import joined_arrays
from midas.pp.samples import Batches, csr

BARCODE = "barcode"
_TOLD = ("original_name", "feature_types", "genome", "interval")


def join_batches(
    modalities: Mapping[str, Batches], *, features: Mapping[str, pd.Index] | None = None, batch_key: str = "batch"
) -> md.MuData:
    """Join batches into a mosaic.

    Parameters
    ----------
    modalities
        AnnData by modality and batch. Cells of one batch are matched across modalities by name.
    features
        Features to keep, in this order; all features for modalities that are not included.
    batch_key
        Column of obs to store the batch in.

    Returns
    -------
    MuData with float32 CSR counts. ``obs`` has the batch and the barcode; cells are named by barcode if barcodes are unique over
    all batches, else ``<batch>_<barcode>``. ``var["measured_<batch>"]`` marks the features that a batch measured; counts of the
    others are 0. Columns of obs and arrays of obsm are kept, with missing values where a batch lacks them.

    Examples
    --------
    >>> import anndata, numpy, midas
    >>> a, b = anndata.AnnData(numpy.ones((1, 1))), anndata.AnnData(numpy.ones((1, 2)))
    >>> a.var_names, b.var_names = ["CD4"], ["CD4", "CD8A"]
    >>> mdata = midas.pp.join_batches({"rna": {"a": a, "b": b}})
    >>> mdata.obs_names.tolist(), mdata["rna"].var["measured_a"].tolist()
    (['a_0', 'b_0'], [True, False])
    """
    cells: dict[str, pd.Index] = {}
    for batches in modalities.values():
        for batch, adata in batches.items():
            cells[batch] = cells.get(batch, pd.Index([])).union(adata.obs_names, sort=False)
    tables = [adata.obs for batches in modalities.values() for adata in batches.values()]
    every = [name for index in cells.values() for name in index]
    unique = len(set(every)) == len(every)
    parts: dict[str, ad.AnnData] = {}
    arrays: dict[tuple[str, str], ad.AnnData] = {}
    for name, batches in modalities.items():
        prefixed = {batch: _named(adata, batch, batch_key, prefix=not unique) for batch, adata in batches.items()}
        wanted = None if features is None else features.get(name)
        parts[name] = _joined(prefixed, wanted)
        arrays |= {(name, batch): adata for batch, adata in prefixed.items()}
    mdata = joint(parts)
    mdata.obs = _in_order(_obs(mdata, parts, batch_key), tables)
    for adata in mdata.mod.values():
        adata.obs = _in_order(adata.obs, tables)
    for key, values in joined_arrays(arrays, mdata.obs_names, whole=True).items():
        mdata.obsm[key] = values
    return mdata


def _in_order(obs: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Restore columns that were categorical in every table, with the categories in order."""
    for column in obs.columns:
        kind = joint_categories(table[column] for table in tables if column in table.columns)
        if kind is not None and kind.categories.dtype == object and set(obs[column].dropna()) <= set(kind.categories):
            obs[column] = obs[column].astype(kind).cat.remove_unused_categories()
    return obs


def _named(adata: ad.AnnData, batch: str, batch_key: str, *, prefix: bool) -> ad.AnnData:
    obs = adata.obs.copy()
    barcodes = adata.obs_names.astype(str)
    if BARCODE not in obs.columns:
        obs.insert(0, BARCODE, barcodes.to_numpy())
    for column in obs.select_dtypes("category").columns:  # batches differ in their categories
        obs[column] = obs[column].astype(object)
    obs[batch_key] = batch
    obs.index = pd.Index([f"{batch}_{name}" for name in barcodes]) if prefix else barcodes
    return ad.AnnData(csr(adata.X), obs=obs, var=adata.var.copy(), obsm=dict(adata.obsm))


def _joined(batches: Batches, wanted: pd.Index | None) -> ad.AnnData:
    for batch in batches:
        index = batches[batch].var_names
        if wanted is not None:
            batches[batch]._inplace_subset_var(index.isin(wanted))
    var = _var(batches)
    bare = [ad.AnnData(adata.X, obs=adata.obs, var=adata.var) for adata in batches.values()]
    whole = ad.concat(bare, join="outer", fill_value=0)
    order = var.index if wanted is None else wanted[wanted.isin(var.index)]
    whole = whole[:, order].copy()
    whole.X, whole.obs = csr(whole.X), writable(whole.obs)
    whole.var = var.loc[order]
    for key, values in joined_arrays(batches, whole.obs_names).items():
        whole.obsm[key] = values
    return whole


def _var(batches: Batches) -> pd.DataFrame:
    """Columns of var from all batches, the first one taking precedence, and the masks."""
    found: pd.DataFrame | None = None
    for adata in batches.values():
        own = adata.var.drop(columns=[c for c in _TOLD if c in adata.var.columns])
        found = own if found is None else found.combine_first(own).reindex(found.index.append(own.index).unique())
    assert found is not None
    for column in found.columns:
        if found[column].dtype == object:
            found[column] = found[column].fillna("").astype(str)
    masks = {f"{MEASURED_PREFIX}{batch}": found.index.isin(adata.var_names) for batch, adata in batches.items()}
    return pd.concat([found, pd.DataFrame(masks, index=found.index)], axis=1)


def _obs(mdata: md.MuData, parts: Mapping[str, ad.AnnData], batch_key: str) -> pd.DataFrame:
    """Columns of obs shared by modalities; what was measured in one modality stays there."""
    obs = pd.DataFrame(index=mdata.obs_names)
    for adata in parts.values():
        for column in adata.obs.columns:
            if column in {"n_counts", "n_features", "mito"}:
                continue
            values = adata.obs[column].reindex(obs.index)
            if column in obs.columns:
                obs[column] = obs[column].where(obs[column].notna(), values)
            else:
                obs[column] = values
    first = [BARCODE, batch_key]
    return writable(obs[[*first, *(column for column in obs.columns if column not in first)]])
