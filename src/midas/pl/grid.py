"""The embedding of each batch from each modality alone, and from all modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas.pl.embedding import layout, points
from midas.pl.figure import MAX_LEGEND, colours, names_of, plotter, shorten, with_missing, write
from midas.tl.inputs import by_cell, same_cells
from midas.tl.latents import JOINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray


def grid(
    latents: Mapping[str, pd.DataFrame | ArrayLike],
    batch: pd.Series | ArrayLike,
    color: pd.Series | ArrayLike,
    *,
    batches: Sequence[str] | None = None,
    max_cells: int = 5000,
    seed: int = 0,
    save: str | Path | None = None,
) -> NDArray[np.object_]:
    """Draw embeddings from each modality alone and from all together, batch by batch, in one shared UMAP.

    With good alignment, a type is at the same place in every panel (figure 3.2 of He et al. 2024).

    Parameters
    ----------
    latents
        Embeddings of the same cells by modality and under ``joint``, as returned by :func:`midas.tl.latents`. Tables are matched
        to the joint one by cell name; arrays must be in its order.
    batch, color
        Batch and group of each cell, in the order of the embeddings, or matched by name if the embeddings are tables.
    batches
        Batches to draw, in this order; None for all.
    max_cells
        Maximum number of cells; a random sample is drawn if there are more.
    seed
        Seed of the layout and of the sample.
    save
        File to write the figure to.

    Returns
    -------
    Axes, embeddings x batches.

    Examples
    --------
    >>> import midas, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> rna = rng.normal(size=(60, 4))
    >>> adt = np.where(np.arange(60)[:, None] < 30, np.nan, rna)
    >>> batch, kind = np.repeat(["b1", "b2"], 30), np.tile(["T", "B"], 30)
    >>> midas.pl.grid({"rna": rna, "adt": adt, "joint": rna}, batch, kind).shape
    (3, 2)
    """
    tables, index = same_cells(latents, JOINT)
    n = len(next(iter(tables.values())))
    of, kind = _series(batch, index, n, "batch"), _series(color, index, n, "color")
    text, there = names_of(of)
    columns = there if batches is None else [str(name) for name in batches]
    if not set(columns) <= set(there):
        msg = f"Expected batches out of {', '.join(there)}, found {', '.join(sorted(set(columns) - set(there)))}."
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    cells = np.flatnonzero(np.isin(text.astype(str), columns))
    if len(cells) > max_cells:
        cells = rng.choice(cells, max_cells, replace=False)
    cells = rng.permutation(cells)
    xy = layout(np.concatenate([z[cells] for z in tables.values()]), seed).reshape(len(tables), len(cells), 2)
    kinds = names_of(kind)[1]
    palette = dict(zip(kinds, colours(len(kinds)), strict=True))
    width = 1.9 * len(columns) + 0.6
    figure, axes = plotter().subplots(
        len(tables),
        len(columns),
        figsize=(width + (1.8 if 0 < len(kinds) <= MAX_LEGEND else 0), 1.9 * len(tables) + 0.4),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for i, name in enumerate(tables):
        for j, column in enumerate(columns):
            _panel(axes[i, j], xy[i], text[cells] == column, kind.iloc[cells], palette)
        axes[i, 0].set_ylabel(name, fontsize=11)
    for ax, title in zip(axes[0], shorten(columns), strict=True):
        ax.set_title(title, fontsize=11)
    _legend(figure, palette, missing=bool(kind.iloc[cells].isna().any()))
    write(axes[0, 0], save)
    found: NDArray[np.object_] = axes
    return found


def _series(values: pd.Series | ArrayLike, index: pd.Index | None, n: int, what: str) -> pd.Series:
    if isinstance(values, pd.Series) and index is not None and not isinstance(values.index, pd.RangeIndex):
        return by_cell(values, index, what)
    series = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    if len(series) != n:
        msg = f"Expected one value for each of {n:,} cells, found {len(series):,}."
        raise ValueError(msg)
    return series


def _panel(ax: Axes, xy: NDArray[Any], in_panel: NDArray[np.bool_], kind: pd.Series, palette: dict[str, Any]) -> None:
    there = in_panel & np.isfinite(xy).all(1)
    points(ax, xy[there], kind[there], palette)
    ax.set_box_aspect(1)
    if not there.any():
        ax.text(0.5, 0.5, "not measured", color="grey", ha="center", va="center", fontsize=9, transform=ax.transAxes)
        ax.set_facecolor("#f4f4f4")


def _legend(figure: Any, palette: dict[str, Any], *, missing: bool) -> None:  # noqa: ANN401 - a Figure
    if not palette or len(palette) > MAX_LEGEND:
        return
    from matplotlib.lines import Line2D  # noqa: PLC0415

    shown = with_missing(palette, missing)
    handles = [Line2D([], [], marker="o", linestyle="", color=c, markersize=5, label=n) for n, c in shown.items()]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8, ncols=-(-len(handles) // 24))
