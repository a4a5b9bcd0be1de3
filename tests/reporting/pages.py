"""Data whose names would break careless HTML, and a layout that takes no time."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd

from helpers import simulated

HOSTILE = "</script><b>&\"'\u2028"


def flat(z: np.ndarray, _: int) -> tuple[np.ndarray, str]:
    """In place of UMAP, which takes long to compile."""
    return np.asarray(z[:, :2], dtype=np.float32), "two dimensions"


def hostile() -> md.MuData:
    """Names and values with markup, missing values, an identifier, and a batch of five cells."""
    mdata = simulated(n_cells=200)
    batch = mdata.obs["batch"].astype(str).to_numpy()
    small = np.flatnonzero(batch == batch[0])[:5]
    batch[small] = "five <i>"
    mdata.obs["batch"] = batch
    for adata in mdata.mod.values():
        adata.obs["batch"] = mdata.obs["batch"].reindex(adata.obs_names)
    mdata.obs["note"] = pd.Categorical(np.where(np.arange(200) % 3 == 0, f"a{HOSTILE}", "plain"))
    mdata.obs.loc[mdata.obs_names[:7], "note"] = np.nan
    mdata.obs["age"] = np.linspace(1, 90, 200)
    mdata.obs.loc[mdata.obs_names[3:9], "age"] = np.nan
    mdata.obs["id"] = [f"secret-{i}" for i in range(len(mdata.obs))]
    # A name with markup, in every modality that has the cell.
    old = mdata.obs_names[20]
    new = old + HOSTILE
    parts = dict(mdata.mod)
    for adata in parts.values():
        adata.obs_names = [new if name == old else name for name in adata.obs_names]
    obs = mdata.obs.rename(index={old: new})
    with md.set_options(pull_on_update=False):
        made = md.MuData(parts)
    made.obs = obs.loc[made.obs_names]
    return made
