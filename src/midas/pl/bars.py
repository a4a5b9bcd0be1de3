"""Modality contributions of clusters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.pl.figure import axes_for, colours, shorten, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midas.tl import Contributions


def contributions(
    found: Contributions | pd.DataFrame, *, ax: Axes | None = None, save: str | Path | None = None
) -> Axes:
    """Draw how much each modality contributes to the neighbourhoods of each cluster: one bar per cluster.

    Parameters
    ----------
    found
        Result of :func:`midas.tl.modality_contributions`, or its table of shares.
    ax
        Axes to draw in.
    save
        File to write the figure to.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> import midas, pandas as pd
    >>> share = pd.DataFrame({"atac": [0.57, 0.2], "rna": [0.21, 0.5], "adt": [0.22, 0.3]}, index=["naive CD4 T", "B"])
    >>> ax = midas.pl.contributions(share)
    >>> [text.get_text() for text in ax.texts][:3]
    ['0.57', '0.20', '0.21']
    """
    share = found if isinstance(found, pd.DataFrame) else found.share
    ax = axes_for(ax, (6.5, 0.9 + 0.3 * len(share)))
    y, left = np.arange(len(share)), np.zeros(len(share))
    for name, colour in zip(share.columns, colours(share.shape[1]), strict=True):
        width = share[name].fillna(0).to_numpy(dtype=float)
        ax.barh(y, width, left=left, color=colour, height=0.8, label=str(name))
        for at, (start, size) in enumerate(zip(left, width, strict=True)):
            if size > 0.07:  # otherwise the number does not fit
                ax.text(start + size / 2, at, f"{size:.2f}", ha="center", va="center", color="white", fontsize=8)
        left += width
    for empty in np.flatnonzero(share.isna().all(axis=1).to_numpy()).tolist():
        ax.text(0.5, empty, "no cell has every modality", ha="center", va="center", color="grey", fontsize=8)
    labels = shorten(map(str, share.index))
    if not isinstance(found, pd.DataFrame):
        labels = [f"{name}  ({n:,})" for name, n in zip(labels, found.cells.tolist(), strict=True)]
    ax.set_yticks(y, labels, fontsize=9)
    ax.set(xlim=(0, 1), ylim=(len(share) - 0.5, -0.5), xlabel="contribution")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=share.shape[1], frameon=False, fontsize=9)
    write(ax, save)
    return ax
