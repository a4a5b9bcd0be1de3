"""Blocks of features: the chromosomes of ATAC peaks, found from a column or from the peaks' names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.natural import natural

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Chromosomes with fewer peaks, such as unplaced scaffolds, share one block.
MIN_BLOCK = 20
_PEAK = re.compile(r"^(?P<chrom>[A-Za-z0-9_.\-]*?[A-Za-z0-9])[:_-](?P<start>\d+)[-_](?P<end>\d+)$")
_CHROMOSOME_COLUMNS = ("chrom", "chromosome", "chr", "seqnames")


def read_peaks(names: pd.Index) -> pd.DataFrame | None:
    """Read ``chr1:1-2``, ``chr1-1-2`` or ``chr1_1_2``; some names may be odd.

    Returns
    -------
    Columns `chrom`, `start`, `end`, one row per name; ``""``, -1 and -1 for names of another form. None unless more
    than half of the names are peaks.
    """
    parts = names.to_series().astype(str).str.extract(_PEAK, expand=True)
    odd = parts.isna().any(axis=1).to_numpy()
    if not len(names) or odd.mean() >= 0.5:
        return None
    parts[odd] = ["", "-1", "-1"]
    return pd.DataFrame(
        {
            "chrom": parts["chrom"].to_numpy(),
            "start": parts["start"].astype(np.int64).to_numpy(),
            "end": parts["end"].astype(np.int64).to_numpy(),
        }
    )


def peak_keys(names: pd.Index) -> pd.Index:
    """Normalise peak names to ``chrom:start-end``, so that they match by position; other names are unchanged."""
    parts = read_peaks(names)
    if parts is None:
        return names
    written = parts["chrom"] + ":" + parts["start"].astype(str) + "-" + parts["end"].astype(str)
    return pd.Index(np.where(parts["start"] >= 0, written, names))


def chromosomes(names: pd.Index, var: pd.DataFrame) -> NDArray[np.object_] | None:
    """Get each feature's chromosome from a column of `var`, or else from its name; None if neither has it."""
    for column in _CHROMOSOME_COLUMNS:
        if column in var.columns:
            return np.asarray(var[column].astype(str).to_numpy(), dtype=object)
    parts = read_peaks(names)
    return None if parts is None else np.asarray(parts["chrom"].to_numpy(), dtype=object)


def order_and_blocks(names: pd.Index, chroms: NDArray[np.object_] | None) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Sort peaks by chromosome and position, and cut them into blocks.

    Returns
    -------
    The order, `(n_features,)`, and the sizes of the consecutive blocks, which sum to `n_features`.
    """
    if chroms is None:
        return np.argsort(names.to_numpy().astype(str), kind="stable").astype(np.int64), (len(names),)
    sizes = pd.Series(chroms).value_counts()
    own = sizes[sizes >= min(MIN_BLOCK, int(sizes.max()))].index
    rank = {chrom: i for i, chrom in enumerate(sorted(own, key=natural))}
    block = np.array([rank.get(chrom, len(rank)) for chrom in chroms], dtype=np.int64)
    parts = read_peaks(names)
    start = np.zeros(len(names), dtype=np.int64) if parts is None else parts["start"].to_numpy()
    order = np.lexsort((names.to_numpy().astype(str), start, block)).astype(np.int64)
    counts = np.bincount(block)
    return order, tuple(int(n) for n in counts if n)
