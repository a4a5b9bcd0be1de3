"""Fold changes of batch-corrected against raw counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midas.pl.figure import LINE, axes_for, bare, colours, legend, legend_size, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midas.tl import FoldChanges


def fold_changes(
    found: FoldChanges, *, title: str | None = None, ax: Axes | None = None, save: str | Path | None = None
) -> Axes:
    """Draw log2 fold changes of batch-corrected against raw counts: a point per feature and group, with Pearson r.

    Parameters
    ----------
    found
        Result of :func:`midas.tl.fold_change_consistency`.
    title
        Text before r in the title.
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
    >>> raw = pd.DataFrame([[1.0, -1.0, 0.5]], index=["B"], columns=["g1", "g2", "g3"])
    >>> found = midas.tl.FoldChanges(raw, 0.9 * raw, pd.Series({"B": 1.0}), 1.0)
    >>> midas.pl.fold_changes(found, title="RNA").get_title()
    'RNA, Pearson r = 1.000'
    """
    names = [str(name) for name in found.raw.index]
    labels = [f"{name}  ({r:.3f})" for name, r in zip(names, found.r.tolist(), strict=True)]
    ax = axes_for(ax, (4.2 + legend_size(labels), 4))
    palette = dict(zip(labels, colours(len(labels)), strict=True))
    x, y = found.raw.to_numpy(), found.corrected.to_numpy()
    group = np.repeat(np.arange(len(names)), x.shape[1])
    # Drawn in random order, so that no group lies on top of the others.
    order = np.random.default_rng(0).permutation(np.flatnonzero((np.isfinite(x) & np.isfinite(y)).ravel()))
    shades = [palette[label] for label in labels]
    size = float(np.clip(20_000 / max(1, len(order)), 2, 14))
    ax.scatter(
        x.ravel()[order],
        y.ravel()[order],
        c=[shades[g] for g in group[order]],
        s=size,
        linewidths=0,
        alpha=0.7,
        rasterized=True,
    )
    bound = float(np.nanmax(np.abs(np.concatenate([x.ravel(), y.ravel()])))) * 1.05
    ax.plot([-bound, bound], [-bound, bound], color=LINE, lw=0.8, ls="--")
    ax.set(xlim=(-bound, bound), ylim=(-bound, bound), aspect="equal")
    ax.set(xlabel="raw, log2 fold change", ylabel="batch-corrected, log2 fold change")
    ax.set_title(f"{'' if title is None else f'{title}, '}Pearson r = {found.overall:.3f}", fontsize=10)
    bare(ax)
    legend(ax, palette, title="against the rest (r)")
    write(ax, save)
    return ax
