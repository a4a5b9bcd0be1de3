"""Weighted nearest neighbours (Hao et al. 2021): one cell graph from several modalities, weighted per cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from midas.metrics.neighbours import Neighbours, neighbours

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ROWS_AT_ONCE = 256
_EPS = 1e-4


def weighted_neighbours(
    spaces: Sequence[ArrayLike], k: int = 90, *, k_local: int = 20, k_candidates: int = 200
) -> Neighbours:
    r"""Find nearest neighbours over all modalities jointly.

    With :math:`\theta_m` the affinity in modality `m` and weights :math:`w_m` of :func:`modality_weights`, the nearest cells of
    `i` are those `j` with the largest :math:`\sum_m w_m(i)\, \theta_m(i, j)`; the distance is
    :math:`\sqrt{(1 - \sum_m w_m \theta_m) / 2}`.

    Parameters
    ----------
    spaces
        Latents of the same cells in each modality, `(n_cells, dim)`. Rows are scaled to length 1.
    k
        Number of neighbours, including the cell itself.
    k_local
        Number of neighbours used to estimate the weights.
    k_candidates
        Number of nearest cells in each modality from which neighbours are chosen.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> spaces = [rng.normal(size=(100, 3)), rng.normal(size=(100, 5))]
    >>> midas.metrics.weighted_neighbours(spaces, k=10).indices.shape
    (100, 10)
    """
    unit = _unit(spaces)
    n = len(unit[0])
    near = [neighbours(x, min(max(k, k_candidates), n)) for x in unit]
    weights, sigma, nearest = _weights(unit, near, k_local)
    k = min(k, n)
    indices, affinity = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    for start in range(0, n, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, n))
        candidates = np.sort(np.concatenate([g.indices[rows] for g in near], axis=1), axis=1)
        total = np.zeros(candidates.shape)
        for m, x in enumerate(unit):
            cosine = np.take_along_axis(x[rows] @ x.T, candidates, 1)
            distance = np.sqrt(np.maximum(2 - 2 * cosine, 0))
            total += weights[rows, m, None] * _affinity(distance, nearest[m][rows, None], sigma[m][rows, None])
        total[:, 1:][candidates[:, 1:] == candidates[:, :-1]] = -1  # a candidate counts once
        total[(candidates == rows[:, None]) & (total >= 0)] = 2  # the cell itself comes first
        order = np.argsort(-total, axis=1, kind="stable")[:, :k]
        indices[rows] = np.take_along_axis(candidates, order, 1)
        affinity[rows] = np.take_along_axis(total, order, 1)
    distances = np.sqrt(np.maximum(1 - affinity, 0) / 2)
    return Neighbours(indices, distances)


def modality_weights(spaces: Sequence[ArrayLike], *, k_local: int = 20) -> NDArray[np.float64]:
    r"""Weight of each modality for each cell, `(n_cells, n_modalities)`; rows sum to 1.

    A cell is predicted in modality `m` as the mean of its neighbours of `m`, and of its neighbours of each other modality. With
    :math:`\theta_m(x, y) = \exp(-\max(\lVert x - y \rVert - d_1, 0) / (\sigma - d_1))`, where :math:`d_1` is the distance of the
    nearest cell and :math:`\sigma` the mean distance of the `k_local` cells with the smallest overlap of neighbours that is not
    zero, the weights are the softmax of :math:`\theta_m(\text{own}) / (\theta_m(\text{other}) + 10^{-4})`, at most 200; with more
    than two modalities of the mean over the others.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> spaces = [rng.normal(size=(100, 3)), rng.normal(size=(100, 5))]
    >>> midas.metrics.modality_weights(spaces).shape
    (100, 2)
    """
    unit = _unit(spaces)
    near = [neighbours(x, min(max(k_local, 2) + 1, len(x))) for x in unit]  # a cell is the first of its own
    return _weights(unit, near, k_local)[0]


def _weights(
    unit: list[NDArray[np.float64]], near: list[Neighbours], k_local: int
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Weights, and by modality sigma and the distance of the nearest cell."""
    local = [g.first(k_local + 1) for g in near]
    nearest = [np.where(g.distances > 0, g.distances, np.inf).min(1) for g in local]
    nearest = [np.where(np.isfinite(d), d, 0.0) for d in nearest]
    sigma = [_bandwidth(x, g.first(k_local)) for x, g in zip(unit, local, strict=True)]
    ratio = np.empty((len(unit[0]), len(unit)))
    for m, x in enumerate(unit):
        theta = []
        for g in local:
            predicted = x[g.indices[:, 1:]].mean(1)
            theta.append(_affinity(np.linalg.norm(x - predicted, axis=1), nearest[m], sigma[m]))
        others = [t for other, t in enumerate(theta) if other != m]
        cross = np.mean(others, axis=0) if others else theta[m]
        ratio[:, m] = np.clip(theta[m] / (cross + _EPS), 0, 200)
    power = np.exp(ratio - ratio.max(1, keepdims=True))
    return power / power.sum(1, keepdims=True), sigma, nearest


def _affinity(
    distance: NDArray[np.float64], nearest: NDArray[np.float64], sigma: NDArray[np.float64]
) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = np.exp(-np.maximum(distance - nearest, 0) / np.maximum(sigma - nearest, 1e-8))
    return scaled


def _bandwidth(x: NDArray[np.float64], graph: Neighbours) -> NDArray[np.float64]:
    """Mean distance to the k cells with the smallest non-zero overlap of neighbours with a cell, `(n_cells,)`."""
    adjacency = graph.adjacency()
    shared = (adjacency @ adjacency.T).tocsr()
    shared.setdiag(0)
    shared.eliminate_zeros()
    out = graph.distances[:, -1].copy()  # for cells that share no neighbours with any other
    for start in range(0, graph.n_cells, _ROWS_AT_ONCE):
        some = shared[start : start + _ROWS_AT_ONCE]
        sizes = np.diff(some.indptr)
        row = np.repeat(np.arange(len(sizes)), sizes)
        distance = np.linalg.norm(x[some.indices] - x[start + row], axis=1)
        # Sort by cell, then by shared neighbours, then farthest first; unit vectors are at most 2 apart.
        order = np.argsort(row * (graph.k + 2.0) + some.data - distance / 4)
        place = np.arange(len(row)) - np.repeat(some.indptr[:-1], sizes)
        kept = place < graph.k
        total = np.bincount(row[kept], weights=distance[order][kept], minlength=len(sizes))
        there = sizes > 0
        out[start : start + len(sizes)][there] = total[there] / np.minimum(sizes, graph.k)[there]
    return out


def _unit(spaces: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    arrays = [np.asarray(x, dtype=np.float64) for x in spaces]
    if not arrays or len({len(x) for x in arrays}) != 1:
        msg = f"Expected the same cells in every modality, found {[len(x) for x in arrays]} rows."
        raise ValueError(msg)
    return [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in arrays]
