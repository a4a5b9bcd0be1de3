"""The embedding in two dimensions, coloured by columns of obs or by features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mudata import MuData

from midas import keys
from midas.columns import all_columns
from midas.expect import sklearn_seed
from midas.pl.features import counts_of, measured_parts
from midas.pl.figure import (
    GREY,
    MAX_LEGEND,
    legend,
    legend_size,
    names_of,
    palette_of,
    panels,
    with_missing,
    write,
)
from midas.plane import is_number, umap_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MODALITIES = "modalities"


def umap(
    data: MuData | AnnData,
    color: str | Sequence[str],
    *,
    basis: str = keys.LATENT,
    batch_key: str | None = "batch",
    seed: int = 0,
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> list[Axes]:
    """Draw a UMAP of an embedding, one panel per column of obs or feature.

    Parameters
    ----------
    data
        Object with ``obsm[basis]``. The coordinates are cached in ``obsm["X_midas_umap"]`` (or the like) and reused while the
        embedding and the seed recorded in ``uns["midas_layouts"]`` are unchanged. Coordinates without a record there are used as
        they are.
    color
        Columns of obs, or of the modalities' obs; numeric columns get a colour scale, all others a legend. ``modalities`` is the
        combination of modalities that each cell has, unless obs has such a column. Colours in ``uns["<column>_colors"]`` are
        used. Any other name is a feature: ``rna:CD8A``, or ``CD8A`` if only one modality has it; log1p of its counts is drawn.
        Cells without a value, or whose batch did not measure the feature, are grey and drawn behind the others.
    basis
        Key of the embedding: ``X_midas`` for the biological state, ``X_midas_u`` for the technical noise.
    batch_key
        Column of obs with the batches named in ``var["measured_<batch>"]``.
    seed
        Seed of the layout.
    ax
        Axes to draw in, for a single column.
    save
        File to write the figure to.

    Returns
    -------
    The axes, one per column or feature.

    Examples
    --------
    >>> import anndata, midas, numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> obs = pd.DataFrame({"batch": ["a", "b"] * 20}, index=[f"cell{i}" for i in range(40)])
    >>> adata = anndata.AnnData(np.ones((40, 2), dtype="f4"), obs=obs, obsm={"X_midas": rng.normal(size=(40, 4))})
    >>> axes = midas.pl.umap(adata, "batch")
    >>> axes[0].get_title(), adata.obsm["X_midas_umap"].shape
    ('batch', (40, 2))
    """
    columns = _columns(data, color, basis, batch_key)
    return _draw(data, columns, _layout(data, basis, seed), ("UMAP 1", "UMAP 2"), seed, ax, save)


def embedding(
    data: MuData | AnnData,
    color: str | Sequence[str],
    *,
    basis: str = keys.TECHNICAL,
    batch_key: str | None = "batch",
    dimensions: tuple[int, int] = (1, 2),
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> list[Axes]:
    """Draw two dimensions of an embedding directly, one panel per column of obs or feature.

    The technical noise u has two dimensions by default, so this shows all of it.

    Parameters
    ----------
    data, color, basis, batch_key, ax, save
        As in :func:`umap`.
    dimensions
        The two dimensions, counted from 1.

    Returns
    -------
    The axes, one per column or feature.

    Examples
    --------
    >>> import anndata, midas, numpy as np, pandas as pd
    >>> obs = pd.DataFrame({"batch": ["a", "b"] * 20}, index=[f"cell{i}" for i in range(40)])
    >>> u = np.random.default_rng(0).normal(size=(40, 2))
    >>> adata = anndata.AnnData(np.ones((40, 2), dtype="f4"), obs=obs, obsm={"X_midas_u": u})
    >>> midas.pl.embedding(adata, "batch")[0].get_xlabel()
    'X_midas_u 1'
    """
    columns = _columns(data, color, basis, batch_key)
    z = np.asarray(data.obsm[basis])
    if not all(1 <= d <= z.shape[1] for d in dimensions):
        msg = f"Expected dimensions from 1 to {z.shape[1]}, found {dimensions}."
        raise ValueError(msg)
    labels = (f"{basis} {dimensions[0]}", f"{basis} {dimensions[1]}")
    return _draw(data, columns, z[:, [d - 1 for d in dimensions]], labels, 0, ax, save)


def _combinations(data: MuData | AnnData) -> pd.Series:
    """Modalities that each cell has, joined by ``+``; modalities with decoded counts are ignored."""
    if not isinstance(data, MuData):
        return pd.Series("all", index=data.obs_names)
    has = {name: data.obs_names.isin(part.obs_names) for name, part in measured_parts(data).items()}
    text = [
        "+".join(name for name, there in zip(has, row, strict=True) if there) for row in zip(*has.values(), strict=True)
    ]
    return pd.Series([name or np.nan for name in text], index=data.obs_names)


def _columns(
    data: MuData | AnnData, color: str | Sequence[str], basis: str, batch_key: str | None
) -> dict[str, pd.Series]:
    """Values of each panel, by its title."""
    if basis not in data.obsm:
        msg = f"Expected an embedding {basis!r} in obsm, found: {', '.join(map(str, data.obsm)) or 'none'}."
        raise KeyError(msg)
    found: dict[str, pd.Series] = {}
    # In a MuData without update(), the columns are in the modalities' obs.
    obs = all_columns(data).set_axis(data.obs_names)
    for name in [color] if isinstance(color, str) else color:
        if name in obs.columns:
            found[name] = obs[name]
        elif name == MODALITIES:
            found[name] = _combinations(data)
        else:
            values = counts_of(data, name, batch_key)
            # Negative values are not counts but scaled values, drawn as they are.
            found |= {name: values} if (values < 0).any() else {f"{name}, log1p": np.log1p(values)}
    return found


def layout(z: NDArray[Any], seed: int) -> NDArray[np.float32]:
    """UMAP coordinates, `(n_cells, 2)`; NaN for rows that are NaN."""
    known = np.isfinite(z).all(1)
    xy = np.full((len(z), 2), np.nan, dtype=np.float32)
    n = int(known.sum())
    if n < 3:
        msg = f"Expected 3 cells or more with an embedding, found {n}."
        raise ValueError(msg)
    xy[known] = umap_of(z[known], seed)
    return xy


def _layout(data: MuData | AnnData, basis: str, seed: int) -> NDArray[np.float32]:
    key = basis + keys.LAYOUT
    z, kept = np.asarray(data.obsm[basis]), data.uns.get(keys.LAYOUT_RECORDS, {})
    rows = pd.util.hash_pandas_object(pd.DataFrame(z.astype(np.float64)), index=False).to_numpy()
    made = kept.get(key)
    # Row by row, since some of the cells keep their positions.
    stale = made is not None and (int(made["seed"]) != sklearn_seed(seed) or not np.isin(rows, made["rows"]).all())
    if key not in data.obsm or stale:
        data.obsm[key] = layout(z, seed)
        data.uns[keys.LAYOUT_RECORDS] = {**kept, key: {"seed": sklearn_seed(seed), "rows": np.unique(rows)}}
    found: NDArray[np.float32] = np.asarray(data.obsm[key])
    return found


def _draw(
    data: MuData | AnnData,
    columns: dict[str, pd.Series],
    xy: NDArray[Any],
    labels: tuple[str, str],
    seed: int,
    ax: Axes | None,
    save: str | Path | None,
) -> list[Axes]:
    wide = [0.0 if is_number(v) else legend_size(names_of(v)[1]) for v in columns.values()]
    axes = panels(len(columns), ax, (4.0 + max(wide, default=0.0), 3.8))
    # Drawn in random order, so that no group lies on top of the others.
    order = np.random.default_rng(seed).permutation(np.flatnonzero(np.isfinite(xy).all(1)))
    for (name, values), panel in zip(columns.items(), axes, strict=True):
        palette = {} if is_number(values) else palette_of(data.uns, name, values)
        points(panel, xy[order], values.iloc[order], palette, legend_too=True)
        panel.set(title=name, xlabel=labels[0], ylabel=labels[1])
        if len(palette) > MAX_LEGEND:
            panel.set_title(f"{name} ({len(palette)} groups)")
    write(axes[0], save)
    return axes


def points(ax: Axes, xy: NDArray[Any], values: pd.Series, palette: dict[str, Any], *, legend_too: bool = False) -> None:
    """Draw cells, coloured by groups or by numbers; grey, and behind the others, where the value is missing."""
    size = float(np.clip(30_000 / max(1, len(xy)), 1, 12))
    style: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
    missing = values.isna().to_numpy()
    ax.scatter(xy[missing, 0], xy[missing, 1], color=GREY, **style)
    if is_number(values):
        dots = ax.scatter(xy[~missing, 0], xy[~missing, 1], c=values[~missing], cmap="viridis", **style)
        if legend_too:
            ax.figure.colorbar(dots, ax=ax, shrink=0.7)
    else:
        text, _ = names_of(values)
        ax.scatter(xy[~missing, 0], xy[~missing, 1], c=[palette[name] for name in text[~missing]], **style)
        if legend_too:
            legend(ax, with_missing(palette, bool(missing.any())))
    ax.set(xticks=[], yticks=[])
