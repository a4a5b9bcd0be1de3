"""Nearest neighbours, exact and approximate, against all distances."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from midas.transfer import neighbours
from midas.transfer.neighbours import Neighbours

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(400, 4)).astype(np.float32)
QUERIES = RNG.normal(size=(30, 4)).astype(np.float32)


def brute(k: int) -> tuple[np.ndarray, np.ndarray]:
    distance = np.sqrt(((QUERIES[:, None] - POINTS[None]) ** 2).sum(-1))
    at = np.argsort(distance, axis=1)[:, :k]
    return np.take_along_axis(distance, at, 1), at


def test_exact() -> None:
    distance, at = Neighbours(POINTS).find(QUERIES, 7)
    expected = brute(7)
    np.testing.assert_allclose(distance, expected[0], rtol=1e-4)
    np.testing.assert_array_equal(at, expected[1])


def test_fewer_points_than_asked_for() -> None:
    distance, at = Neighbours(POINTS[:3]).find(QUERIES, 11)
    assert distance.shape == at.shape == (30, 3)


def test_many_points_go_to_the_approximate_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own answers are not ours to test, and compiling it takes minutes: the order of its results is."""

    class Index:
        def __init__(self, points: np.ndarray, **options: object) -> None:
            assert len(points) == 400
            assert options["random_state"] == 3

        def prepare(self) -> None:
            pass

        def query(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            assert queries is QUERIES
            distance, at = brute(k)
            return at.astype(np.int32), distance.astype(np.float32)

    monkeypatch.setitem(sys.modules, "pynndescent", types.SimpleNamespace(NNDescent=Index))
    monkeypatch.setattr(neighbours, "_EXACT_UP_TO", 100)
    distance, at = Neighbours(POINTS, seed=3).find(QUERIES, 7)
    np.testing.assert_allclose(distance, brute(7)[0], rtol=1e-5)
    np.testing.assert_array_equal(at, brute(7)[1])
