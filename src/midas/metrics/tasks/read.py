"""Data that tasks are made of, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mudata as md
import numpy as np
import pandas as pd

from midas.data import read_mosaic
from midas.metrics.tasks.record import obs_column
from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.modality import Modality


@dataclass(frozen=True)
class Data:
    """Data as they were read.

    Attributes
    ----------
    mdata, batch_key, label_key
        As given.
    batch
        Each cell's batch, `(n_cells,)`.
    present
        By modality, whether each cell was measured.
    measured
        By modality, a table batches x features, columns in the order of var.
    """

    mdata: md.MuData
    batch_key: str
    label_key: str | None
    batch: NDArray[np.str_]
    present: Mapping[str, NDArray[np.bool_]]
    measured: Mapping[str, pd.DataFrame]


def read(mdata: md.MuData, batch_key: str, label_key: str | None, modalities: Mapping[str, Modality] | None) -> Data:
    """Read data once, which checks them."""
    if not isinstance(mdata, md.MuData):
        msg = f"Expected a MuData, found {type(mdata).__name__}. Wrap an AnnData: mudata.MuData({{'rna': adata}})."
        raise TypeError(msg)
    if not mdata.obs_names.is_unique:
        repeated = describe_names(mdata.obs_names[mdata.obs_names.duplicated()])
        msg = f"Expected each cell once, found repeated names: {repeated}. Give them unique obs_names."
        raise ValueError(msg)
    if label_key is not None:
        obs_column(mdata, label_key)
    read = read_mosaic(mdata, batch_key=batch_key, modalities=modalities)
    at = read.cells.get_indexer(mdata.obs_names.astype(str))
    measured = {
        name: pd.DataFrame(
            read.modalities[name].measured[:, read.modalities[name].columns[0]], index=list(read.batches)
        )
        for name in mdata.mod
    }
    present = {name: read.modalities[name].present[at] for name in mdata.mod}
    return Data(mdata, batch_key, label_key, np.asarray(read.batches)[read.batch[at]], present, measured)


def all_obs(data: Data) -> pd.DataFrame:
    """Columns of obs, those of single modalities left out, with batch and label."""
    prefixes = tuple(f"{name}:" for name in data.mdata.mod)
    obs: pd.DataFrame = data.mdata.obs[[c for c in data.mdata.obs.columns if not str(c).startswith(prefixes)]].copy()
    obs[data.batch_key] = data.batch
    if data.label_key is not None:
        obs[data.label_key] = obs_column(data.mdata, data.label_key)
    return obs
