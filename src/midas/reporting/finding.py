"""Input and results of the diagnostics, and wording that they share."""

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
    """Result of one diagnostic.

    Attributes
    ----------
    key
        Identifier of the diagnostic.
    title
        Short title.
    level
        ``good``, ``look`` (worth a look), ``poor``, or ``none`` where it could not be judged.
    sentence
        Interpretation.
    rows
        Values: name and number.
    cause
        Cause of the problem, for the advice; empty if there is none.
    """

    key: str
    title: str
    level: Level
    sentence: str
    rows: tuple[tuple[str, str], ...] = ()
    cause: Cause = ""


@dataclass(frozen=True)
class Sampled:
    """The sampled cells that the diagnostics use.

    Attributes
    ----------
    cells
        Positions in the mosaic, `(n,)`.
    c, u
        Posterior means, `(n, dim)`.
    single
        By modality, c encoded from that modality alone, `(n, dim_c)`; NaN for cells without it.
    batch
        `(n,)`.
    label
        Type codes, `(n,)`, -1 for unknown; None if there are no labels.
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
    """The counts of one modality, for the cells that have it.

    Attributes
    ----------
    at
        Indices of those cells among the sampled ones.
    components
        Principal components of the counts, `(len(at), n)`.
    reliability
        Agreement on neighbours between two halves of the counts; None if it cannot be estimated.
    """

    at: NDArray[np.int64]
    components: NDArray[np.float64]
    reliability: float | None


def percent(value: float) -> str:
    """Write a share as text."""
    return f"{100 * value:.0f}%"


def listed(parts: list[str]) -> str:
    """Join with commas and a final "and"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def some(names: list[str], most: int = 4) -> str:
    """List the first items, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
