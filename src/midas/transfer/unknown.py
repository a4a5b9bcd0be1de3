"""Cut a novelty score with a two-component mixture, and test whether there are two components at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midas import keys
from midas.expect import sklearn_seed
from midas.neighbours import Index

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# Distance of the components' means in units of their spread (Ashman et al. 1994). Two Gaussians fitted to a flat score, which has
# no modes at all, are 3.5 apart; queries without an unknown type gave 0.5 to 3.5, those with one 4.4 to 8.
SEPARATION = 4.0
# Known types that one panel explains better than others also give two modes (4.2 apart), of similar size. So if more than this
# share would be unknown, the required separation is multiplied by this factor.
_MANY, _FARTHER = 1 / 3, 1.25
_FEWEST_CELLS = 30


@dataclass(frozen=True)
class Cut:
    """Threshold that separates unknown from known cells.

    Attributes
    ----------
    threshold
        Cells with scores above it are unknown; infinite if the scores have a single mode.
    separation
        Ashman's D of the two components; 0 if there are too few cells to estimate it.
    """

    threshold: float
    separation: float


def cut(score: NDArray[np.float64], *, separation: float = SEPARATION, seed: int = 0) -> Cut:
    """Fit two Gaussians to a score and cut where they cross, provided that they are well separated.

    Parameters
    ----------
    score
        `(n_cells,)`; NaN is left out.
    separation
        Minimum Ashman's D of the components, raised by a quarter if the upper one holds more than a third of the cells; 0 to cut
        wherever they cross between their means, as in He et al. 2024.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> score = np.r_[rng.normal(0.1, 0.05, 300), rng.normal(0.9, 0.05, 100)]
    >>> found = midas.transfer.cut(score)
    >>> 0.3 < found.threshold < 0.7
    True
    """
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415 - slow to import

    values = score[np.isfinite(score)]
    if len(values) < _FEWEST_CELLS or values.std() == 0:
        return Cut(np.inf, 0.0)
    fitted = GaussianMixture(2, n_init=3, random_state=sklearn_seed(seed)).fit(values[:, None])
    mean, variance = fitted.means_.ravel(), fitted.covariances_.ravel()
    apart = float(np.sqrt(2) * abs(mean[1] - mean[0]) / np.sqrt(variance.sum()))
    if apart < separation:
        return Cut(np.inf, apart)
    # Between the two means the upper component takes over once.
    grid = np.linspace(mean.min(), mean.max(), 1001)
    upper = fitted.predict_proba(grid[:, None])[:, int(mean.argmax())] > 0.5
    if upper[0] or not upper.any():  # one component is so wide or large that it is likelier throughout
        return Cut(np.inf, apart)
    threshold = float(grid[int(upper.argmax())])
    if (values > threshold).mean() > _MANY and apart < _FARTHER * separation:
        return Cut(np.inf, apart)
    return Cut(threshold, apart)


def share_of_query(cells: AnnData, *, n_neighbors: int = 100, seed: int = 0) -> NDArray[np.float64]:
    """Score each query cell by the share of query cells among its neighbours on a UMAP of both (He et al. 2024, Methods).

    Useful if reference and query are well mixed and of similar size; needs umap-learn.

    Parameters
    ----------
    cells
        Cells of a :class:`midas.transfer.Mapped`.
    n_neighbors
        Number of neighbours, equally weighted.

    Returns
    -------
    `(n_query,)`; NaN for cells without latents.

    Examples
    --------
    >>> mapped = midas.transfer.encode(model, midas.transfer.Query(query))
    >>> share = midas.transfer.share_of_query(mapped.cells)  # doctest: +SKIP
    """
    from umap import UMAP  # noqa: PLC0415 - optional, and slow to import

    latent = np.asarray(cells.obsm[keys.LATENT], dtype=np.float32)
    known = np.asarray(np.isfinite(latent).all(axis=1))
    is_query: NDArray[np.bool_] = (cells.obs[keys.ORIGIN] == "query").to_numpy(dtype=bool)
    layout = UMAP(
        n_neighbors=30, metric="cosine", min_dist=0.3, random_state=sklearn_seed(seed), n_jobs=1
    ).fit_transform(latent[known])
    from_query = is_query[known]
    _, at = Index(layout).find(layout[from_query], n_neighbors + 1)
    share = np.full(int(is_query.sum()), np.nan)
    share[known[is_query]] = (np.asarray(from_query)[at].sum(axis=1) - 1) / (at.shape[1] - 1)  # exclude the cell itself
    return share
