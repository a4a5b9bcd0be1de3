"""Genomic regions: reading from names and BED files, sorting, merging, and detection of autosomes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.data.blocks import read_peaks
from midas.extras import needs
from midas.natural import natural
from midas.pp.samples import listed
from midas.pp.tables import unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMBERED = re.compile(r"^(?:chr)?(?:\d{1,3}[A-Da-d]?|\d[LR])$", re.IGNORECASE)
_ROMAN = re.compile(r"^(?:chr)?[IVX]+$")


def regions(names: pd.Index, label: str = "peaks") -> pd.DataFrame:
    """Read peaks in any notation.

    Returns
    -------
    Columns `chrom`, `start`, `end`, one row per name.

    Raises
    ------
    ValueError
        Naming those that are not peaks.
    """
    parts = read_peaks(names)
    if parts is None or (parts["start"] < 0).any():
        wrong = names if parts is None else names[(parts["start"] < 0).to_numpy()]
        msg = f"{label}: expected names of peaks such as chr1:100-600, found {listed(list(wrong))}."
        raise ValueError(msg)
    backwards = (parts["end"] <= parts["start"]).to_numpy()
    if backwards.any():
        msg = f"{label}: expected peaks that end after their start, found {listed(list(names[backwards]))}."
        raise ValueError(msg)
    return parts


def spelled_like(chroms: pd.Series, known: set[str]) -> pd.Series:
    """Convert chromosome names to the style of `known` if none match: Ensembl writes 1 where UCSC writes chr1."""
    there = set(chroms.unique())
    if not known & there and known & {f"chr{name}" for name in there}:
        return "chr" + chroms
    if not known & there and known & {name.removeprefix("chr") for name in there}:
        return chroms.str.removeprefix("chr")
    return chroms


def autosomes(chroms: Iterable[str]) -> set[str]:
    """Find the autosomes of any species by name: numbered ones (chr1, 2, 2A, 3L), not X, Y, Z, W, M, scaffolds.

    Roman numerals count if the genome uses them (yeast, worm); X is then an autosome only if there is an XI.

    Examples
    --------
    >>> sorted(midas.pp.autosomes(["chr1", "chrX", "chrM", "chr1_random", "KI270711.1", "2A"]))
    ['2A', 'chr1']
    """
    names = {str(chrom) for chrom in chroms}
    roman = {name for name in names if _ROMAN.match(name)}
    plain = {name.removeprefix("chr") for name in roman}
    if not plain & {"I", "II", "III", "IV"}:
        roman = set()
    elif "XI" not in plain:
        roman = {name for name in roman if name.removeprefix("chr") != "X"}
    return {name for name in names if _NUMBERED.match(name)} | roman


def natural_order(table: pd.DataFrame) -> NDArray[np.int64]:
    """Sort order of regions: chr2 before chr10, then by position."""
    rank = {chrom: i for i, chrom in enumerate(sorted(table["chrom"].unique(), key=natural))}
    order: NDArray[np.int64] = np.lexsort((table["end"], table["start"], table["chrom"].map(rank))).astype(np.int64)
    return order


def merged(table: pd.DataFrame) -> pd.DataFrame:
    """Merge overlapping regions; adjacent ones stay separate. Sorted by chromosome and position."""
    with needs("bioframe", "prepare"):
        import bioframe  # noqa: PLC0415 - optional
    joined: pd.DataFrame = bioframe.merge(table[["chrom", "start", "end"]], min_dist=None)[["chrom", "start", "end"]]
    joined = joined.astype({"chrom": str, "start": np.int64, "end": np.int64})
    return joined.iloc[natural_order(joined)].reset_index(drop=True)


def overlapping(table: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each region overlaps any of the others."""
    with needs("bioframe", "prepare"):
        import bioframe  # noqa: PLC0415 - optional
    hit = np.zeros(len(table), dtype=bool)
    if len(table) and len(others):
        pairs = bioframe.overlap(
            table[["chrom", "start", "end"]].reset_index(drop=True), others, how="inner", return_index=True
        )
        hit[pairs["index"].to_numpy(dtype=np.int64)] = True
    return hit


def read_bed(path: str | Path) -> pd.DataFrame:
    """Read the first three columns of a BED file, compressed or not.

    Raises
    ------
    DataFileError
        If it is missing, or not a BED file.
    """
    try:
        table = pd.read_csv(
            path, sep="\t", header=None, comment="#", usecols=[0, 1, 2], names=["chrom", "start", "end"], dtype=str
        )
        lines = ~table["chrom"].str.startswith(("track", "browser"))
        return table[lines].astype({"start": np.int64, "end": np.int64}).reset_index(drop=True)
    except (ValueError, OSError, EOFError) as error:
        raise unreadable(path, "a BED file (chromosome, start, end)", error) from error


def names_of(table: pd.DataFrame) -> pd.Index:
    """Write regions as ``chr1:100-600``."""
    return pd.Index(table["chrom"] + ":" + table["start"].astype(str) + "-" + table["end"].astype(str), dtype=object)
