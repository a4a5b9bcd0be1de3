"""Sample and lay out the cells to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midas.plane import umap_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Minimum number of cells kept per group, if it has them, so that rare types are not lost in the sample.
_LEAST = 20
# With fewer cells than this, a neighbourhood graph is not worth a UMAP.
_FEW = 15


def stratified(strata: Sequence[NDArray[np.int64]], n: int, seed: int) -> NDArray[np.int64]:
    """Draw `n` cells in ascending order, with each combination of `strata` in proportion, except for the rarest.

    Parameters
    ----------
    strata
        Codes, each `(n_cells,)`.
    """
    table = np.stack(strata, axis=1)
    if len(table) <= n:
        return np.arange(len(table), dtype=np.int64)
    _, group = np.unique(table, axis=0, return_inverse=True)
    group = group.reshape(-1)
    sizes = np.bincount(group)
    least = np.minimum(sizes, _LEAST)
    if least.sum() > n:
        least = np.zeros_like(sizes)
    left = sizes - least
    # Largest remainders: the shares are whole numbers and sum to n.
    exact = least + left * ((n - least.sum()) / left.sum())
    quota = np.floor(exact).astype(np.int64)
    short = n - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:short]] += 1
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(group == g))[: quota[g]] for g in range(len(sizes))]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def plane(z: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], str]:
    """Lay cells out in two dimensions.

    Returns
    -------
    `(n_cells, 2)`, and the name of the method: UMAP, or principal components if there are only a few cells.
    """
    if len(z) < _FEW:
        centred = z - z.mean(0) if len(z) else z
        if len(z) < 3 or z.shape[1] < 2:
            flat = np.zeros((len(z), 2), dtype=np.float32)
            flat[:, 0] = np.arange(len(z))
            return flat, "position"
        left, size, _ = np.linalg.svd(centred, full_matrices=False)
        return np.asarray(left[:, :2] * size[:2], dtype=np.float32), "principal components"
    return umap_of(z, seed), "UMAP"
