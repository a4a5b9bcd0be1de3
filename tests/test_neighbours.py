"""Nearest neighbours, exact and approximate, against all distances."""

from __future__ import annotations

import os
import sys
import types

import numpy as np
import pytest

from midas import metrics, neighbours
from midas.neighbours import Index, squared_distances

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(400, 4)).astype(np.float32)
QUERIES = RNG.normal(size=(30, 4)).astype(np.float32)


def brute(k: int) -> tuple[np.ndarray, np.ndarray]:
    distance = np.sqrt(((QUERIES[:, None] - POINTS[None]) ** 2).sum(-1))
    at = np.argsort(distance, axis=1)[:, :k]
    return np.take_along_axis(distance, at, 1), at


def test_exact() -> None:
    distance, at = Index(POINTS).find(QUERIES, 7)
    expected = brute(7)
    np.testing.assert_allclose(distance, expected[0], rtol=1e-4)
    np.testing.assert_array_equal(at, expected[1])


def test_fewer_points_than_asked_for() -> None:
    distance, at = Index(POINTS[:3]).find(QUERIES, 11)
    assert distance.shape == at.shape == (30, 3)


def test_many_points_go_to_the_approximate_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own answers are not ours to test, and compiling it takes minutes: the order of its results is."""

    class Approximate:
        def __init__(self, points: np.ndarray, **options: object) -> None:
            assert len(points) == 400
            assert options["random_state"] == 3

        def prepare(self) -> None:
            pass

        def query(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            assert queries is QUERIES
            distance, at = brute(k)
            return at.astype(np.int32), distance.astype(np.float32)

    monkeypatch.setitem(sys.modules, "pynndescent", types.SimpleNamespace(NNDescent=Approximate))
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 100)
    distance, at = Index(POINTS, seed=3).find(QUERIES, 7)
    np.testing.assert_allclose(distance, brute(7)[0], rtol=1e-5)
    np.testing.assert_array_equal(at, brute(7)[1])


def test_neighbours_of_the_points_themselves() -> None:
    distance, at = Index(POINTS).of_points(5)
    assert distance.shape == (400, 5)
    np.testing.assert_array_equal(at[:, 0], np.arange(400))


def test_squared_distances() -> None:
    a, b = POINTS[:20].astype(float), POINTS[10:40].astype(float)
    expected = ((a[:, None] - b[None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(a, b), expected, atol=1e-12)
    assert squared_distances(a, a).min() >= 0  # also of points that are the same


@pytest.mark.skipif(
    not os.environ.get("MIDAS_SLOW_TESTS"), reason="set MIDAS_SLOW_TESTS=1: compiling takes half a minute"
)
def test_the_approximate_index_itself() -> None:
    points = np.random.default_rng(1).normal(size=(30_500, 2)).astype(np.float32)
    some = np.arange(0, 30_500, 100)
    distance = np.sqrt(((points[some, None] - points[None]) ** 2).sum(-1))
    nearest = np.argsort(distance, axis=1)[:, :15]
    graph = metrics.neighbours(points, 15)
    np.testing.assert_array_equal(graph.indices[:, 0], np.arange(30_500))
    assert (np.diff(graph.distances) >= 0).all()
    queried = Index(points).find(points[some], 15)[1]
    for found in (graph.indices[some], queried):
        shared = [len(set(a) & set(b)) for a, b in zip(found, nearest, strict=True)]
        assert np.mean(shared) / 15 > 0.95
