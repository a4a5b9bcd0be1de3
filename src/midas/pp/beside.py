"""Proteins stored next to the counts of an RNA object, as is common in CITE-seq data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import ArrayLike

from midas.antibodies import protein_arrays
from midas.pp.samples import csr

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMES = ("protein_names", "protein_expression_names", "adt_names")  # in uns, if the array has none


@dataclass(frozen=True)
class Beside:
    """Proteins found in ``obsm``.

    Attributes
    ----------
    key
        Key in ``obsm``.
    adata
        Cells x proteins, without cells that lack them.
    """

    key: str
    adata: AnnData


def proteins_beside(adata: AnnData, obs: pd.DataFrame, label: str, notes: list[str]) -> Beside | None:
    """Extract proteins from ``obsm`` if they are raw counts with names.

    Parameters
    ----------
    adata
        AnnData of RNA or peaks.
    obs
        Annotation of its cells.
    label
        Name used in notes.
    notes
        Messages for the user are appended here.

    Returns
    -------
    The proteins; None if there are none.
    """
    for key in _arrays(adata):
        names, numbers = _names(adata, key), _numbers(adata.obsm[key])
        if names is None:
            notes.append(
                f"{label}: obsm[{key!r}] was left out, as it names no proteins. Make it a DataFrame with proteins as columns, or "
                "put their names into uns['protein_names']."
            )
            continue
        have = np.zeros(adata.n_obs, dtype=bool) if numbers is None else _have(numbers)
        if numbers is None or not have.any() or not _are_counts(numbers[have]):
            notes.append(f"{label}: obsm[{key!r}] was left out, as it holds no raw counts of proteins.")
            continue
        some = "" if have.all() else f", of the {int(have.sum()):,} of {len(have):,} cells that have them"
        notes.append(f"{label}: {len(names):,} proteins were taken from obsm[{key!r}]{some}.")
        return Beside(key, AnnData(csr(numbers[have]), obs=obs.loc[have].copy(), var=pd.DataFrame(index=names)))
    return None


def _arrays(adata: AnnData) -> list[str]:
    """Keys that look like proteins, and keys of arrays whose number of columns matches names in uns."""
    named = [
        str(key)
        for key, values in adata.obsm.items()
        if not isinstance(values, pd.DataFrame) and not str(key).lower().startswith("x_") and _told(adata, key, _NAMES)
    ]
    return list(dict.fromkeys([*protein_arrays(adata), *named]))


def _numbers(values: Any) -> sp.csr_matrix | NDArray[np.float64] | None:  # noqa: ANN401 - whatever obsm holds
    """Rows of numbers; None for anything else."""
    if sp.issparse(values):
        return csr(values)
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):  # text among them
        return None
    return found if found.ndim == 2 else None


def _have(numbers: sp.csr_matrix | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which cells have proteins; a row of only NaN is a cell without."""
    if sp.issparse(numbers):
        return np.ones(numbers.shape[0], dtype=bool)
    return np.asarray(~np.isnan(numbers).all(axis=1))


def _are_counts(numbers: sp.csr_matrix | NDArray[np.float64]) -> bool:
    flat = numbers.data if sp.issparse(numbers) else numbers
    return bool(np.isfinite(flat).all() and (flat >= 0).all() and (flat == np.rint(flat)).all())


def _as_names(values: ArrayLike) -> pd.Index:
    """Names as text."""
    found: pd.Index = pd.Index(np.asarray(values).astype(str).astype(object))
    return found


def _names(adata: AnnData, key: str) -> pd.Index | None:
    values = adata.obsm[key]
    if isinstance(values, pd.DataFrame):
        return _as_names(values.columns)
    source = _told(adata, key, (*_NAMES, f"{key}_names"))
    return _as_names(adata.uns[source]) if source else None


def _told(adata: AnnData, key: str, places: tuple[str, ...]) -> str | None:
    """Keys in uns with as many names as an array has columns."""
    shape = getattr(adata.obsm[key], "shape", ())
    return next((place for place in places if np.shape(adata.uns.get(place)) == shape[1:]), None) if shape[1:] else None
