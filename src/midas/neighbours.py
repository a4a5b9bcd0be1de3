"""Nearest neighbours: exact for small data, approximate for large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midas.expect import sklearn_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXACT_UP_TO: Final = 30_000
"""Number of points up to which brute force is as fast as an approximate index, including build and compile time."""


class Index:
    """Index for nearest-neighbour queries.

    Parameters
    ----------
    points
        `(n, d)`, finite.
    seed
        Random seed of the approximate index.
    """

    def __init__(self, points: NDArray[Any], *, seed: int = 0) -> None:
        self.n = len(points)
        self._points, self._seed = points, seed
        self._exact = self.n <= EXACT_UP_TO
        self._index: Any = None

    def find(self, queries: NDArray[Any], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find distances and indices of the `k` nearest points (all if there are fewer), each `(n_queries, k)`."""
        k = min(k, self.n)
        if self._index is None:
            self._index = self._built(30)
            if not self._exact:
                self._index.prepare()
        if self._exact:
            distance, at = self._index.kneighbors(queries, n_neighbors=k)
        else:
            at, distance = self._index.query(queries, k=k)
        return np.asarray(distance, dtype=np.float64), np.asarray(at, dtype=np.int64)

    def of_points(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find distances and indices of the `k` nearest points of each point, `(n, k)`, usually including itself."""
        if self._exact:
            return self.find(self._points, k)
        at, distance = self._built(min(k, self.n)).neighbor_graph
        return np.asarray(distance, dtype=np.float64), np.asarray(at, dtype=np.int64)

    def _built(self, k: int) -> Any:  # noqa: ANN401 - of a library
        if self._exact:
            from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

            return NearestNeighbors(algorithm="brute").fit(self._points)
        from pynndescent import NNDescent  # noqa: PLC0415 - slow to import, and small data do not need it

        points = np.asarray(self._points, dtype=np.float32)
        return NNDescent(points, n_neighbors=k, random_state=sklearn_seed(self._seed), n_jobs=1)


def squared_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance of each row of `a` to each row of `b`, `(len(a), len(b))`."""
    found: NDArray[np.float64] = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    return np.maximum(found, 0.0)
