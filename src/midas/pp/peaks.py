"""Merge the peaks of batches into a union, sum counts onto it, and keep peaks that are accessible often enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from midas.data.blocks import read_peaks
from midas.pp.cutoffs import Cutoffs
from midas.pp.regions import autosomes, merged, names_of, natural_order, overlapping, read_bed, regions
from midas.pp.samples import Batches, Step, as_texts, check_batches, csr, listed, members
from midas.text import counted

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

# With fewer peaks than this, cell types could hardly be distinguished.
_FEW_PEAKS = 2000
# The suggested cut-off is rounded down, or it would keep fewer peaks than promised.
_TWO_DIGITS = Context(prec=2, rounding=ROUND_FLOOR)


@dataclass(frozen=True)
class PeakSelection:
    """Which peaks were chosen.

    Attributes
    ----------
    peaks
        The chosen ones, in the order of the genome.
    notes
        One sentence each.
    """

    peaks: pd.Index
    notes: tuple[str, ...]


def merge_peaks(
    batches: Batches,
    *,
    cutoffs: Cutoffs | None = None,
    blacklist: str | Path | pd.DataFrame | None = None,
    chromosomes: Collection[str] | None = None,
) -> Step:
    """Map all batches to the same peaks: the union of theirs, with overlapping peaks joined and counts summed.

    Peaks outside the limits of width or off the autosomes are dropped before and after joining, those on the blacklist after. A
    batch has the peaks of the union that contain one of its own; the others count as unmeasured (see :func:`count_fragments`).

    Parameters
    ----------
    batches
        AnnData of peaks by batch, with names in any notation (``chr1:100-600``, ``chr1-100-600``, ``1_100_600``).
    cutoffs
        ``min_width`` and ``max_width`` are used; the defaults if None.
    blacklist
        BED file, or frame with the columns `chrom`, `start` and `end`.
    chromosomes
        Chromosomes to keep instead of the autosomes.

    Raises
    ------
    ValueError
        If names are not peaks, or no peak is left.

    Examples
    --------
    >>> import anndata, numpy, midas
    >>> a, b = anndata.AnnData(numpy.ones((2, 2))), anndata.AnnData(numpy.ones((2, 2)))
    >>> a.var_names, b.var_names = ["chr1:100-300", "chr1:250-500"], ["chr1-450-600", "chrX-1-500"]
    >>> step = midas.pp.merge_peaks({"a": a, "b": b})
    >>> step.batches["a"].var_names.tolist(), step.batches["a"].X.toarray().tolist()
    (['chr1:100-600'], [[2.0], [2.0]])
    """
    check_batches(batches)
    cutoffs = cutoffs or Cutoffs()
    batches, notes = without_odd(batches)
    tables = {batch: regions(pd.Index(a.var_names.astype(str)), f"batch {batch!r}") for batch, a in batches.items()}
    notes += _same_style(tables)
    everything = pd.concat(tables.values(), ignore_index=True)
    wanted = autosomes(everything["chrom"].unique()) if chromosomes is None else set(chromosomes)
    black = _blacklist(blacklist, everything)
    good = {batch: _allowed(table, wanted, cutoffs) for batch, table in tables.items()}
    bad = pd.concat([table[~good[batch]] for batch, table in tables.items()], ignore_index=True)
    dropped = len(bad.drop_duplicates(["chrom", "start", "end"]))  # counted once if several batches have the same
    joined = pd.concat([table[good[batch]] for batch, table in tables.items()], ignore_index=True)
    joined = merged(joined) if len(joined) else joined
    wide = ~_allowed(joined, wanted, cutoffs)
    if black is None:
        hit = np.zeros(len(joined), dtype=bool)
        notes.append("No blacklist was given: peaks in regions of artefacts, if there are any, are kept.")
    else:
        hit = overlapping(joined, black)
        said = counted(int(hit.sum()), "joined peak", "joined peaks")
        notes.append(f"Left out: {said} on the blacklist.")
    union = joined[~wide & ~hit].reset_index(drop=True)
    if not len(union):
        found = ", ".join(sorted(everything["chrom"].unique())[:8])
        msg = (
            f"Expected peaks on autosomes, {cutoffs.min_width} to {cutoffs.max_width} bp wide, found none; chromosomes there: "
            f"{found}. Name the chromosomes to keep, or change the limits."
        )
        raise ValueError(msg)
    if dropped:
        where = "the autosomes" if chromosomes is None else "the chromosomes named"
        limits = f"off {where} or outside of {cutoffs.min_width} to {cutoffs.max_width} bp"
        notes.append(f"Left out: {counted(dropped, 'peak', 'peaks')} {limits}.")
    too_wide = int((wide & ~hit).sum())
    if too_wide:
        said = counted(too_wide, "joined peak", "joined peaks")
        notes.append(f"Left out: {said} wider than {cutoffs.max_width:,} bp.")
    out = {}
    for batch, adata in batches.items():
        code = inside(tables[batch], union)
        code[~good[batch]] = -1
        out[batch] = _onto(adata, code, union)
    return Step(out, (*notes, *_strangers(out)))


def select_peaks(batches: Batches, *, cutoffs: Cutoffs | None = None) -> PeakSelection:
    """Select the peaks that are accessible in more than 4% (``min_accessibility``) of the cells of at least one batch.

    Parameters
    ----------
    batches
        AnnData with consistent peak names (:func:`merge_peaks`).

    Raises
    ------
    ValueError
        If no peak is left; the message suggests a cut-off that would keep some.

    Examples
    --------
    >>> import anndata, numpy, midas
    >>> a = anndata.AnnData(numpy.eye(10, 2))  # each peak in one cell of ten
    >>> a.var_names = ["chr1:900-1400", "chr1:100-600"]
    >>> midas.pp.select_peaks({"a": a}, cutoffs=midas.pp.Cutoffs(min_accessibility=0.09)).peaks.tolist()
    ['chr1:100-600', 'chr1:900-1400']
    """
    check_batches(batches)
    cutoffs = cutoffs or Cutoffs()
    best: dict[str, float] = {}
    density = []
    for adata in batches.values():
        share = _share(adata)
        density.append(float(share.mean()))
        for name, value in zip(adata.var_names, share, strict=True):
            best[str(name)] = max(best.get(str(name), 0.0), float(value))
    table = regions(pd.Index(list(best)))
    values = np.array(list(best.values()))
    order = natural_order(table)
    names, values = pd.Index(list(best))[order], values[order]
    keep = values > cutoffs.min_accessibility
    n = int(keep.sum())
    least = min(_FEW_PEAKS, len(values))
    # The cut-off that would keep as many peaks as needed, rounded down to two digits.
    advice = _TWO_DIGITS.create_decimal_from_float(float(np.sort(values)[-least]) * 0.99)
    msg = (
        f"{n:,} of {len(values):,} peaks are accessible in over {cutoffs.min_accessibility:.2%} of the cells of some batch. "
        f"The data are sparse ({min(density):.2%} of the peaks per cell in the sparsest batch): lower min_accessibility, for "
        f"example to {float(advice):g}."
    )
    if not n:
        raise ValueError("Expected peaks that are accessible often enough, found that " + msg)
    return PeakSelection(names[keep], (msg,) if n < min(_FEW_PEAKS, len(values) / 10) else ())


def without_odd(batches: Batches) -> tuple[dict[str, AnnData], list[str]]:
    """If most features are peaks, drop those that are not: spike-ins, windows without coordinates."""
    kept, notes = {}, []
    for batch, adata in batches.items():
        read = read_peaks(pd.Index(adata.var_names.astype(str)))
        odd = np.zeros(adata.n_vars, dtype=bool) if read is None else (read["start"] < 0).to_numpy()
        if odd.any():
            notes.append(
                f"Batch {batch!r}: {int(odd.sum()):,} of {adata.n_vars:,} features of the peaks are called otherwise "
                f"({listed(list(adata.var_names[odd]))}) and are left out."
            )
        kept[batch] = adata[:, ~odd] if odd.any() else adata
    return kept, notes


def inside(table: pd.DataFrame, union: pd.DataFrame) -> NDArray[np.int64]:
    """For each region, find the region of the union (disjoint, sorted) that contains it; -1 for none."""
    code = np.full(len(table), -1, dtype=np.int64)
    for chrom, rows in table.groupby("chrom", sort=False).indices.items():
        mine = np.flatnonzero((union["chrom"] == chrom).to_numpy())
        if len(mine):
            at = np.searchsorted(union["start"].to_numpy()[mine], table["start"].to_numpy()[rows], side="right") - 1
            fits = (at >= 0) & (table["end"].to_numpy()[rows] <= union["end"].to_numpy()[mine][at])
            code[rows[fits]] = mine[at[fits]]
    return code


def _onto(adata: AnnData, code: NDArray[np.int64], union: pd.DataFrame) -> AnnData:
    there, first = np.unique(code, return_index=True)
    there, first = there[there >= 0], first[there >= 0]
    counts: sp.csr_matrix = csr(csr(adata.X) @ members(code, len(union)))[:, there]
    var = union.iloc[there].set_index(names_of(union)[there])
    if "gene" in adata.var.columns:
        var["gene"] = np.asarray(as_texts(adata.var["gene"]))[first]
    return AnnData(counts, obs=adata.obs.copy(), var=var, obsm=dict(adata.obsm))


def _allowed(table: pd.DataFrame, chromosomes: Collection[str], cutoffs: Cutoffs) -> NDArray[np.bool_]:
    width = (table["end"] - table["start"]).to_numpy()
    good: NDArray[np.bool_] = table["chrom"].isin(chromosomes).to_numpy()
    return good & (width > cutoffs.min_width) & (width < cutoffs.max_width)


def _same_style(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Rename chromosomes to chr1 in all batches if only some write 1; changes the tables."""
    plain = [b for b, t in tables.items() if not t["chrom"].str.startswith("chr").any()]
    if not plain or len(plain) == len(tables):
        return []
    for batch in plain:
        tables[batch] = tables[batch].assign(chrom="chr" + tables[batch]["chrom"])
    return [f"Chromosomes of {', '.join(map(repr, plain))} were given the prefix chr, as in the other batches."]


def _blacklist(given: str | Path | pd.DataFrame | None, peaks: pd.DataFrame) -> pd.DataFrame | None:
    if given is None:
        return None
    table = given if isinstance(given, pd.DataFrame) else read_bed(given)
    if not set(table["chrom"]) & set(peaks["chrom"]):
        msg = (
            f"Expected a blacklist with chromosomes of the peaks, such as {peaks['chrom'].iloc[0]}, found "
            f"{', '.join(sorted(set(table['chrom']))[:3])}. Is it of the same genome, in the same spelling?"
        )
        raise ValueError(msg)
    return table


def _share(adata: AnnData) -> NDArray[np.float64]:
    counts = csr(adata.X)
    cells = np.bincount(counts.indices[counts.data > 0], minlength=adata.n_vars)
    share: NDArray[np.float64] = cells / max(1, adata.n_obs)
    return share


def _strangers(batches: Batches) -> list[str]:
    """Batches whose peaks hardly overlap those of the others, possibly from another genome build."""
    notes = []
    batches_with = Counter(name for adata in batches.values() for name in adata.var_names)
    for batch, adata in batches.items():
        if len(batches) > 1 and adata.n_vars:
            shared = float(np.mean([batches_with[name] > 1 for name in adata.var_names]))
            if shared < 0.05:
                notes.append(
                    f"Batch {batch!r}: only {shared:.1%} of its peaks overlap one of another batch. Is it another genome build? "
                    "If it is the same, count its fragments on the joint peaks."
                )
    return notes
