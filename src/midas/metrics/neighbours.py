"""Nearest neighbours: lists of them, and the weighted graph that clustering and diffusion work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from midas.neighbours import Index

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Neighbours:
    """The nearest neighbours of each cell, itself first.

    Attributes
    ----------
    indices, distances
        `(n_cells, k)`, by growing distance.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.indices.shape != self.distances.shape or self.indices.ndim != 2:
            msg = f"Expected indices and distances of one shape, found {self.indices.shape} and {self.distances.shape}."
            raise ValueError(msg)

    @property
    def n_cells(self) -> int:
        """Number of cells.

        Examples
        --------
        >>> midas.metrics.neighbours(np.eye(20), k=5).n_cells
        20
        """
        return len(self.indices)

    @property
    def k(self) -> int:
        """Number of neighbours, the cell itself among them.

        Examples
        --------
        >>> midas.metrics.neighbours(np.eye(20), k=5).k
        5
        """
        return int(self.indices.shape[1])

    def first(self, k: int) -> Neighbours:
        """The nearest `k`, or all if there are fewer.

        Examples
        --------
        >>> midas.metrics.neighbours(np.eye(20), k=5).first(3).k
        3
        """
        return Neighbours(self.indices[:, :k], self.distances[:, :k])

    def adjacency(self) -> sp.csr_matrix:
        """1 from each cell to each neighbour, itself among them, `(n_cells, n_cells)`.

        Examples
        --------
        >>> midas.metrics.neighbours(np.eye(20), k=5).adjacency().shape
        (20, 20)
        """
        starts = np.arange(0, self.indices.size + 1, self.k)
        ones = np.ones(self.indices.size)
        return sp.csr_matrix((ones, self.indices.reshape(-1), starts), shape=(self.n_cells, self.n_cells))

    def connectivities(self) -> sp.csr_matrix:
        r"""Symmetric weights as UMAP defines them (McInnes et al. 2018).

        .. math:: a_{ij} = \exp\left(-\frac{\max(d_{ij} - \rho_i, 0)}{\sigma_i}\right), \qquad w = a + a^T - a \circ a^T

        with the distance :math:`\rho_i` of the nearest neighbour and :math:`\sigma_i` such that
        :math:`\sum_j a_{ij} = \log_2 k`.

        Examples
        --------
        >>> midas.metrics.neighbours(np.eye(20), k=5).connectivities().shape
        (20, 20)
        """
        distance, own = self.distances, self.indices == np.arange(self.n_cells)[:, None]
        positive = np.where(distance > 0, distance, np.inf)
        nearest = positive.min(1, keepdims=True)
        beyond = np.maximum(distance - np.where(np.isfinite(nearest), nearest, 0.0), 0.0)
        wanted = np.log2(self.k)
        low, high, sigma = (np.full((self.n_cells, 1), v) for v in (0.0, np.inf, 1.0))
        for _ in range(64):
            found = np.exp(-beyond[:, 1:] / sigma).sum(1, keepdims=True)
            high, low = np.where(found > wanted, sigma, high), np.where(found > wanted, low, sigma)
            sigma = np.where(np.isinf(high), sigma * 2, (low + high) / 2)
        floor = 1e-3 * np.where(np.isfinite(nearest), distance.mean(1, keepdims=True), distance.mean())
        weight = np.where(own, 0.0, np.exp(-beyond / np.maximum(np.maximum(sigma, floor), 1e-300)))
        a = self.adjacency()
        a.data = weight.reshape(-1)
        a.eliminate_zeros()
        return sp.csr_matrix(a + a.T - a.multiply(a.T))


def neighbours(x: ArrayLike, k: int = 90, *, seed: int = 0) -> Neighbours:
    """Find the `k` nearest cells of each cell by Euclidean distance, itself first; all cells if there are fewer.

    Exact up to 30,000 cells, by pynndescent beyond.

    Examples
    --------
    >>> graph = midas.metrics.neighbours(np.random.default_rng(0).normal(size=(100, 3)), k=10)
    >>> graph.n_cells, graph.k
    (100, 10)
    """
    points = np.asarray(x, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        msg = f"Expected finite numbers, cells x dimensions, found shape {points.shape} or values that are not finite."
        raise ValueError(msg)
    return _self_first(*Index(points, seed=seed).of_points(k))


def _self_first(distances: NDArray[np.float64], indices: NDArray[np.int64]) -> Neighbours:
    """Put each cell first among those at distance 0, in place of the last neighbour where search left it out."""
    own = np.arange(len(indices))
    at = indices == own[:, None]
    place = np.where(at.any(1), at.argmax(1), indices.shape[1] - 1)
    order = np.argsort(np.arange(indices.shape[1])[None, :] != place[:, None], axis=1, kind="stable")
    indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
    indices[:, 0], distances[:, 0] = own, 0.0
    return Neighbours(indices, distances)
