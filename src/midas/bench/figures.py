"""Figures of a benchmark: a heat map of scores, quality over seconds, memory. Needs the extra ``plots``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas.bench.table import lower_is_better
from midas.extras import needs
from midas.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figures(
    out: Path, summary: pd.DataFrame, scores: Sequence[str], overall: str, titles: Mapping[str, str]
) -> list[Path]:
    """Draw all figures of a summary into `out` and return their files.

    Parameters
    ----------
    out
        Folder.
    summary
        Result of :func:`midas.bench.table.summarise`.
    scores
        Columns of the heat map.
    overall
        The score that is plotted over seconds.
    titles
        Headings of scores.
    """
    _check_matplotlib()
    ran = summary[summary["seeds"] > 0]
    written = []
    for (dataset, task), part in ran.groupby(["dataset", "task"], sort=False):
        written.append(
            _saved(heat_table(part, scores, titles, f"{dataset}, {task}"), out / f"heat_{dataset}_{task}.png")
        )
    if overall in ran and ran[overall].notna().any():
        written.append(_saved(over_cost(ran, overall, titles), out / "quality_over_seconds.png"))
    if len(ran):
        written.append(_saved(memory(ran), out / "memory.png"))
    return written


def heat_table(part: pd.DataFrame, scores: Sequence[str], titles: Mapping[str, str], title: str) -> Figure:
    """Methods x scores of one task, best overall first; colours are scaled per column, numbers are unscaled."""
    import matplotlib.pyplot as plt  # noqa: PLC0415

    shown = [name for name in scores if name in part and part[name].notna().any()]
    rows = part.sort_values(shown[0], ascending=False, na_position="last") if shown else part
    figure, ax = plt.subplots(figsize=(2.4 + 0.85 * len(shown), 1.6 + 0.36 * len(rows)), layout="constrained")
    values = rows[shown].to_numpy(dtype=float)
    spread = np.ptp(np.where(np.isnan(values), np.nanmean(values, 0), values), axis=0) if shown else np.zeros(0)
    colour = (values - np.nanmin(values, 0)) / np.where(spread > 0, spread, 1)
    colour = np.where([lower_is_better(name) for name in shown], 1 - colour, colour)
    ax.imshow(colour, cmap="YlGnBu", vmin=0, vmax=1.3, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        text = "·" if np.isnan(value) else f"{value:.2f}"
        ax.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if colour[i, j] > 0.8 else "black")
    ax.set_xticks(range(len(shown)), [titles.get(name, name) for name in shown], rotation=40, ha="left", fontsize=8)
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(rows)), rows["method"].tolist(), fontsize=9)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(title, fontsize=10)
    return figure


def over_cost(ran: pd.DataFrame, overall: str, titles: Mapping[str, str]) -> Figure:
    """Quality over CPU seconds of the whole process, one panel per task."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter  # noqa: PLC0415

    groups = [(key, part) for key, part in ran.groupby(["dataset", "task"], sort=False) if part[overall].notna().any()]
    figure, axes = _panels(len(groups))
    colours = _colours(ran)
    for ax, ((dataset, task), part) in zip(axes, groups, strict=False):
        for _, row in part[part[overall].notna()].iterrows():
            ax.errorbar(
                row["cpu_s"],
                row[overall],
                yerr=_error(row, overall),
                fmt="o",
                color=colours[row["method"]],
                label=row["method"],
            )
        ax.set(xscale="log")
        # Plain numbers at 1, 2 and 5, as the range is usually a decade or less.
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(title=f"{dataset}, {task}")
        ax.set_xlabel("CPU seconds")
        ax.set_ylabel(titles.get(overall, overall))
    _legend(figure, axes)
    return figure


def memory(ran: pd.DataFrame) -> Figure:
    """Peak memory of each method's process, the largest over tasks."""
    import matplotlib.pyplot as plt  # noqa: PLC0415

    most = ran.groupby("method", sort=False)["rss_mb"].max().sort_values()
    figure, ax = plt.subplots(figsize=(5.5, 0.8 + 0.3 * len(most)), layout="constrained")
    bars = ax.barh(most.index.astype(str), most.to_numpy(), color="tab:blue")
    ax.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    ax.set_xlabel("peak resident memory, MB (largest over tasks)")
    ax.margins(x=0.12)
    return figure


def _error(row: pd.Series[Any], name: str) -> float | None:
    spread = row.get(f"{name} sd")
    return None if spread is None or pd.isna(spread) else float(spread)


def _panels(n: int) -> tuple[Figure, list[Any]]:
    import matplotlib.pyplot as plt  # noqa: PLC0415

    columns = min(n, 3)
    rows = -(-n // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns + 1.8, 2.9 * rows), layout="constrained", squeeze=False
    )
    flat = list(axes.ravel())
    for ax in flat[n:]:
        ax.set_visible(False)
    return figure, flat[:n]


def _colours(ran: pd.DataFrame) -> dict[str, Any]:
    import matplotlib as mpl  # noqa: PLC0415

    palette = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]
    return {name: palette[i % len(palette)] for i, name in enumerate(ran["method"].unique())}


def _legend(figure: Figure, axes: Sequence[Any]) -> None:
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8)


def _saved(figure: Figure, file: Path) -> Path:
    import matplotlib.pyplot as plt  # noqa: PLC0415

    with replacing(file) as scratch:
        figure.savefig(scratch, dpi=130)
    plt.close(figure)
    return file


def _check_matplotlib() -> None:
    with needs("matplotlib", "plots"):
        import matplotlib as mpl  # noqa: PLC0415
    mpl.use("Agg")
