"""scIB: worked out by hand, by scib-metrics 0.5.10, and where it must be 0 or 1."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from midas import metrics
from midas.metrics.scib import clisi, graph_connectivity, ilisi, isolated_label_f1, kbet, leiden, lisi, nmi_ari

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def example() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells with four labels in three batches; the values below were computed from them by scib-metrics 0.5.10."""
    rng = RNG(0)
    n = 300
    labels = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    batch = rng.integers(3, size=n)
    x = rng.normal(size=(n, 8)) + rng.normal(size=(4, 8))[labels] * 1.2 + 0.7 * rng.normal(size=(3, 8))[batch]
    return x, batch, labels


def test_what_is_missing_can_be_installed_as_it_is_said(
    example: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quoted, as some shells read brackets as patterns."""
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(ImportError, match=r'Install it: pip install "midas-mosaic\[metrics\]"'):
        leiden(metrics.neighbours(example[0], 15))


def test_clustering_that_fails_leaves_no_seed_behind(
    example: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    igraph = pytest.importorskip("igraph")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    generators: list[object] = []
    monkeypatch.setattr(igraph.Graph, "community_leiden", broken)
    monkeypatch.setattr(igraph, "set_random_number_generator", generators.append)
    with pytest.raises(RuntimeError):
        leiden(metrics.neighbours(example[0], 15))
    assert generators[-1] is random


def test_scib_agrees_with_scib_metrics(example: tuple[np.ndarray, ...]) -> None:
    x, batch, labels = example
    graph = metrics.neighbours(x, 90)
    assert ilisi(graph, batch) == pytest.approx(0.349643, abs=1e-4)
    assert clisi(graph, labels) == pytest.approx(0.97692966, abs=1e-4)
    assert graph_connectivity(graph, labels) == pytest.approx(0.9962962962962962)
    weights = graph.first(15).connectivities()
    assert weights.sum() == pytest.approx(1886.8599, rel=1e-3)
    assert weights[[0]].sum() == pytest.approx(4.819721, rel=1e-3)
    # Both search neighbours in a diffusion map of eigenvectors of limited precision, and cluster with chance.
    assert kbet(graph, batch, labels) == pytest.approx(0.3069841623085197, abs=0.03)
    nmi, ari = nmi_ari(leiden(graph), labels)
    assert nmi == pytest.approx(0.8875830333903427, abs=0.05)
    assert ari == pytest.approx(0.8881323244577042, abs=0.07)


def test_batches_and_labels_that_lie_apart_or_mix() -> None:
    rng = RNG(1)
    batch = np.repeat(["x", "y"], 100)
    labels = np.tile(["a", "b"], 100)
    z = rng.normal(size=(200, 4))
    by_label = metrics.scib(z + 50 * (labels == "a")[:, None], batch, labels)
    assert min(by_label.nmi, by_label.ari, by_label.clisi, by_label.isolated_label_f1) > 0.99
    assert by_label.ilisi > 0.7
    assert by_label.kbet > 0.8
    by_batch = metrics.scib(z + 50 * (batch == "x")[:, None], batch, labels)
    assert by_batch.ilisi == pytest.approx(0, abs=1e-6)
    # Not 0, as the diffusion map lets separate pieces overlap: scib-metrics has the same, and both have 0.005 for 1,000 cells.
    assert by_batch.kbet == pytest.approx(0.105, abs=0.03)
    many = rng.normal(size=(1000, 4)) + 50 * (np.arange(1000) < 500)[:, None]
    assert kbet(metrics.neighbours(many), np.arange(1000) < 500, np.arange(1000) % 2) < 0.02
    assert by_batch.graph_connectivity == pytest.approx(0.5, abs=0.1)
    assert by_batch.nmi < 0.1
    assert by_label.overall == pytest.approx(0.4 * by_label.batch + 0.6 * by_label.bio)


def test_one_batch_and_unlabelled_cells(example: tuple[np.ndarray, ...]) -> None:
    x, _, labels = example
    found = metrics.scib(x, ["one"] * 300, labels)
    assert np.isnan([found.ilisi, found.kbet, found.graph_connectivity, found.batch]).all()
    assert found.overall == found.bio
    assert "one batch" in found.note
    named = labels.astype(str)
    dropped = metrics.scib(x[labels != 3], example[1][labels != 3], named[labels != 3])
    for none in ("unknown", "Unknown", "unassigned"):
        named = np.where(labels == 3, none, labels.astype(str))
        assert metrics.scib(x, example[1], named).to_series().equals(dropped.to_series())
    with pytest.raises(ValueError, match="Expected a graph of labelled cells"):
        metrics.scib(metrics.neighbours(x), example[1], named)


def test_scib_metrics_itself(example: tuple[np.ndarray, ...]) -> None:
    if not os.environ.get("MIDAS_SLOW_TESTS"):
        pytest.skip("set MIDAS_SLOW_TESTS=1: compiling takes minutes")
    pytest.importorskip("scib_metrics")
    x, batch, labels = example
    own, package = (metrics.scib(x, batch, labels, engine=engine).to_series() for engine in ("own", "scib-metrics"))
    np.testing.assert_allclose(package, own, atol=0.07)
    exact = ["ilisi", "clisi", "graph_connectivity", "isolated_label_f1"]
    np.testing.assert_allclose(package[exact], own[exact], atol=1e-4)


def test_engines_that_are_not_there(monkeypatch: pytest.MonkeyPatch, example: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(ValueError, match="Expected an engine out of own, scib-metrics, found 'scib'"):
        metrics.scib(*example, engine="scib")
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    with pytest.raises(ImportError, match=r'Install it: pip install "midas-mosaic\[scib\]"'):
        metrics.scib(*example, engine="scib-metrics")


def test_the_graph_goes_to_scib_metrics(monkeypatch: pytest.MonkeyPatch, example: tuple[np.ndarray, ...]) -> None:
    """What the package computes is not ours to test, what it is given is."""
    asked = {}

    def score(name: str, value: object) -> Callable[..., object]:
        def of(graph: Any, *_: object, **__: object) -> object:
            asked[name] = graph.indices.shape[1]
            return value

        return of

    names = {"ilisi_knn": 0.1, "kbet_per_label": 0.2, "graph_connectivity": 0.3, "clisi_knn": 0.4}
    package = SimpleNamespace(**{name: score(name, value) for name, value in names.items()})
    package.nmi_ari_cluster_labels_leiden = score("leiden", {"nmi": 0.5, "ari": 0.6})
    monkeypatch.setitem(sys.modules, "scib_metrics", package)
    monkeypatch.setitem(
        sys.modules, "scib_metrics.nearest_neighbors", SimpleNamespace(NeighborsResults=metrics.Neighbours)
    )
    found = metrics.scib(*example, engine="scib-metrics")
    assert [found.ilisi, found.kbet, found.graph_connectivity, found.clisi, found.nmi, found.ari] == [
        *names.values(),
        0.5,
        0.6,
    ]
    assert asked == {"ilisi_knn": 90, "kbet_per_label": 50, "graph_connectivity": 15, "clisi_knn": 90, "leiden": 15}
    assert found.isolated_label_f1 == metrics.scib(*example).isolated_label_f1


def test_isolated_labels_by_hand() -> None:
    labels, batch = np.array(list("aabbbb")), np.array(list("xxxyyy"))
    clusters = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    # Only "a" is in one batch alone. Cluster 0 of the first clustering: 2 hits of 3 and 2 cells: F1 = 4/5.
    assert isolated_label_f1(clusters, labels, batch) == pytest.approx(0.8)


def test_lisi_of_a_small_neighbourhood_by_hand() -> None:
    # All at one distance: weights are equal. Two of three neighbours are of one batch: 1 / (4/9 + 1/9).
    graph = metrics.Neighbours(np.array([[0, 1, 2, 3]] * 4), np.array([[0.0, 1, 1, 1]] * 4))
    assert lisi(graph, ["x", "x", "x", "y"])[0] == pytest.approx(9 / 5)


def test_a_mean_of_fewer_scores_says_so() -> None:
    z, labels = RNG(0).normal(size=(60, 3)), np.repeat(["a", "b"], 30)
    found = metrics.scib(z, labels, labels)  # each label in one batch: nothing for kBET to test
    assert np.isnan(found.kbet)
    assert np.isfinite(found.batch)
    assert found.note == "no kbet, as no label of 10 cells or more is in two batches: batch is the mean of the others"
    assert not metrics.scib(z, np.tile(["x", "y"], 30), labels).note
