"""Transferred labels against known ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.pl.figure import axes_for, names_of, shorten, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_MAX_NUMBERED = 20


def confusion(
    true: pd.Series | ArrayLike,
    transferred: pd.Series | ArrayLike,
    *,
    unknown: str = "Unknown",
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw known labels against transferred ones: the share of each known type that got each label.

    Labels found on both sides are on the diagonal, followed by labels found on one side only; `unknown` comes last.

    Parameters
    ----------
    true, transferred
        A label for each cell, in the same order; Series are matched by cell name. Cells missing either label are left out.
    unknown
        Label of cells detected as being of no known type.
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
    >>> ax = midas.pl.confusion(["B", "B", "T", "HSC"], ["B", "T", "T", "Unknown"])
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['B', 'T', 'Unknown']
    >>> ax.get_title()
    '4 cells, 50% with their own label'
    """
    table = _table(true, transferred, unknown)
    share = table.div(table.sum(axis=1), axis=0)
    rows, columns = table.shape
    ax = axes_for(ax, (2.6 + 0.36 * columns, 1.8 + 0.32 * rows))
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(columns), shorten(table.columns), rotation=90, fontsize=8)
    ax.set_yticks(
        range(rows),
        [f"{name}  ({n:,})" for name, n in zip(shorten(table.index), table.sum(axis=1).tolist(), strict=True)],
        fontsize=8,
    )
    if max(rows, columns) <= _MAX_NUMBERED:
        for (i, j), value in np.ndenumerate(share.to_numpy()):
            if value >= 0.005:
                text = f"{value:.2f}".replace("0.", ".")
                ax.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if value > 0.55 else "black")
    ax.set(xlabel="transferred", ylabel="known (cells)")
    own = sum(int(table.loc[name, name]) for name in table.index if name in table.columns)
    ax.set_title(
        f"{int(table.to_numpy().sum()):,} cells, {own / table.to_numpy().sum():.0%} with their own label", fontsize=10
    )
    ax.figure.colorbar(image, ax=ax, shrink=0.6, label="share of the known type")
    write(ax, save)
    return ax


def _table(true: pd.Series | ArrayLike, transferred: pd.Series | ArrayLike, unknown: str) -> pd.DataFrame:
    if isinstance(true, pd.Series) and isinstance(transferred, pd.Series):
        shared = true.index.intersection(transferred.index)
        true, transferred = true.loc[shared], transferred.loc[shared]
    (a, rows), (b, columns) = names_of(true), names_of(transferred)
    if len(a) != len(b):
        msg = f"Expected a known and a transferred label for each cell, found {len(a):,} and {len(b):,}."
        raise ValueError(msg)
    known = np.array([x is not None and y is not None for x, y in zip(a, b, strict=True)], dtype=bool)
    if not known.any():
        raise ValueError("Expected cells with both a known and a transferred label, found none.")
    table = pd.crosstab(pd.Series(a[known], name="known"), pd.Series(b[known], name="transferred"))
    both = [name for name in rows if name in table.columns and name in table.index]
    order = {}
    for axis, names in (("known", rows), ("transferred", columns)):
        there = table.index if axis == "known" else table.columns
        rest = [name for name in names if name not in both and name in there]
        order[axis] = sorted([*both, *rest], key=lambda name: name == unknown)
    return table.loc[order["known"], order["transferred"]]
