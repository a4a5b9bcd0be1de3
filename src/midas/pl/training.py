"""Training curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.pl.figure import bare, panels, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from midas.model import MIDAS

_EPOCH, _HELD_OUT = "epoch", "val_"
_NOT_TERMS = {_EPOCH, "seconds"}


def history(
    model: MIDAS | pd.DataFrame,
    *,
    terms: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> list[Axes]:
    """Draw training curves, one panel for each term of the objective: training cells and held-out cells.

    Parameters
    ----------
    model
        A trained model, or its :attr:`midas.MIDAS.history`.
    terms
        Columns of the history; None for all.
    ax
        Axes to draw in, for a single term.
    save
        File to write the figure to.

    Returns
    -------
    The axes, one per term.

    Examples
    --------
    >>> import midas, pandas as pd
    >>> table = pd.DataFrame({"epoch": [0, 1, 2], "total": [9.0, 5.0, 4.0], "val_total": [9.5, 6.0, 5.5]})
    >>> axes = midas.pl.history(table)
    >>> [text.get_text() for text in axes[0].get_legend().get_texts()]
    ['training', 'held out']
    """
    table = model if isinstance(model, pd.DataFrame) else model.history
    if not len(table):
        raise ValueError("Expected the history of a training, found an empty one: call fit() first.")
    there = [c for c in table.columns if c not in _NOT_TERMS and not c.startswith(_HELD_OUT)]
    there.sort(key=lambda c: c != "total")
    wanted = there if terms is None else [terms] if isinstance(terms, str) else list(terms)
    unknown = [name for name in wanted if name not in there]
    if unknown:
        msg = f"Expected terms out of {', '.join(there)}, found {', '.join(unknown)}."
        raise KeyError(msg)
    axes = panels(len(wanted), ax, (3.2, 2.5))
    # The history counts epochs from 0; the progress bar, the report and this plot from 1.
    epoch = (table[_EPOCH] if _EPOCH in table else pd.Series(np.arange(len(table)))) + 1
    for name, panel in zip(wanted, axes, strict=True):
        _curve(panel, epoch, table, name)
    with_held_out = [a for a, name in zip(axes, wanted, strict=True) if f"{_HELD_OUT}{name}" in table]
    if with_held_out:
        with_held_out[0].legend(frameon=False, fontsize=8)
    write(axes[0], save)
    return axes


def _curve(ax: Axes, epoch: pd.Series, table: pd.DataFrame, name: str) -> None:
    marker = "." if len(table) < 3 else None
    ax.plot(epoch, table[name], color="C0", lw=1.4, marker=marker, label="training")
    held = f"{_HELD_OUT}{name}"
    values = table[name].dropna().to_numpy(dtype=float)
    if held in table:
        ax.plot(epoch, table[held], color="C1", lw=1.4, marker=marker, label="held out")
        values = np.concatenate([values, table[held].dropna().to_numpy(dtype=float)])
    # The first epochs would flatten the rest of the curve.
    if len(values) and values.min() > 0 and values.max() > 20 * values.min():
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(lambda *_: "")  # labels of minor ticks collide
    ax.set_title(name.replace("_", " "), fontsize=10)
    ax.set_xlabel("epoch", fontsize=9)
    ax.tick_params(which="both", labelsize=8)
    bare(ax)
