"""Gene selection: genes that are detected, measured in enough cells, and variable in many batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from midas.extras import needs
from midas.pp.cutoffs import Cutoffs
from midas.pp.samples import Batches, check_batches, csr, listed
from midas.text import counted

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

# With fewer variable genes, the local regression of the trend has too few points, and its library may crash.
_FEWEST = 100


@dataclass(frozen=True)
class GeneSelection:
    """Which genes were chosen, and why.

    Attributes
    ----------
    genes
        The chosen ones, sorted by name.
    table
        One row per gene of any batch: ``batches`` that measured it, ``votes`` (batches in which enough cells have it), ``cells``
        of these batches, ``variable`` (batches in which it is among the most variable), ``rank`` (its median over these),
        ``protein`` (kept because it encodes a protein) and ``kept``.
    notes
        One sentence each.
    """

    genes: pd.Index
    table: pd.DataFrame
    notes: tuple[str, ...]


def select_genes(batches: Batches, *, keep: Iterable[str] = (), cutoffs: Cutoffs | None = None) -> GeneSelection:
    """Select genes over batches, from raw counts; the input is not changed.

    A batch votes for a gene if at least 1% of its cells have it, with at least two counts per cell of that 1%. Genes are kept if
    the batches that vote for them contain more than half of all cells, or more than 5,000. Each batch then ranks its 5,000 most
    variable of these (scanpy's ``seurat_v3``); the 4,000 genes that are among them in most batches are kept, ties broken by
    median rank. Genes that encode measured proteins are always kept. Every number is a field of :class:`Cutoffs`.

    Parameters
    ----------
    batches
        AnnData of RNA by batch, with consistent gene names (:func:`match_genes`).
    keep
        Genes that encode the measured proteins.
    cutoffs
        Cut-offs; the defaults if None.

    Raises
    ------
    ValueError
        If no gene is left.

    Examples
    --------
    >>> import midas
    >>> rna = midas.simulate.mosaic()["rna"]
    >>> batches = {b: rna[rna.obs["batch"] == b].copy() for b in rna.obs["batch"].unique()}
    >>> chosen = midas.pp.select_genes(batches, keep=["GENE0001"], cutoffs=midas.pp.Cutoffs(n_genes=100))
    >>> "GENE0001" in chosen.genes
    True
    """
    check_batches(batches)
    cutoffs = cutoffs or Cutoffs()
    index = pd.Index(sorted({str(name) for adata in batches.values() for name in adata.var_names}))
    table = pd.DataFrame({"batches": 0, "votes": 0, "cells": 0, "variable": 0, "rank": np.nan}, index=index)
    table["protein"] = index.isin(list(keep))
    for adata in batches.values():
        at = index.get_indexer(adata.var_names.astype(str))
        votes = at[_found(adata, cutoffs)]
        table.iloc[at, 0] += 1
        table.iloc[votes, 1] += 1
        table.iloc[votes, 2] += adata.n_obs
    total = sum(adata.n_obs for adata in batches.values())
    enough = (table["cells"] > cutoffs.min_measured * total) | (table["cells"] > cutoffs.min_measured_cells)
    notes = _rank(batches, table, enough, cutoffs)
    ranked = table[enough].sort_values(["variable", "rank"], ascending=[False, True], kind="stable")
    best = ranked.index[: cutoffs.n_genes]
    table["kept"] = table.index.isin(best) | table["protein"]
    if not table["kept"].any():
        msg = (
            f"Expected genes in at least {cutoffs.min_gene_cells:.1%} of a batch's cells, measured in over "
            f"{cutoffs.min_measured:.0%} of all cells, found none. Are the genes of the batches named alike? Else lower "
            "min_gene_cells or min_measured."
        )
        raise ValueError(msg)
    return GeneSelection(table.index[table["kept"]], table, (*_left_out(table, enough, total, cutoffs), *notes))


def _left_out(table: pd.DataFrame, enough: pd.Series, total: int, cutoffs: Cutoffs) -> list[str]:
    """State why genes are not kept, counting each gene once."""
    gone, voted = ~table["kept"], table["votes"] > 0
    least = int(min(cutoffs.min_measured * total, cutoffs.min_measured_cells))
    share, counts = f"{100 * cutoffs.min_gene_cells:.3g}%", cutoffs.min_gene_counts
    reasons = {
        f"no batch found in {share} of its cells, with {counts:g} counts for each cell of that {share}": gone & ~voted,
        f"only batches with {least:,} of the {total:,} cells or fewer found so often (min_measured)": gone
        & voted
        & ~enough,
        f"vary less than the {counted(cutoffs.n_genes, 'gene', 'genes')} kept": gone & enough,
    }
    parts = [f"{int(which.sum()):,} that {reason}" for reason, which in reasons.items() if which.any()]
    return [f"Genes left out: {'; '.join(parts)}."] if parts else []


def _found(adata: AnnData, cutoffs: Cutoffs) -> NDArray[np.bool_]:
    """Genes detected in enough cells of a batch, with enough counts."""
    counts = csr(adata.X)
    cells = np.bincount(counts.indices[counts.data > 0], minlength=adata.n_vars)
    least = cutoffs.min_gene_cells * adata.n_obs
    total = np.asarray(counts.sum(0)).ravel()
    enough: NDArray[np.bool_] = (cells > 0) & (cells >= least) & (total >= cutoffs.min_gene_counts * least)
    return enough


def _rank(batches: Batches, table: pd.DataFrame, enough: pd.Series, cutoffs: Cutoffs) -> list[str]:
    """Fill in `variable` and `rank`; no ranking is needed if all genes are kept."""
    if int(enough.sum()) <= cutoffs.n_genes:
        return []
    ranks, odd = [], []
    for batch, adata in batches.items():
        mine = np.flatnonzero(enough.reindex(adata.var_names.astype(str)).to_numpy() & _found(adata, cutoffs))
        if len(mine):
            rank, plain = _variability(adata[:, mine], cutoffs.variable_per_batch)
            ranks.append(rank.reindex(table.index))
            odd += [batch] if plain else []
    joined = pd.concat(ranks, axis=1)
    table["variable"] = joined.notna().sum(axis=1)
    table["rank"] = joined.median(axis=1)
    if not odd:
        return []
    return [f"Too few cells or genes for a trend of variance over mean in {listed(odd)}: ranked by dispersion there."]


def _variability(adata: AnnData, n: int) -> tuple[pd.Series, bool]:
    """Ranks of the `n` most variable genes, 0 first, and whether plain dispersion was the fallback."""
    counts = csr(adata.X).astype(np.float64)
    mean = np.asarray(counts.mean(0)).ravel()
    variance = np.asarray(counts.multiply(counts).mean(0)).ravel() - mean**2
    n = min(n, adata.n_vars)
    if int((variance > 0).sum()) >= _FEWEST:
        rank = _seurat_rank(counts, adata.var_names, n)
        if rank is not None:
            return rank, False
    order = np.argsort(-variance / np.maximum(mean, 1e-12), kind="stable")[:n]
    return pd.Series(np.arange(n, dtype=np.float64), index=adata.var_names[order]), True


def _seurat_rank(counts: sp.csr_matrix, names: pd.Index, n: int) -> pd.Series | None:
    """Ranks by variance relative to its trend; None if the trend cannot be fitted."""
    with needs("scanpy and scikit-misc", "prepare"):
        import scanpy as sc  # noqa: PLC0415 - optional, and slow to import
        import skmisc.loess  # noqa: F401, PLC0415 - what seurat_v3 needs

    bare = AnnData(counts, var=pd.DataFrame(index=names))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = sc.pp.highly_variable_genes(bare, flavor="seurat_v3", n_top_genes=n, inplace=False)
    except ValueError:  # raised by loess if points coincide
        return None
    rank: pd.Series = table["highly_variable_rank"].dropna()
    return rank if len(rank) else None
