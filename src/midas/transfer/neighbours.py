"""Nearest neighbours: exact where that is fast, approximate where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Points from which on an approximate index is faster, its building and compiling counted.
_EXACT_UP_TO = 30_000


class Neighbours:
    """An index of points in which nearest neighbours are looked up.

    Parameters
    ----------
    points
        `(n, d)`, finite.
    seed
        Of the approximate index.
    """

    def __init__(self, points: NDArray[np.float32], *, seed: int = 0) -> None:
        self.n = len(points)
        self._index: Any
        self._exact = self.n <= _EXACT_UP_TO
        if self._exact:
            from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

            self._index = NearestNeighbors(algorithm="brute").fit(points)
        else:
            from pynndescent import NNDescent  # noqa: PLC0415 - slow to import, and small data do not need it

            self._index = NNDescent(points, n_neighbors=30, random_state=seed, n_jobs=1)
            self._index.prepare()

    def find(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find distances and positions of the `k` nearest points (all if there are fewer), each `(n_queries, k)`."""
        k = min(k, self.n)
        if self._exact:
            distance, at = self._index.kneighbors(queries, n_neighbors=k)
        else:
            at, distance = self._index.query(queries, k=k)
        return np.asarray(distance, dtype=np.float64), np.asarray(at, dtype=np.int64)
