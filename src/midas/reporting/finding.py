"""What the diagnostics look at, what each finds, and the words they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

Level = Literal["good", "look", "poor", "none"]
Cause = Literal["", "batch left", "over-corrected", "under-trained", "not learned", "still falling", "over-fitted"]


@dataclass(frozen=True)
class Finding:
    """One diagnostic.

    Attributes
    ----------
    key
        Which one.
    title
        A few words.
    level
        ``good``, ``look`` (worth a look), ``poor``, or ``none`` where it could not be judged.
    sentence
        What it means here.
    rows
        Its numbers: name and value.
    cause
        What is at fault, for the advice; empty where nothing is.
    """

    key: str
    title: str
    level: Level
    sentence: str
    rows: tuple[tuple[str, str], ...] = ()
    cause: Cause = ""


@dataclass(frozen=True)
class Sampled:
    """The cells that the diagnostics look at.

    Attributes
    ----------
    cells
        Positions in the mosaic, `(n,)`.
    c, u
        Posterior means, `(n, dim)`.
    single
        By modality, c from that modality alone, `(n, dim_c)`; NaN for cells without it.
    batch
        `(n,)`.
    label
        Codes of the types, `(n,)`, -1 where unknown; None when there are no labels.
    label_names
        Names of the codes.
    """

    cells: NDArray[np.int64]
    c: NDArray[np.float32]
    u: NDArray[np.float32]
    single: Mapping[str, NDArray[np.float32]]
    batch: NDArray[np.int64]
    label: NDArray[np.int64] | None
    label_names: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """What one modality's counts say of the cells that have it.

    Attributes
    ----------
    at
        Those cells, as positions among the sampled ones.
    components
        The counts' own principal components, `(len(at), n)`.
    reliability
        How far two halves of the counts agree on neighbours; None where that cannot be told.
    """

    at: NDArray[np.int64]
    components: NDArray[np.float64]
    reliability: float | None


def percent(value: float) -> str:
    """Write a share as text."""
    return f"{100 * value:.0f}%"


def listed(parts: list[str]) -> str:
    """Join with commas and a last "and"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def some(names: list[str], most: int = 4) -> str:
    """Name the first, and say how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
