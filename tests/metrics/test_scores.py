"""Scores worked out by hand, by scikit-learn and by scib-metrics 0.5.10, and where they must be 0 or 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score, roc_auc_score

from midas import metrics
from midas.metrics import modality_weights, neighbours, wnn
from midas.metrics.scib import clisi, graph_connectivity, ilisi, isolated_label_f1, kbet, leiden, lisi, nmi_ari
from midas.metrics.scmib import feature_space

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
    named = np.where(labels == 3, "unknown", labels.astype(str))
    dropped = metrics.scib(x[labels != 3], example[1][labels != 3], named[labels != 3])
    assert metrics.scib(x, example[1], named).to_series().equals(dropped.to_series())
    with pytest.raises(ValueError, match="Expected a graph of labelled cells"):
        metrics.scib(metrics.neighbours(x), example[1], named)


@pytest.mark.parametrize("none", [np.nan, None, pd.NA])
def test_a_missing_label_is_none_and_no_type(none: object) -> None:
    rng = RNG(10)
    types, batch = np.repeat(["B", "T"], 100).astype(object), np.tile(["x", "y"], 100)
    z = rng.normal(size=(200, 4)) + 30 * (types == "T")[:, None]
    gone = rng.permutation(200) < 50
    missing, unknown = np.where(gone, none, types), np.where(gone, "unknown", types)
    for labels in (missing, missing.tolist(), pd.Series(missing), pd.Categorical(missing)):
        assert metrics.scib(z, batch, labels).nmi == pytest.approx(1)
        assert metrics.fold_changes(np.exp(z), labels).index.tolist() == ["B", "T"]
    assert metrics.scib(z, batch, missing).to_series().equals(metrics.scib(z, batch, unknown).to_series())
    latents = {"rna": z, "adt": z + 0.1}
    assert metrics.alignment(latents, missing) == metrics.alignment(latents, unknown)
    assert metrics.modality_asw(latents, missing) == metrics.modality_asw(
        {name: x[~gone] for name, x in latents.items()}, types[~gone]
    )
    assert metrics.information(z, missing) == metrics.information(z[~gone], types[~gone])
    assert metrics.label_micro_f1(missing, types) == 1
    assert metrics.label_agreement(z, missing) == 1
    assert metrics.label_transfer_f1(z, missing, z, missing) == 1
    graph = metrics.neighbours(z)
    assert graph_connectivity(graph, missing) > 0.95
    assert kbet(graph, batch, missing) > 0.8
    apart = (types == "T").astype(np.int64)[None]
    assert nmi_ari(apart, missing) == pytest.approx((1, 1))
    assert isolated_label_f1(apart, missing, batch) == 1


def test_what_every_cell_must_have(example: tuple[np.ndarray, ...]) -> None:
    x, batch, labels = example
    some = np.where(np.arange(300) < 7, np.nan, batch)
    for score in (metrics.scib, lambda x, *_: metrics.mixing(x, some), lambda x, *_: ilisi(neighbours(x), some)):
        with pytest.raises(ValueError, match="Expected a batch for each of 300 cells, found none for 7"):
            score(x, some, labels)
    with pytest.raises(ValueError, match="Expected a graph of labelled cells"):
        metrics.scib(metrics.neighbours(x), batch, some)
    with pytest.raises(ValueError, match="found 1 labelled in the first, 1 in the second, none in both"):
        metrics.label_micro_f1(["B", None], [np.nan, "B"])


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
    with pytest.raises(ImportError, match=r"midas-mosaic\[scib\]"):
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


def test_weighted_neighbours() -> None:
    rng = RNG(2)
    types = np.repeat([0, 1], 60)
    telling = rng.normal(size=(120, 5)) * 0.1 + np.eye(5)[types] * 3
    noise = rng.normal(size=(120, 5))
    graph = metrics.weighted_neighbours([telling, noise], 10)
    assert (graph.indices[:, 0] == np.arange(120)).all()
    assert (np.diff(graph.distances) >= 0).all()
    assert (types[graph.indices] == types[:, None]).mean() > 0.95
    weights = metrics.modality_weights([telling, noise])
    np.testing.assert_allclose(weights.sum(1), 1)
    assert weights[:, 0].mean() > 0.5
    np.testing.assert_allclose(metrics.modality_weights([telling, telling]), 0.5)
    assert all(len(set(row)) == 10 for row in graph.indices)


def test_alignment() -> None:
    rng = RNG(3)
    z, labels = rng.normal(size=(200, 5)), np.repeat(["a", "b"], 100)
    same = metrics.alignment({"rna": z, "adt": z}, labels)
    assert same["foscttm_score"] == 1
    assert same["label_transfer"] == 1
    assert same["modality_asw"] > 0.97
    apart = metrics.alignment({"rna": z, "adt": rng.normal(size=(200, 5)) + 100}, labels)
    assert apart["foscttm_score"] == pytest.approx(0.5, abs=0.05)
    assert apart["modality_asw"] < 0.05
    assert apart["label_transfer"] == pytest.approx(0.5, abs=0.1)


def test_count_scores() -> None:
    rng = RNG(4)
    true = rng.poisson(2, (30, 6)).astype(float)
    guess = true + rng.normal(size=true.shape)
    mask = np.ones_like(true, dtype=bool)
    mask[:10, 0] = False
    broken = np.where(mask, guess, 1e6)
    found = metrics.count_scores(broken, true, measured=mask)
    rows = [np.corrcoef(guess[i][mask[i]], true[i][mask[i]])[0, 1] for i in range(30)]
    columns = [np.corrcoef(guess[:, j][mask[:, j]], true[:, j][mask[:, j]])[0, 1] for j in range(6)]
    assert found.r_counts_cell == pytest.approx(np.mean(rows))
    assert found.r_counts_feature == pytest.approx(np.mean(columns))
    assert np.isnan(found.auroc)
    assert metrics.count_scores(true, true).r_log1p_cell == pytest.approx(1)
    assert metrics.count_scores(np.ones_like(true), true).r_counts_feature == 0
    open_ = (true > 2).astype(float)
    binary = metrics.count_scores(guess, open_, measured=mask)
    assert binary.auroc == pytest.approx(roc_auc_score(open_[mask], guess[mask]))
    assert binary.average_precision == pytest.approx(average_precision_score(open_[mask], guess[mask]))
    ties = metrics.count_scores(np.round(guess), open_)
    assert ties.auroc == pytest.approx(roc_auc_score(open_.ravel(), np.round(guess).ravel()))
    assert ties.average_precision == pytest.approx(average_precision_score(open_.ravel(), np.round(guess).ravel()))
    assert metrics.count_scores(np.ones_like(true), open_).auroc == 0.5


def test_constant_features_have_no_correlation() -> None:
    """Their log1p less its mean is not 0 but rounding."""
    varied = np.arange(7.0)
    true = np.column_stack([np.full(7, 3.0), varied])
    for log1p in (True, False):
        assert metrics.feature_correlation(true, true, log1p=log1p) == pytest.approx(1)
        assert metrics.feature_correlation(true[:, ::-1], true, log1p=log1p) == 0
    assert metrics.feature_correlation(true, true[:, [1, 1]], measured=[False, True]) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least one measured feature that varies"):
        metrics.feature_correlation(true, true, measured=[True, False])
    broken = np.where(varied[:, None] == 6, np.nan, true)
    assert metrics.feature_correlation(broken, true) == pytest.approx(1)
    scores = metrics.count_scores(broken, true)
    assert metrics.feature_correlation(broken, true) == scores.r_log1p_feature


def test_overlap_and_labels() -> None:
    z = RNG(5).normal(size=(200, 4))
    assert metrics.neighbourhood_overlap(z, z * 2).tolist() == [1.0] * 4
    chance = metrics.neighbourhood_overlap(z, RNG(6).normal(size=(200, 4)), ks=[20, 199])
    assert chance[20] == pytest.approx(20 / 199, abs=0.03)
    assert chance[199] == 1
    assert metrics.label_micro_f1(list("aabb"), list("aaba")) == 0.75
    assert metrics.label_micro_f1(list("1122"), list("bbab"), match=True) == 0.75


def test_fold_changes() -> None:
    counts, labels = np.array([[4.0, 1], [4, 1], [1, 1], [9, 9]]), ["a", "a", "b", "unknown"]
    table = metrics.fold_changes(counts, labels, pseudocount=0)
    assert table.loc["a"].tolist() == pytest.approx([np.log(4), 0])
    assert table.loc["b"].tolist() == pytest.approx([-np.log(4), 0])
    assert metrics.fold_change_correlation(counts, counts * 3, labels, pseudocount=0) == pytest.approx(1)
    assert metrics.fold_change_correlation(counts, 1 / counts, labels, pseudocount=1e-9) < -0.9
    sparse = metrics.group_fold_changes(csr_matrix(counts), np.array([0, 0, 1, -1]), 2, pseudocount=0)
    np.testing.assert_allclose(sparse, table)
    first = np.array([[True, False]])  # measured
    assert np.isnan(metrics.group_fold_changes(counts, np.array([0, 0, 1, -1]), 2, measured=first)[:, 1]).all()


def test_calibration() -> None:
    assert metrics.calibration_error([0.75] * 4, [True, True, True, False]) == 0
    assert metrics.calibration_error([1.0, 1.0], [False, False]) == 1
    assert metrics.reliability([0.15, 0.95, 0.95], [False, True, False])["accuracy"].tolist() == [0, 0.5]
    assert metrics.calibration_error([0.9, np.nan, 0.8], [1, 0, 1]) == pytest.approx(0.15)
    assert metrics.reliability([0.9, np.nan, 0.8], [1, 0, 1])["n"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="found none"):
        metrics.calibration_error([np.nan], [0])
    rng = RNG(7)
    found = metrics.coverage(rng.normal(size=(50, 40)), rng.normal(size=(400, 50, 40)))
    np.testing.assert_allclose(found, found.index, atol=0.03)
    with pytest.raises(ValueError, match="confidence from 0 to 1"):
        metrics.reliability([2.0], [True])


@pytest.mark.parametrize("classifier", ["knn", "linear"])
def test_information(classifier: str) -> None:
    z, labels = RNG(8).normal(size=(400, 3)), np.repeat(["a", "b", "c", "d"], 100)
    assert metrics.information(z, labels, classifier=classifier) < 0.08
    far = z + 30 * np.unique(labels, return_inverse=True)[1][:, None]
    assert metrics.information(far, labels, classifier=classifier) > 0.98


def test_recovery_of_a_known_state() -> None:
    rng = RNG(9)
    truth = rng.normal(size=(500, 3))
    c = truth @ rng.normal(size=(3, 6)) + 5
    assert metrics.recovered(truth, c) == pytest.approx(1)
    assert metrics.canonical_correlation(truth, c) == pytest.approx(1)
    assert metrics.recovered(truth, rng.normal(size=(500, 6))) < 0.02
    assert metrics.canonical_correlation(truth, rng.normal(size=(500, 6))) < 0.15


def test_modality_weights_are_those_that_joint_neighbours_are_found_with() -> None:
    rng = np.random.default_rng(0)
    spaces = [rng.normal(size=(150, 3)), rng.normal(size=(150, 5))]
    unit = wnn._unit(spaces)
    near = [neighbours(x, 60) for x in unit]
    np.testing.assert_allclose(modality_weights(spaces), wnn._weights(unit, near, 20)[0])


def test_foscttm_of_equal_points_is_perfect() -> None:
    """Distances to the match and to its copies are computed in different ways, and rounded differently."""
    repeated = np.repeat(RNG(0).normal(size=(20, 30)), 10, axis=0)
    for points in (repeated, repeated + 1e6, repeated * 1e-9):
        assert metrics.foscttm(points, points) == 0
    x = RNG(1).integers(0, 4, (300, 3)) + 0.3
    y = x + RNG(2).integers(0, 2, x.shape)
    distance = np.rint(((x[:, None] - y[None]) ** 2).sum(-1))  # whole numbers, with many ties
    own = np.diag(distance)
    closer = (distance < own[:, None]).sum() + (distance < own).sum()
    assert metrics.foscttm(x, y) == closer / (2 * 300 * 299)


def test_foscttm_of_nothing_is_not_perfect() -> None:
    x = RNG(0).normal(size=(30, 2))
    assert np.isnan(metrics.foscttm(x[:1], x[:1]))
    assert np.isnan(metrics.foscttm(x[:0], x[:0]))
    for broken in (np.full_like(x, np.nan), np.where(np.arange(30)[:, None] < 3, np.inf, x)):
        with pytest.raises(ValueError, match=r"found (30|3) of 30 cells with values that are not. Leave them out"):
            metrics.foscttm(x, broken)


def test_alignment_is_that_of_the_cells_seen_in_all_modalities() -> None:
    rng, labels = RNG(3), np.repeat(["a", "b"], 50)
    z = rng.normal(size=(100, 4))
    rna, adt = np.where(np.arange(100)[:, None] < 10, np.nan, z), np.where(np.arange(100)[:, None] > 80, np.nan, z + 1)
    both = slice(10, 81)
    whole = {"rna": rna[both], "adt": adt[both]}
    assert metrics.alignment({"rna": rna, "adt": adt}, labels) == metrics.alignment(whole, labels[both])
    assert metrics.modality_asw({"rna": rna, "adt": adt}, labels) == metrics.modality_asw(whole, labels[both])
    with pytest.raises(ValueError, match="Expected the same cells in every modality"):
        metrics.alignment({"rna": rna, "adt": adt[:50]}, labels)


def test_labels_that_are_all_missing() -> None:
    z, none, types = RNG(0).normal(size=(40, 3)), [np.nan] * 40, ["a", "b"] * 20
    for score in (
        lambda: metrics.scib(z, types, none),
        lambda: metrics.scib(z, types, ["unknown"] * 40),
        lambda: metrics.alignment({"rna": z, "adt": z}, none),
        lambda: metrics.label_transfer_f1(z, none, z, types),
        lambda: metrics.label_transfer_f1(z, types, z, none),
        lambda: metrics.label_agreement(z, none),
    ):
        with pytest.raises(ValueError, match="Expected cells with a label, found none among 40: all are missing"):
            score()


def test_a_mean_of_fewer_scores_says_so() -> None:
    z, labels = RNG(0).normal(size=(60, 3)), np.repeat(["a", "b"], 30)
    found = metrics.scib(z, labels, labels)  # each label in one batch: nothing for kBET to test
    assert np.isnan(found.kbet)
    assert np.isfinite(found.batch)
    assert found.note == "no kbet, as no label of 10 cells or more is in two batches: batch is the mean of the others"
    assert not metrics.scib(z, np.tile(["x", "y"], 30), labels).note


def test_values_with_negative_ones_are_no_counts() -> None:
    scaled = RNG(0).normal(size=(50, 6)) * 3
    centred = scaled - scaled.mean(0)
    found = feature_space(scaled, n_components=6)
    np.testing.assert_allclose(found @ found.T, centred @ centred.T, atol=1e-3)  # turned, and nothing else
    counts = RNG(1).poisson(3, (50, 6)) + 1
    depth = np.where(np.arange(50) % 2, 1, 7)[:, None]  # of counts it does not matter
    a, b = (feature_space(x / np.median(x.sum(1)) * 20, n_components=6) for x in (counts, counts * depth))
    np.testing.assert_allclose(a @ a.T, b @ b.T, atol=1e-3)


def test_what_is_not_finite_does_not_count_for_coverage() -> None:
    rng = RNG(7)
    true, draws = rng.normal(size=(50, 4)), rng.normal(size=(60, 50, 4))
    kept = np.ones(true.shape, dtype=bool)
    kept[:20, 0] = kept[30, 2] = False
    expected = metrics.coverage(true, draws, measured=kept)
    broken, lost = np.where(kept, true, np.nan), draws.copy()
    lost[3, 30, 2] = np.nan
    pd.testing.assert_series_equal(metrics.coverage(broken, draws), expected)
    broken[30, 2] = 0
    pd.testing.assert_series_equal(metrics.coverage(broken, lost), expected)
    assert np.isnan(metrics.coverage(np.full((2, 1), np.nan), np.zeros((3, 2, 1)))).all()


def test_series_and_tables_of_cells_in_another_order_are_refused() -> None:
    cells = [f"c{i}" for i in range(40)]
    labels = pd.Series(["a", "b"] * 20, index=cells)
    turned, z = labels[::-1], pd.DataFrame(RNG(0).normal(size=(40, 3)), index=cells)
    for score in (
        lambda: metrics.label_micro_f1(labels, turned),
        lambda: metrics.label_agreement(z, turned),
        lambda: metrics.label_transfer_f1(z, labels, z, turned),
        lambda: metrics.foscttm(z, z[::-1]),
        lambda: metrics.neighbourhood_overlap(z, z[::-1]),
        lambda: metrics.mixing(z, turned),
        lambda: metrics.scib(z, labels, turned),
        lambda: metrics.alignment({"rna": z, "adt": z}, turned),
        lambda: metrics.information(z, turned),
        lambda: metrics.recovered(z, z[::-1]),
        lambda: metrics.count_scores(z, z[::-1]),
        lambda: metrics.fold_changes(z, turned),
        lambda: metrics.fold_change_correlation(z, z[::-1], labels),
        lambda: metrics.calibration_error(pd.Series(0.5, index=cells), turned == "a"),
    ):
        with pytest.raises(ValueError, match="in another order: 'c0', 'c1', 'c2' and 37 more and 'c39', 'c38', 'c37'"):
            score()
    with pytest.raises(ValueError, match="under other names: 'c0', 'c1', 'c2' and 37 more and 'x0'"):
        metrics.label_micro_f1(labels, labels.rename(lambda name: f"x{name[1:]}"))
    assert metrics.label_micro_f1(labels, labels.copy()) == 1
    assert metrics.label_micro_f1(labels, labels.reset_index(drop=True)) == 1
    assert metrics.label_micro_f1(labels, turned.to_numpy()) == 0


def test_sparse_input_is_taken_as_dense() -> None:
    rng, labels = RNG(0), np.repeat(["a", "b"], 30)
    x = rng.poisson(1, (60, 8)) + 3.0 * (labels == "a")[:, None]
    batch = np.tile(["x", "y"], 30)
    assert metrics.scib(csr_matrix(x), batch, labels) == metrics.scib(x, batch, labels)
    pd.testing.assert_frame_equal(metrics.fold_changes(csr_matrix(x), labels), metrics.fold_changes(x, labels))
    assert metrics.fold_change_correlation(csr_matrix(x), x, labels) == pytest.approx(1)


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_fold_changes_without_the_cells_that_have_no_counts(kind: Callable[..., Any]) -> None:
    labels = np.repeat(["a", "b"], 20)
    counts = RNG(0).poisson(2, (40, 5)) + 1.0
    padded = counts.copy()
    padded[:3] = np.nan
    expected = metrics.fold_changes(counts[3:], labels[3:])
    pd.testing.assert_frame_equal(metrics.fold_changes(kind(padded), labels), expected)
    assert metrics.fold_change_correlation(counts, kind(padded), labels) == pytest.approx(1)
    padded[3:, 4] = np.nan  # a feature without counts has no fold change, and the others keep theirs
    found = metrics.fold_changes(kind(padded), labels)
    assert np.isnan(found[4]).all()
    pd.testing.assert_frame_equal(found.drop(columns=4), expected.drop(columns=4))
