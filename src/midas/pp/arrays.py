"""Carry per-cell arrays of the input, such as coordinates, into the mosaic."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
# Marks arrays of a whole MuData while they travel with its modalities.
_WHOLE = "whole:"


def arrays_of(data: AnnData | MuData, adata: AnnData) -> dict[str, NDArray[Any]]:
    """Return the arrays of a modality's cells by key, including those of the MuData that contains it.

    Parameters
    ----------
    data
        The object that was read.
    adata
        One modality of it.
    """
    found = {key: values for key in adata.obsm if (values := _table(adata.obsm[key])) is not None}
    if isinstance(data, MuData) and data.obs_names.is_unique:
        at = data.obs_names.get_indexer(adata.obs_names)
        for key in data.obsm:
            values = _table(data.obsm[key])
            if values is not None and key not in data.mod:  # keys named like modalities hold masks
                found[f"{_WHOLE}{key}"] = values[at]
    return found


def joined_arrays(parts: Mapping[Any, AnnData], cells: pd.Index, *, whole: bool = False) -> dict[str, NDArray[Any]]:
    """Combine the arrays of batches or modalities; rows are NaN for cells without.

    Parameters
    ----------
    parts
        AnnData with unique cell names.
    cells
        Names of the cells of the result.
    whole
        Whether to take the arrays of whole MuData objects, or those of the modality alone.
    """
    keys = dict.fromkeys(key for adata in parts.values() for key in adata.obsm if key.startswith(_WHOLE) == whole)
    found = {}
    for key in keys:
        mine = [(adata.obs_names, adata.obsm[key]) for adata in parts.values() if key in adata.obsm]
        name = key.removeprefix(_WHOLE)
        widths = {values.shape[1] for _, values in mine}
        if len(widths) > 1:
            logger.warning("obsm %r has %s columns in different inputs; it was left out.", name, sorted(widths))
            continue
        out = np.full((len(cells), widths.pop()), np.nan, dtype=np.result_type(np.float32, *(v.dtype for _, v in mine)))
        for names, values in mine:
            at = cells.get_indexer(names)
            out[at[at >= 0]] = values[at >= 0]
        found[name] = out
    return found


def _table(values: Any) -> NDArray[Any] | None:  # noqa: ANN401 - whatever obsm holds
    """Numbers with rows and columns; None for anything else."""
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    is_table = isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "iuf"
    return np.asarray(values) if is_table else None
