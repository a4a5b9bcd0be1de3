"""Histograms of one score per cell, with its cut-off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas.pl.figure import GREY, axes_for, bare, colours, legend, legend_size, names_of, with_missing, write
from midas.transfer.unknown import Cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from midas.tl import Accessibility

_CUT = "#b02020"


def unknown_score(
    score: pd.Series | ArrayLike,
    threshold: float | Cut,
    *,
    groups: pd.Series | ArrayLike | None = None,
    bins: int = 40,
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw the score for query cells of types that the reference lacks, and its cut-off.

    Parameters
    ----------
    score
        Score of each cell, on any scale, higher for newer cells; NaN is left out.
    threshold
        Cells above it are called unknown: usually where the two Gaussians of a mixture cross. A number, or the ``cut`` of the
        result of :func:`midas.transfer.label_cells`; infinite for no cut.
    groups
        Known types to colour by, in the order of `score`.
    bins
        Number of bars.
    ax
        Axes to draw in.
    save
        File to write the figure to.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> import midas
    >>> midas.pl.unknown_score([0.1, 0.2, 0.1, 0.9], threshold=0.6).get_title()
    '1 of 4 cells (25%) above 0.60'
    """
    values, text, names = _scored(score, groups)
    ax = axes_for(ax, (5 + legend_size(names), 3.4))
    _bars(ax, values, text, names, np.linspace(min(0.0, values.min()), max(1.0, values.max()), bins + 1))
    at = threshold.threshold if isinstance(threshold, Cut) else threshold
    above = int((values > at).sum())
    title = f"{above:,} of {len(values):,} cells ({above / len(values):.0%}) above {at:.2f}"
    if np.isfinite(at):
        ax.axvline(at, color=_CUT, ls="--", lw=1.2)
    else:
        title = f"no cut: none of {len(values):,} cells called unknown"
    ax.set(xlabel="unknown score", ylabel="cells")
    ax.set_title(title, fontsize=10)
    write(ax, save)
    return ax


def accessibility(
    found: Accessibility | pd.Series,
    *,
    groups: pd.Series | ArrayLike | None = None,
    cutoff: float | None = None,
    bins: int = 50,
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw the share of accessible peaks of each cell, and the cut-off of low-accessibility (LCA) cells.

    Parameters
    ----------
    found
        Result of :func:`midas.tl.low_accessibility`, or shares.
    groups
        Types to colour by, in the order of the cells.
    cutoff
        Cut-off; None for that of `found`, or 0.02.
    bins
        Number of bars.
    ax
        Axes to draw in.
    save
        File to write the figure to.

    Returns
    -------
    The axes, with shares on a logarithmic scale.

    Examples
    --------
    >>> import midas, pandas as pd
    >>> midas.pl.accessibility(pd.Series([0.1, 0.2, 0.01, 0.15])).get_title()
    '1 of 4 cells (25%) below 2%'
    """
    share = found if isinstance(found, pd.Series) else found.share
    cut = cutoff if cutoff is not None else 0.02 if isinstance(found, pd.Series) else found.cutoff
    values, text, names = _scored(share, groups)
    ax = axes_for(ax, (5 + legend_size(names), 3.4))
    positive = values[values > 0]
    # Cells without an accessible peak have no logarithm and are put into the first bin.
    least = min(float(positive.min()) if len(positive) else cut / 10, cut / 2)
    top = max(float(values.max()), cut * 2) * 1.05
    _bars(ax, np.maximum(values, least), text, names, np.geomspace(least, top, bins + 1))
    ax.set_xscale("log")
    ax.axvline(cut, color=_CUT, ls="--", lw=1.2)
    below = int((values < cut).sum())
    ax.set(xlabel="accessible share of peaks", ylabel="cells")
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:.3g}")
    ax.set_title(f"{below:,} of {len(values):,} cells ({below / len(values):.0%}) below {100 * cut:.3g}%", fontsize=10)
    write(ax, save)
    return ax


def _scored(
    score: pd.Series | ArrayLike, groups: pd.Series | ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.object_], list[str]]:
    """Finite scores, their groups, and the groups in order."""
    if isinstance(groups, pd.Series) and isinstance(score, pd.Series) and groups.index.isin(score.index).any():
        groups = groups.reindex(score.index)
    values = np.asarray(score, dtype=np.float64)
    text, names = (np.full(len(values), None, dtype=object), []) if groups is None else names_of(groups)
    if len(text) != len(values):
        msg = f"Expected a group for each of {len(values):,} cells, found {len(text):,}."
        raise ValueError(msg)
    known = np.isfinite(values)
    if not known.any():
        raise ValueError("Expected a score for at least one cell, found none.")
    return values[known], text[known], names


def _bars(
    ax: Axes, values: NDArray[np.float64], text: NDArray[np.object_], names: list[str], edges: NDArray[np.float64]
) -> None:
    """Stack a histogram of each group, with cells of no group at the bottom."""
    palette: dict[str, Any] = dict(zip(names, colours(len(names)), strict=True))
    rest = values[np.array([name is None for name in text], dtype=bool)]
    stack = [*([rest] if len(rest) else []), *(values[text == name] for name in names)]
    shades = [*([GREY if names else "C0"] if len(rest) else []), *palette.values()]
    ax.hist(stack, edges.tolist(), stacked=True, color=shades)
    legend(ax, with_missing(palette, bool(len(rest) and names)))
    bare(ax)
