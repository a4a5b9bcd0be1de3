"""Proteins that an object of RNA keeps beside its counts, as CITE-seq data often do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import ArrayLike

from midas.antibodies import protein_arrays
from midas.pp.samples import csr

_NAMES = ("protein_names", "protein_expression_names", "adt_names")  # in uns, where the array has none


def proteins_beside(adata: AnnData, label: str, notes: list[str]) -> AnnData | None:
    """Take proteins out of ``obsm``, where they are raw counts with names.

    Parameters
    ----------
    adata
        Of RNA, or peaks.
    label
        What to call it in notes.
    notes
        What the user should know is added here.

    Returns
    -------
    Cells x proteins, with the obs of `adata`; None where there are none.
    """
    for key in protein_arrays(adata):
        values = adata.obsm[key]
        names = _names(adata, key)
        numbers = csr(values) if sp.issparse(values) else np.asarray(values, dtype=np.float64)
        flat = numbers.data if sp.issparse(numbers) else numbers
        if names is None:
            notes.append(
                f"{label}: obsm[{key!r}] was left out, as it names no proteins. Make it a DataFrame with proteins as columns, or "
                "put their names into uns['protein_names']."
            )
        elif not np.isfinite(flat).all() or (flat < 0).any() or (flat != np.rint(flat)).any():
            notes.append(f"{label}: obsm[{key!r}] was left out, as it holds no raw counts of proteins.")
        else:
            notes.append(f"{label}: {len(names):,} proteins were taken from obsm[{key!r}].")
            return AnnData(csr(numbers), obs=adata.obs.copy(), var=pd.DataFrame(index=names))
    return None


def _as_names(values: ArrayLike) -> pd.Index:
    """Names as text."""
    found: pd.Index = pd.Index(np.asarray(values).astype(str).astype(object))
    return found


def _names(adata: AnnData, key: str) -> pd.Index | None:
    values = adata.obsm[key]
    if isinstance(values, pd.DataFrame):
        return _as_names(values.columns)
    for place in (*_NAMES, f"{key}_names"):
        told = adata.uns.get(place)
        if told is not None and len(told) == values.shape[1]:
            return _as_names(told)
    return None
