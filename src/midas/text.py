"""Numbers and names in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def counted(n: float, one: str, many: str) -> str:
    """Write a number with its noun: ``1 gene``, ``2,000 genes``."""
    return f"{n:,} {one if n == 1 else many}"


def describe_names(names: pd.Index, most: int = 5) -> str:
    """List the first few names and how many there are."""
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
