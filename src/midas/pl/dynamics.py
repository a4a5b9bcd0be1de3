"""Dimensions of the embedding along a process, and the features correlated with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas import keys
from midas.pl.figure import (
    GREY,
    axes_for,
    bare,
    legend,
    legend_size,
    names_of,
    palette_of,
    panels,
    shorten,
    with_missing,
    write,
)
from midas.plane import is_number
from midas.tl.inputs import column_of, embedding_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData
    from numpy.typing import NDArray

_ENDS = 0.02  # share of cells at each end where the curve is fitted but not drawn


def along_pseudotime(
    data: MuData | AnnData,
    dimensions: Sequence[int] | None = None,
    *,
    pseudotime: str = keys.PSEUDOTIME,
    color: str | None = None,
    basis: str = keys.LATENT,
    n: int = 4,
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> list[Axes]:
    """Draw dimensions of an embedding along pseudotime, with a smooth curve (a penalised cubic spline).

    Parameters
    ----------
    data
        Object with ``obsm[basis]`` and a column of pseudotime, such as that of :func:`midas.tl.pseudotime`.
    dimensions
        Dimensions, counted from 1; None for the `n` most correlated with pseudotime (Spearman).
    pseudotime
        Column of obs; cells without a value are left out.
    color
        Column of obs to colour cells by; numeric columns get a colour scale.
    basis
        Key of the embedding in obsm.
    n
        Number of dimensions to choose.
    ax
        Axes to draw in, for a single dimension.
    save
        File to write the figure to.

    Returns
    -------
    The axes, one per dimension.

    Examples
    --------
    >>> import anndata, midas, numpy as np, pandas as pd
    >>> rng, time = np.random.default_rng(0), np.linspace(0, 1, 80)
    >>> adata = anndata.AnnData(np.ones((80, 1), dtype="f4"), obs=pd.DataFrame({"time": time}, index=map(str, range(80))))
    >>> adata.obsm["X_midas"] = np.c_[rng.normal(size=80), np.sin(time)]
    >>> axes = midas.pl.along_pseudotime(adata, pseudotime="time", n=1)
    >>> axes[0].get_ylabel()
    'X_midas_2'
    """
    time = column_of(data, pseudotime).to_numpy(dtype=float)
    z = embedding_of(data, basis)
    there = np.isfinite(time) & np.isfinite(z).all(1)
    if there.sum() < 10:
        msg = f"Expected 10 cells or more with {pseudotime!r} and {basis!r}, found {int(there.sum())}."
        raise ValueError(msg)
    chosen = _strongest(time[there], z[there], n) if dimensions is None else [d - 1 for d in dimensions]
    if not all(0 <= d < z.shape[1] for d in chosen):
        msg = f"Expected dimensions from 1 to {z.shape[1]}, found {dimensions}."
        raise ValueError(msg)
    kind = None if color is None else column_of(data, color)[there]
    named = None if kind is None or is_number(kind) else kind
    names = [] if named is None else names_of(named)[1]
    axes = panels(len(chosen), ax, (3.4 + (legend_size(names) if len(chosen) == 1 else 0), 2.9))
    palette = {} if color is None or named is None else palette_of(data.uns, color, named)
    for d, panel in zip(chosen, axes, strict=True):
        _cells(panel, time[there], z[there, d], kind, palette)
        _curve(panel, time[there], z[there, d])
        panel.set(xlabel="pseudotime", ylabel=f"{basis}_{d + 1}")
        bare(panel)
    last_of_row = axes[min(len(axes), 4) - 1]
    legend(last_of_row, with_missing(palette, named is not None and bool(named.isna().any())))
    write(axes[0], save)
    return axes


def _cells(
    ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], kind: pd.Series | None, palette: dict[str, Any]
) -> None:
    """Draw cells, coloured by groups or by numbers; grey where the value is missing."""
    style: dict[str, Any] = {"s": 8, "linewidths": 0, "alpha": 0.7, "rasterized": True}
    if kind is None or not is_number(kind):
        text = None if kind is None else names_of(kind)[0]
        shades: Any = "C0" if text is None else [palette.get(str(name), GREY) for name in text]
        ax.scatter(x, y, c=shades, **style)
        return
    numbers = kind.to_numpy(dtype=float, na_value=np.nan)
    known = np.isfinite(numbers)
    ax.scatter(x[~known], y[~known], color=GREY, **style)
    if known.any():
        ax.figure.colorbar(ax.scatter(x[known], y[known], c=numbers[known], cmap="viridis", **style), ax=ax, shrink=0.7)


def smooth(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Penalised cubic spline of y on x, evaluated at new points; knots at quantiles, fewer if there are few cells."""
    from sklearn.linear_model import RidgeCV  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import SplineTransformer  # noqa: PLC0415

    knots = np.unique(np.quantile(x, np.linspace(0, 1, int(np.clip(len(x) // 20, 3, 7)))))
    if len(knots) < 3:
        return np.full(len(at), y.mean())
    model = make_pipeline(
        SplineTransformer(degree=3, knots=knots[:, None], extrapolation="linear"),
        RidgeCV(alphas=np.logspace(-3, 2, 11)),
    )
    fitted: NDArray[np.float64] = model.fit(x[:, None], y).predict(at[:, None])
    return fitted


def _curve(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    ends = np.quantile(x, [_ENDS, 1 - _ENDS])
    at = np.linspace(ends[0], ends[1], 100)
    ax.plot(at, smooth(x, y, at), color="white", lw=4)
    ax.plot(at, smooth(x, y, at), color="black", lw=2)


def _strongest(time: NDArray[np.float64], z: NDArray[np.float64], n: int) -> list[int]:
    r = pd.DataFrame(z).corrwith(pd.Series(time), method="spearman").abs().fillna(0)
    order: list[int] = r.sort_values(ascending=False, kind="stable").index[: min(n, z.shape[1])].tolist()
    return order


def correlation(
    r: pd.DataFrame,
    dimensions: Sequence[str] | None = None,
    *,
    n: int = 8,
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Draw a heat map of the features most correlated with dimensions of the embedding (Pearson r).

    Parameters
    ----------
    r
        Dimensions x features, as returned by :func:`midas.tl.latent_correlation`.
    dimensions
        Rows of `r`; None for the six with the largest correlations.
    n
        Number of features per dimension: half with the highest, half with the lowest r.
    ax
        Axes to draw in.
    save
        File to write the figure to.

    Returns
    -------
    The axes: a row per feature, a column per dimension.

    Examples
    --------
    >>> import midas, pandas as pd
    >>> r = pd.DataFrame([[0.9, -0.8, 0.1]], index=["X_midas_1"], columns=["HBB", "CD3E", "ACTB"])
    >>> [label.get_text() for label in midas.pl.correlation(r, n=2).get_yticklabels()]
    ['HBB', 'CD3E']
    """
    if dimensions is None:
        names = r.abs().max(axis=1).sort_values(ascending=False, kind="stable").index[:6].tolist()
    else:
        names = list(dimensions)
    unknown = [str(name) for name in names if name not in r.index]
    if unknown or not names:
        msg = f"Expected dimensions out of {', '.join(map(str, r.index))}, found {', '.join(unknown) or 'none'}."
        raise KeyError(msg)
    features = _features(r.loc[names], n)
    values = r.loc[names, features].T
    ax = axes_for(ax, (2.4 + 0.45 * len(names), 1.4 + 0.19 * len(features)))
    bound = float(np.nanmax(np.abs(values.to_numpy())))
    image: Any = ax.imshow(values, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
    ax.set_xticks(range(len(names)), [str(name) for name in names], rotation=90, fontsize=8)
    ax.set_yticks(range(len(features)), shorten(map(str, features)), fontsize=8)
    ax.tick_params(length=0)
    for at in np.arange(1, len(names)) - 0.5:
        ax.axvline(at, color="white", lw=1)
    ax.figure.colorbar(image, ax=ax, shrink=0.5, label="Pearson r")
    write(ax, save)
    return ax


def _features(r: pd.DataFrame, n: int) -> list[str]:
    """Strongest features of each dimension in turn, high ones before low ones, without repeats."""
    chosen: dict[str, None] = {}
    for _, row in r.iterrows():
        ranked = row.dropna().sort_values(ascending=False, kind="stable")
        top = ranked.index[: min(-(-n // 2), len(ranked))]
        low = ranked.index[max(len(top), len(ranked) - n // 2) :]
        chosen.update(dict.fromkeys([*top, *low]))
    if not chosen:
        raise ValueError("Expected features that vary, found none.")
    return list(chosen)
