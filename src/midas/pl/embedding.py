"""The embedding in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas import keys

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData
    from numpy.typing import NDArray

_MAX_LEGEND = 20


def umap(
    mdata: MuData | AnnData,
    color: Sequence[str],
    *,
    basis: str = keys.LATENT,
    seed: int = 0,
    save: str | Path | None = None,
) -> list[Axes]:
    """Draw a UMAP of an embedding, one panel per column of obs.

    Parameters
    ----------
    mdata
        With ``obsm[basis]``. The coordinates are kept in ``obsm["X_midas_umap"]`` (or the like) and used again.
    color
        Columns of obs; numbers get a colour scale, everything else a legend.
    basis
        Which embedding.
    seed
        Of the layout.
    save
        File to write the figure to.

    Returns
    -------
    The axes, one per column.
    """
    import matplotlib.pyplot as plt  # noqa: PLC0415 - optional, and slow to import

    missing = [name for name in color if name not in mdata.obs.columns]
    if missing or basis not in mdata.obsm:
        wanted = f"columns {', '.join(missing)} in obs" if missing else f"an embedding {basis!r} in obsm"
        there = ", ".join(map(str, mdata.obs.columns if missing else mdata.obsm.keys()))
        msg = f"Expected {wanted}, found: {there or 'none'}."
        raise KeyError(msg)
    xy = _layout(mdata, basis, seed)
    figure, axes = plt.subplots(1, len(color), figsize=(4.6 * len(color), 4), squeeze=False, layout="constrained")
    # Drawn in random order, so that no group lies on top of the others.
    order = np.random.default_rng(seed).permutation(len(xy))
    for name, ax in zip(color, axes[0], strict=True):
        _panel(ax, xy[order], mdata.obs[name].iloc[order], name)
    if save is not None:
        figure.savefig(save, dpi=150)
    return list(axes[0])


def _layout(mdata: MuData | AnnData, basis: str, seed: int) -> NDArray[np.float32]:
    key = f"{basis}_umap"
    if key not in mdata.obsm:
        import umap as umap_learn  # noqa: PLC0415 - optional, and slow to import

        z = np.asarray(mdata.obsm[basis])
        known = np.isfinite(z).all(1)
        xy = np.full((len(z), 2), np.nan, dtype=np.float32)
        reducer = umap_learn.UMAP(n_neighbors=min(30, int(known.sum()) - 1), min_dist=0.3, random_state=seed, n_jobs=1)
        xy[known] = reducer.fit_transform(z[known])
        mdata.obsm[key] = xy
    found: NDArray[np.float32] = np.asarray(mdata.obsm[key])
    return found


def _panel(ax: Any, xy: NDArray[np.float32], values: pd.Series, title: str) -> None:  # noqa: ANN401 - an Axes
    size = float(np.clip(30_000 / max(1, len(xy)), 1, 12))
    style = {"s": size, "linewidths": 0, "rasterized": True}
    if pd.api.types.is_numeric_dtype(values):
        ax.scatter(*xy[values.isna()].T, color="lightgrey", **style)
        dots = ax.scatter(*xy[values.notna()].T, c=values.dropna(), cmap="viridis", **style)
        ax.figure.colorbar(dots, ax=ax, shrink=0.7)
    else:
        categories = sorted(values.astype(str).unique())
        palette = _palette(len(categories))
        codes = pd.Categorical(values.astype(str), categories=categories).codes
        ax.scatter(*xy.T, c=palette[codes], **style)
        if len(categories) <= _MAX_LEGEND:
            handles = [ax.scatter([], [], color=c, s=25, label=n) for c, n in zip(palette, categories, strict=True)]
            ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    ax.set(title=title, xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")


def _palette(n: int) -> NDArray[np.float64]:
    import matplotlib as mpl  # noqa: PLC0415

    colours: NDArray[np.float64] = np.asarray(mpl.colormaps["tab20" if n > 10 else "tab10"](np.arange(n) % 20))
    return colours
