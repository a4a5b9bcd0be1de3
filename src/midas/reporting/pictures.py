"""Geometry of the static figures: the mosaic, and the training curves. The template draws them as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from midas.data.summary import MosaicSummary

_MOST_BATCHES = 60
_NAME, _TILE, _GAP, _ROW, _TOP = 150, 150, 14, 34, 30
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _HEAD = 300, 150, 52, 20, 8
# Terms that decrease by more than this are drawn on a logarithmic scale.
_LOG_ABOVE = 20.0


@dataclass(frozen=True)
class Tile:
    """One batch in one modality; `share` of the batch's cells have it."""

    x: float
    y: float
    width: float
    height: float
    share: float
    cells: int
    features: int
    batch: str
    modality: str
    hue: int


@dataclass(frozen=True)
class Bridge:
    """An arc between two modalities, under the tiles."""

    path: str
    x: float
    y: float
    cells: int
    a: str
    b: str
    stroke: float


@dataclass(frozen=True)
class MosaicPicture:
    """The mosaic: batches as rows, modalities as columns, bridges below."""

    width: float
    height: float
    heads: tuple[tuple[float, str], ...]
    rows: tuple[tuple[float, str, str], ...]
    tiles: tuple[Tile, ...]
    bridges: tuple[Bridge, ...]
    n_hidden: int


@dataclass(frozen=True)
class Curve:
    """One term of the objective over the epochs.

    Attributes
    ----------
    train, held_out
        Points of polylines; empty if there is no record.
    ticks
        Height and text of the ticks of the vertical axis.
    best
        Position of the best epoch; None if there is none.
    last
        Final values, training and held-out, as text.
    skipped
        Number of first epochs beyond the scale.
    """

    name: str
    train: str
    held_out: str
    ticks: tuple[tuple[float, str], ...]
    best: float | None
    last: tuple[str, str]
    n_epochs: int
    logarithmic: bool
    skipped: int
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    bottom: int = _BOTTOM


def draw_mosaic(summary: MosaicSummary) -> MosaicPicture:
    """Place tiles and arcs; of more than 60 batches only the largest are drawn."""
    names = [name for name in summary.cells.columns if name != "all"]
    sizes = summary.cells["all"]
    kept = list(sizes.sort_values(ascending=False, kind="stable").index[:_MOST_BATCHES])
    batches = [name for name in sizes.index if name in set(kept)]
    lefts = {name: _NAME + i * (_TILE + _GAP) for i, name in enumerate(names)}
    tiles = []
    for i, batch in enumerate(batches):
        for hue, name in enumerate(names):
            n = int(summary.cells.loc[batch, name])
            if n:
                share = n / max(1, int(sizes.loc[batch]))
                at = (lefts[name], _TOP + i * _ROW, _TILE, _ROW - 6)
                tiles.append(Tile(*at, share, n, int(summary.features.loc[batch, name]), str(batch), name, hue))
    floor = _TOP + len(batches) * _ROW
    rows = tuple((_TOP + i * _ROW, str(name), f"{int(sizes.loc[name]):,}") for i, name in enumerate(batches))
    arcs, depth = _arcs(summary, lefts, floor)
    return MosaicPicture(
        width=_NAME + len(names) * (_TILE + _GAP),
        height=floor + depth,
        heads=tuple((lefts[name] + _TILE / 2, name) for name in names),
        rows=rows,
        tiles=tuple(tiles),
        bridges=arcs,
        n_hidden=len(sizes) - len(batches),
    )


def draw_curves(history: pd.DataFrame, best: int | None) -> tuple[Curve, ...]:
    """One curve per term of the objective, the total first."""
    terms = [str(c) for c in history.columns if c not in {"epoch", "seconds", "learning_rate"}]
    terms = [term for term in terms if not term.startswith("val_")]
    terms.sort(key=lambda term: term != "total")
    if "learning_rate" in history.columns:
        terms.append("learning_rate")
    return tuple(_curve(history, term, best) for term in terms)


def _arcs(summary: MosaicSummary, lefts: dict[str, int], floor: float) -> tuple[tuple[Bridge, ...], float]:
    found, deepest = [], 0.0
    largest = max([1, *summary.bridges.values()])
    order = list(lefts)
    for (a, b), n in summary.bridges.items():
        span = abs(order.index(b) - order.index(a))
        depth = 22.0 + 36.0 * span
        deepest = max(deepest, depth)
        # Arcs of one modality start apart, so that their labels do not overlap.
        x1, x2 = lefts[a] + _TILE / 2 + 8, lefts[b] + _TILE / 2 - 8
        control = floor + depth * 4 / 3 - 8
        path = f"M{x1} {floor} C{x1} {control} {x2} {control} {x2} {floor}"
        stroke = 1.5 + 5 * float(np.sqrt(n / largest))
        # The lowest point of the curve is at three quarters of the height of its control points; the label is below it.
        below = floor + 0.75 * (control - floor) + stroke / 2 + 10
        found.append(Bridge(path, (x1 + x2) / 2, below, n, a, b, stroke))
    return tuple(found), deepest + 14 if found else 4


def _curve(history: pd.DataFrame, term: str, best: int | None) -> Curve:
    train = history[term].to_numpy(dtype=np.float64)
    key = f"val_{term}"
    held = history[key].to_numpy(dtype=np.float64) if key in history else np.full(len(train), np.nan)
    # The first epochs would flatten the rest of the curve; the figure clips them.
    skipped = len(train) // 20
    both = np.concatenate([train[skipped:], held[skipped:]])
    both = both[np.isfinite(both)]
    positive = len(both) > 0 and both.min() > 0 and np.nanmin(train) > 0
    logarithmic = bool(positive and term != "learning_rate" and both.max() > _LOG_ABOVE * both.min())
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    if logarithmic:
        low, high = np.log10(low), np.log10(high)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    floor = _HEIGHT - _BOTTOM
    x = _LEFT + np.arange(len(train)) * (_WIDTH - _LEFT - 10) / max(1, len(train) - 1)

    def line(values: NDArray[np.float64]) -> str:
        with np.errstate(invalid="ignore", divide="ignore"):
            at = np.log10(values) if logarithmic else values
        y = floor - (at - low) / (high - low) * (floor - _HEAD)
        y = np.clip(y, -2 * _HEIGHT, 2 * _HEIGHT)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))

    marks = np.linspace(low, high, 3)
    ticks = tuple(
        (float(floor - (m - low) / (high - low) * (floor - _HEAD)), short(float(10**m if logarithmic else m)))
        for m in marks
    )
    return Curve(
        name=term,
        train=line(train),
        held_out=line(held),
        ticks=ticks,
        best=None if best is None or best >= len(x) else float(x[best]),
        last=(short(float(train[-1])), short(float(held[-1])) if np.isfinite(held[-1]) else ""),
        n_epochs=len(train),
        logarithmic=logarithmic,
        skipped=skipped,
    )


def short(value: float) -> str:
    """Write a number in few characters."""
    if not np.isfinite(value):
        return "–"
    if value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.1e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
