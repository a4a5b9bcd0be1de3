"""Records passed between the steps of the preparation: one modality of one batch, and batches after a step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batches: TypeAlias = Mapping[str, AnnData]


@dataclass(frozen=True)
class Sample:
    """One modality of one batch, as it was read.

    Attributes
    ----------
    source
        File or object it was read from.
    kind
        Type of file, in words.
    batch
        Name of the batch.
    modality
        ``rna``, ``adt`` or ``atac``.
    adata
        Raw counts, float32 CSR; obs_names are the barcodes.
    notes
        Messages for the user, one sentence each.
    """

    source: str
    kind: str
    batch: str
    modality: str
    adata: AnnData
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """Batches of one modality after a step.

    Attributes
    ----------
    batches
        An AnnData for each batch, by its name.
    notes
        Noteworthy actions, one sentence each.
    """

    batches: Batches
    notes: tuple[str, ...] = ()


def csr(matrix: Any) -> sp.csr_matrix:  # noqa: ANN401 - whatever AnnData holds
    """Give counts as float32 CSR, each entry listed once."""
    counts = sp.csr_matrix(matrix, dtype=np.float32)
    if not counts.has_canonical_format:
        counts = counts.copy()
        counts.sum_duplicates()
    return counts


@contextmanager
def repeats_are_summed() -> Iterator[None]:
    """Silence anndata's warning about repeated names at every step: their counts are summed, which is noted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        yield


def as_texts(values: pd.Series) -> list[str]:
    """Return a column as text, with ``""`` for missing values."""
    return ["" if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]


def summed(adata: AnnData, names: pd.Index) -> AnnData:
    """Sum columns that get the same name; the position and row of var of the first of each are kept.

    Parameters
    ----------
    names
        New name of each column of `adata`.
    """
    code, unique = pd.factorize(names)
    var = adata.var.iloc[np.unique(code, return_index=True)[1]].copy()
    var.index = pd.Index(unique.astype(str))
    counts = csr(adata.X)
    if len(unique) < len(names):
        counts = csr(counts @ members(code, len(unique)))
    return AnnData(counts, obs=adata.obs.copy(), var=var, obsm=dict(adata.obsm))


def members(code: NDArray[np.int64], n: int) -> sp.csr_matrix:
    """Matrix `(len(code), n)` of 0 and 1 that sums columns into groups; columns with code -1 are in no group."""
    known = np.flatnonzero(code >= 0)
    ones = np.ones(len(known), dtype=np.float32)
    return sp.csr_matrix((ones, (known, code[known])), shape=(len(code), n))


def check_batches(batches: object) -> None:
    """Refuse anything but a dict of AnnData by batch.

    Raises
    ------
    TypeError
        Stating what was found.
    """
    if isinstance(batches, Mapping) and batches and all(isinstance(a, AnnData) for a in batches.values()):
        return
    msg = f"Expected a dict of AnnData by batch, found {type(batches).__name__}. Write for example {{'donor1': adata}}."
    raise TypeError(msg)


def listed(names: list[str], most: int = 5) -> str:
    """List the first few items and the number of the others."""
    return describe_names(pd.Index(names), most)
