"""Imputed against measured counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from sklearn.metrics import roc_auc_score

from midas import keys
from midas.draw import at_most
from midas.pl.figure import LINE, axes_for, bare, panels, write
from midas.tl.inputs import known_names, panels_of, values_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_MAX_VALUES = 2_000_000


def imputed(
    adata: AnnData,
    features: str | Sequence[str] | None = None,
    *,
    layer: str = keys.IMPUTED,
    raw: str | None = None,
    batch_key: str | None = "batch",
    seed: int = 0,
    ax: Axes | None = None,
    save: str | Path | None = None,
) -> list[Axes]:
    """Draw imputed against measured values of the same cells and features, with Pearson r of their log1p.

    For binary data (accessibility), the imputed probabilities of zeros and ones are drawn, with the area under the ROC curve.
    Unmeasured values are left out.

    Parameters
    ----------
    adata
        One modality with counts and a layer of imputed values, as stored by :meth:`midas.MIDAS.annotate`.
    features
        One panel per feature; None for a single panel with all features.
    layer, raw
        Layers of imputed and measured values; None for X.
    batch_key
        Column of obs with the batches named in ``var["measured_<batch>"]``.
    seed
        Seed of the choice of values; at most two million are drawn.
    ax
        Axes to draw in, for a single panel.
    save
        File to write the figure to.

    Returns
    -------
    The axes.

    Examples
    --------
    >>> import anndata, midas, numpy as np
    >>> rate = np.random.default_rng(0).gamma(2, 2, (50, 4))
    >>> adata = anndata.AnnData(np.random.default_rng(1).poisson(rate).astype("f4"), layers={"imputed": rate})
    >>> midas.pl.imputed(adata)[0].get_title()
    'all 4 features: r = 0.77'
    """
    wanted = None if features is None else [features] if isinstance(features, str) else list(features)
    known_names(adata.var_names, wanted or [], "features")
    before, after = values_of(adata, raw), values_of(adata, layer)
    masks = panels_of(adata, batch_key)
    measured = masks.measured[masks.batch]
    rng = np.random.default_rng(seed)
    if wanted is None:
        axes = [axes_for(ax, (4.6, 4))]
        _panel(axes[0], *_values(before, after, measured, rng), f"all {adata.n_vars:,} features")
    else:
        axes = panels(len(wanted), ax, (3.4, 3.1))
        for name, panel in zip(wanted, axes, strict=True):
            column = np.flatnonzero(adata.var_names == name)
            if len(column) > 1:
                msg = f"Expected one feature called {name!r}, found {len(column)}. Make them differ by var_names_make_unique()."
                raise KeyError(msg)
            _panel(panel, *_values(before[:, column], after[:, column], measured[:, column], rng), name)
    write(axes[0], save)
    return axes


def _values(
    before: Any,  # noqa: ANN401 - sparse or dense
    after: Any,  # noqa: ANN401 - sparse or dense
    measured: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs of measured and imputed values; whole rows are sampled, so that no matrix is made dense."""
    rows = max(1, _MAX_VALUES // max(1, before.shape[1]))
    if rows < before.shape[0]:
        chosen = at_most(before.shape[0], rows, rng)
        before, after, measured = before[chosen], after[chosen], measured[chosen]
    x, y = (np.asarray(v.toarray() if bool(sp.issparse(v)) else v, dtype=np.float64).ravel() for v in (before, after))
    both = measured.ravel() & np.isfinite(x) & np.isfinite(y)
    if not both.any():
        raise ValueError("Expected values that were both measured and imputed, found none.")
    return x[both], y[both]


def _panel(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], title: str) -> None:
    if set(np.unique(x)) <= {0.0, 1.0} and y.min() >= 0 and y.max() <= 1:
        _binary(ax, x, y, title)
    else:
        _counts(ax, np.log1p(x), np.log1p(np.maximum(y, 0)), title)
    bare(ax)


def _counts(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], title: str) -> None:
    top = float(max(np.quantile(x, 0.9999), np.quantile(y, 0.9999), 0.1)) * 1.03
    hexes = ax.hexbin(x, y, gridsize=50, bins="log", mincnt=1, cmap="viridis", linewidths=0.1, extent=(0, top, 0, top))
    ax.plot([0, top], [0, top], color=LINE, lw=0.8, ls="--")
    bar = ax.figure.colorbar(hexes, ax=ax, shrink=0.7)
    bar.set_label("values", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    r = np.corrcoef(x, y)[0, 1] if x.std() > 0 and y.std() > 0 else np.nan
    ax.set(xlabel="measured, log1p", ylabel="imputed, log1p", xlim=(0, top), ylim=(0, top))
    ax.set_title(f"{title}: r = {r:.2f}", fontsize=10)


def _binary(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], title: str) -> None:
    bins = np.linspace(0, float(np.quantile(y, 0.999)) or 1.0, 41).tolist()
    for value, label, colour in ((0.0, "closed", "C0"), (1.0, "accessible", "C1")):
        part = np.minimum(y[x == value], bins[-1])
        if len(part):
            shown = f"{label} (n = {len(part):,})"
            ax.hist(part, bins, weights=np.full(len(part), 1 / len(part)), color=colour, alpha=0.6, label=shown)
    area = f"{roc_auc_score(x, y):.2f}" if 0 < x.mean() < 1 else "not defined"
    ax.set(xlabel="imputed probability", ylabel="share of values")
    ax.set_title(f"{title}: AUROC = {area}", fontsize=10)
    ax.legend(frameon=False, fontsize=8, title="measured", title_fontsize=8)
