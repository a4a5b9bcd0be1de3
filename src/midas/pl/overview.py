"""The mosaic itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas.data import Mosaic, read_mosaic
from midas.data.summary import summarise
from midas.natural import natural
from midas.pl.figure import axes_for, colours, shorten, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from midas.data import MosaicData
    from midas.data.parts import Layer
    from midas.modality import Modality

_GAP = 0.35  # between columns, in widths of a column
_NAMES = 0.62  # height of the columns' names, in the unit of the rows
_ARC = 0.5  # height of an arc between neighbours


def mosaic(
    data: MosaicData | Mosaic,
    *,
    batch_key: str | None = "batch",
    modalities: Mapping[str, Modality] | None = None,
    measured: Mapping[str, pd.DataFrame] | None = None,
    layer: Layer = None,
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw what each batch measured: a row per batch, its height given by the number of cells, and a column per modality.

    Within a column, features are ordered from those measured by most batches to those measured by few; unmeasured parts are
    white. A grey band joins cells that have several modalities. Arcs at the top are the bridges: how many cells have both
    modalities. Very small or large batches are not to scale, so that they remain visible.

    Parameters
    ----------
    data
        A :class:`midas.Mosaic`, or anything that :func:`midas.read_mosaic` accepts.
    batch_key, modalities, measured, layer
        As in :func:`midas.read_mosaic`; not used for a :class:`midas.Mosaic`, which has been read already.
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
    >>> mdata = midas.simulate.mosaic(midas.simulate.SimulationConfig(n_cells=100, n_genes=60, n_peaks=80))
    >>> ax = midas.pl.mosaic(mdata)
    >>> [label.get_text().split()[0] for label in ax.get_yticklabels()]
    ['batch1', 'batch2', 'batch3', 'batch4']
    """
    found = (
        data
        if isinstance(data, Mosaic)
        else read_mosaic(data, batch_key=batch_key, modalities=modalities, measured=measured, layer=layer)
    )
    order = sorted(range(len(found.batches)), key=lambda b: natural(found.batches[b]))
    number = np.bincount(found.batch, minlength=len(order))[order]
    height = np.clip(number / max(1.0, number.mean()) * 0.55, 0.32, 1.8)
    names = list(found.modalities)
    bridges = summarise(found).bridges
    head = _head(names, bridges)
    ax = axes_for(ax, (2.2 + 1.7 * len(names), 0.5 + height.sum() + 0.12 * len(order) + head))
    palette = dict(zip(names, colours(len(names)), strict=True))
    at = {name: j * (1 + _GAP) for j, name in enumerate(names)}
    present = np.stack([found.modalities[name].present for name in names], axis=1)
    tops = np.concatenate([[0.0], np.cumsum(height + 0.12)])
    runs = {name: _feature_order(found.modalities[name].measured) for name in names}
    for i, b in enumerate(order):
        _batch(ax, found, b, present[found.batch == b], (tops[i], float(height[i])), at, palette, runs)
    end = float(tops[-1])
    for name, x in at.items():
        n = found.schema.modalities[name].n_features
        ax.text(x + 0.5, -0.1, f"{name}\n{n:,} features", ha="center", va="bottom", color=palette[name], fontsize=10)
    _bridges(ax, at, bridges)
    labels = [
        f"{name}  {n:,} cells"
        for name, n in zip(shorten(found.batches[b] for b in order), number.tolist(), strict=True)
    ]
    ax.set_yticks(tops[:-1] + height / 2, labels, fontsize=9)
    ax.set(xlim=(-0.06, (len(names) - 1) * (1 + _GAP) + 1.06), ylim=(end, -head), xticks=[])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    write(ax, save)
    return ax


def _head(names: list[str], bridges: dict[tuple[str, str], int]) -> float:
    """Room above the rows, in the unit of the rows: two lines of text, and arcs."""
    farthest = max((names.index(b) - names.index(a) for a, b in bridges), default=0)
    return _NAMES + (0.25 + _ARC * farthest if farthest else 0.03)


def _feature_order(measured: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Order features by the number of batches that measured them, keeping those of one pattern together."""
    keys = [*measured[::-1], -measured.sum(0)]
    return np.lexsort(keys).astype(np.int64)


def _batch(
    ax: Axes,
    found: Mosaic,
    b: int,
    present: NDArray[np.bool_],
    place: tuple[float, float],
    at: dict[str, float],
    palette: dict[str, Any],
    runs: dict[str, NDArray[np.int64]],
) -> None:
    """Draw one batch: its cells from top to bottom by combination of modalities."""
    top, height = place
    patterns, number = np.unique(present, axis=0, return_counts=True)
    order = np.lexsort([*(~patterns.T[::-1]), -patterns.sum(1)])
    names = list(at)
    for k in order:
        own = [name for name, there in zip(names, patterns[k], strict=True) if there]
        size = height * number[k] / len(present)
        for left, right in pairwise(own):
            ax.fill_between([at[left] + 1, at[right]], top, top + size, color="#e3e3e3", linewidth=0)
        for name in own:
            for start, stop in _runs(found.modalities[name].measured[b][runs[name]]):
                x = [at[name] + start, at[name] + stop]
                ax.fill_between(x, top, top + size, color=palette[name], linewidth=0, zorder=2)
        top += size


def _runs(on: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Runs of True, as shares of the whole."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]])))
    return [(start / len(on), stop / len(on)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _bridges(ax: Axes, at: dict[str, float], bridges: dict[tuple[str, str], int]) -> None:
    from matplotlib.patches import Arc  # noqa: PLC0415

    names, most = list(at), max(bridges.values(), default=0)
    for (a, b), n in bridges.items():
        apart = abs(names.index(b) - names.index(a))
        middle, high = (at[a] + at[b]) / 2 + 0.5, _ARC * apart
        width = 1 + 4 * np.sqrt(n / most) if n else 1.0
        style: dict[str, Any] = {"color": "#555555", "linestyle": "-"} if n else {"color": "#c03030", "linestyle": ":"}
        # Arcs of neighbours end slightly apart, so that each can be followed.
        span = abs(at[b] - at[a]) - 0.12
        ax.add_patch(Arc((middle, -_NAMES), span, 2 * high, theta1=180, theta2=360, lw=width, **style))
        ax.annotate(
            f"{n:,}" if n else "no cell",
            (middle, -_NAMES - high),
            xytext=(0, 1.5 + width / 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=style["color"],
        )
