"""Shared by all plots: axes, saving, colours, group names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas.columns import as_text, group_names
from midas.extras import needs
from midas.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

GREY = "#c8c8c8"  # reserved for cells without a value
NO_VALUE = "no label"  # legend entry of such cells; "unknown" occurs as a label in data
LINE = "#444444"
MAX_LEGEND = 54  # more groups than this cannot be told apart by colour
_PER_COLUMN = 18
_PALEST = 0.05  # channel difference, from 0 to 1, below which a colour counts as grey


def plotter() -> Any:  # noqa: ANN401 - the module matplotlib.pyplot
    """Import pyplot, which is optional and slow to import."""
    with needs("matplotlib", "plots"):
        import matplotlib.pyplot as plt  # noqa: PLC0415
    return plt


def axes_for(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return the given axes, or create new ones."""
    if ax is not None:
        return ax
    axes: Axes = plotter().subplots(figsize=size, layout="constrained")[1]
    return axes


def panels(n: int, ax: Axes | None, size: tuple[float, float], columns: int = 4) -> list[Axes]:
    """Create axes for `n` panels; `ax` is enough for one."""
    if n == 0:
        raise ValueError("Expected at least one thing to draw, found none.")
    if ax is not None:
        if n > 1:
            msg = f"Expected one panel for ax=, found {n}. Draw them one by one, or leave ax out."
            raise ValueError(msg)
        return [ax]
    columns = min(n, columns)
    rows = -(-n // columns)
    grid = plotter().subplots(
        rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False, layout="constrained"
    )[1]
    for spare in grid.ravel()[n:]:
        spare.axis("off")
    return list(grid.ravel()[:n])


def write(ax: Axes, save: str | Path | None) -> None:
    """Save the figure of the axes atomically; missing folders are created."""
    if save is None:
        return
    figure: Any = ax.figure
    target = Path(save)
    if not target.suffix:
        # Matplotlib would append the format's suffix to the temporary name, and the file would not be found.
        target = target.with_name(f"{target.name.rstrip('.')}.{figure.canvas.get_default_filetype()}")
    with replacing(target) as scratch:
        figure.savefig(scratch, dpi=150, bbox_inches="tight")


def with_missing(palette: dict[str, Any], missing: bool) -> dict[str, Any]:  # noqa: FBT001 - said by its name
    """Add the cells without a value to the groups of a legend."""
    return {**palette, NO_VALUE: GREY} if missing else palette


def names_of(values: pd.Series | ArrayLike) -> tuple[NDArray[np.object_], list[str]]:
    """Group of each cell as text, None where unknown, and the groups in order (of categories, else sorted)."""
    series = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    return as_text(series), group_names(series)


def colours(n: int) -> list[Any]:
    """Colours of `n` groups, none of them grey; they repeat after 54."""
    import matplotlib as mpl  # noqa: PLC0415

    # Saturated colours come before their pale variants; the first ones are those of tab10.
    wheel = [mpl.colormaps["tab20"](i) for i in (*range(0, 20, 2), *range(1, 20, 2))]
    wheel += [mpl.colormaps[name](i) for name in ("tab20b", "tab20c") for i in range(20)]
    wheel = [colour for colour in wheel if max(colour[:3]) - min(colour[:3]) > _PALEST]
    return [wheel[i % len(wheel)] for i in range(n)]


def palette_of(uns: Any, column: str, values: pd.Series) -> dict[str, Any]:  # noqa: ANN401 - uns of a data object
    """Colour of each group: those scanpy stored in ``uns["<column>_colors"]``, if present and long enough."""
    names = names_of(values)[1]
    kept = uns.get(f"{column}_colors") if hasattr(uns, "get") else None
    # Scanpy stores a colour per category, used or not, and converts text to sorted categories.
    categorical = isinstance(values.dtype, pd.CategoricalDtype)
    categories = as_text(pd.Series(values.cat.categories)).tolist() if categorical else sorted(names)
    if kept is None or len(kept) < len(categories):
        return dict(zip(names, colours(len(names)), strict=True))
    own = dict(zip(categories, kept, strict=False))
    return {name: own[name] for name in names}


def legend_size(names: Sequence[str]) -> float:
    """Width in inches that the legend of these groups needs beside a panel."""
    if not names or len(names) > MAX_LEGEND:
        return 0.0
    longest = max(map(len, names))
    return -(-len(names) // _PER_COLUMN) * (0.35 + 0.075 * min(longest, 40))


def legend(ax: Axes, palette: dict[str, Any], *, title: str | None = None) -> None:
    """Put a legend beside the axes, in as many columns as needed; none if colours cannot distinguish the groups."""
    if not palette or len(palette) > MAX_LEGEND:
        return
    from matplotlib.lines import Line2D  # noqa: PLC0415

    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=colour, label=name)
        for name, colour in palette.items()
    ]
    ax.legend(
        handles=handles,
        title=title,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        fontsize=8,
        ncols=-(-len(handles) // _PER_COLUMN),
        columnspacing=1,
        handletextpad=0.3,
    )


def bare(ax: Axes) -> None:
    """Remove the top and right spines."""
    ax.spines[["top", "right"]].set_visible(False)


def shorten(names: Iterable[str], most: int = 28) -> list[str]:
    """Cut long names for tick labels."""
    return [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]
