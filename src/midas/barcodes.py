"""Barcodes: the bases in cell names, which identify cells that are named differently in two files."""

from __future__ import annotations

import re
from typing import Final

import pandas as pd

_BASES: Final = re.compile(r"[ACGT]{10,}")
_MOST: Final = 0.5  # share of the smaller set of barcodes


def bases(names: pd.Index) -> pd.Index | None:
    """Extract barcodes from names, without prefixes and suffixes; None if some are missing or not unique.

    Examples
    --------
    >>> import pandas as pd
    >>> from midas.barcodes import bases
    >>> bases(pd.Index(["AAACCCAAGAAA-1", "d1#AAACCCAAGAAC"])).tolist()
    ['AAACCCAAGAAA', 'AAACCCAAGAAC']
    """
    runs = [max(_BASES.findall(name), key=len, default="") for name in names.astype(str)]
    return pd.Index(runs) if all(runs) and len(set(runs)) == len(runs) else None


def mostly_shared(a: pd.Index, b: pd.Index) -> bool:
    """Whether over half of the smaller set is in the other."""
    return len(a.intersection(b)) > _MOST * min(len(a), len(b))
