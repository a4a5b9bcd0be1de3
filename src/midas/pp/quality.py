"""Cell quality control: every cut-off has a name, and each dropped cell is counted under the first one that it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.antibodies import is_control
from midas.modality import PRESETS, canonical
from midas.pp.cutoffs import Cutoffs
from midas.pp.samples import csr
from midas.text import counted

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# More barcodes than a run can have cells: unfiltered output, mostly empty droplets.
_UNFILTERED = 200_000
_MITO = 0.3
_WHOLE = 10_000  # more genes than any selection has
_FEW = {"rna": (200, 0.01), "atac": (200, 0.001)}


@dataclass(frozen=True)
class Quality:
    """Quality control of the cells of one modality of one batch.

    Attributes
    ----------
    keep
        `(n_cells,)`, mask of cells that pass.
    metrics
        Cells x metrics: ``n_counts``, ``n_features`` and, for RNA, ``mito`` (share of mitochondrial counts). Isotype controls are
        not proteins and are ignored.
    dropped
        Number of cells by the first cut-off that they fail, in words.
    notes
        One sentence each.
    """

    keep: NDArray[np.bool_]
    metrics: pd.DataFrame
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check_cells(adata: AnnData, modality: str, cutoffs: Cutoffs | None = None) -> Quality:
    """Compute cell metrics and apply the cut-offs; nothing is removed.

    Parameters
    ----------
    adata
        Raw counts of one modality of one batch.
    modality
        ``rna``, ``adt`` or ``atac``, or another name for one of them (``protein``).
    cutoffs
        Cut-offs; the defaults if None.

    Raises
    ------
    ValueError
        If there are no cut-offs for the modality.

    Examples
    --------
    >>> import midas
    >>> rna = midas.simulate.mosaic()["rna"]
    >>> quality = midas.pp.check_cells(rna, "rna", midas.pp.Cutoffs(min_genes=50))
    >>> rna[quality.keep].n_obs == quality.keep.sum()
    np.True_
    """
    cutoffs = cutoffs or Cutoffs()
    kind = canonical(modality)
    if kind not in PRESETS:
        msg = (
            f"Expected a modality out of {', '.join(PRESETS)}, found {modality!r}. There are no cut-offs for its cells."
        )
        raise ValueError(msg)
    counts = csr(adata.X)
    if kind == "adt":
        # Isotype controls stick to empty droplets, too.
        proteins = np.array([not is_control(name) for name in adata.var_names], dtype=bool)
        counts = csr(counts[:, np.flatnonzero(proteins)])
    total = np.asarray(counts.sum(1), dtype=np.float64).ravel()
    found = np.diff(counts.indptr) - np.bincount(
        np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))[counts.data == 0], minlength=counts.shape[0]
    )
    metrics = pd.DataFrame({"n_counts": total, "n_features": found}, index=adata.obs_names)
    notes: list[str] = []
    tests: list[tuple[str, NDArray[np.bool_]]] = []
    if kind == "rna":
        least = _least(cutoffs.min_genes, "rna", adata.n_vars)
        tests += [(f"under {counted(least, 'gene', 'genes')}", found < least)]
        tests += [(f"under {counted(cutoffs.min_counts, 'count', 'counts')}", total < cutoffs.min_counts)]
        mito = np.asarray(adata.var_names.astype(str).str.upper().str.startswith("MT-"))
        if mito.any():
            share = np.asarray(counts[:, np.flatnonzero(mito)].sum(1)).ravel() / np.maximum(total, 1)
            metrics["mito"] = share
            most = (_MITO if adata.n_vars > _WHOLE else 1.0) if cutoffs.max_mito is None else cutoffs.max_mito
            tests += [(f"over {most:.0%} mitochondrial", share > most)]
        elif adata.n_vars > _WHOLE:
            notes.append("No mitochondrial genes by name (MT-), so their share could not be looked at.")
    elif kind == "adt":
        least = cutoffs.min_protein_counts
        tests += [(f"under {counted(least, 'protein count', 'protein counts')}", total < least)]
    else:
        least = _least(cutoffs.min_peaks, "atac", adata.n_vars)
        tests += [(f"under {counted(least, 'peak', 'peaks')}", found < least)]
    if adata.n_obs > _UNFILTERED:
        notes.append(f"{adata.n_obs:,} barcodes: is this the unfiltered matrix? The filtered one is the better input.")
    keep = np.ones(adata.n_obs, dtype=bool)
    dropped: dict[str, int] = {}
    for reason, fails in tests:
        n = int((keep & fails).sum())
        if n:
            dropped[reason] = n
        keep &= ~fails
    return Quality(keep, metrics, dropped, tuple(notes))


def _least(given: int | None, modality: str, n_features: int) -> int:
    most, share = _FEW[modality]
    return given if given is not None else min(most, int(share * n_features))
