"""Scores worked out by hand, by scikit-learn, and where they must be 0 or 1."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score, roc_auc_score

from midas import metrics

RNG = np.random.default_rng


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


def test_modality_weights_follow_their_definition() -> None:
    n, k = 12, 4
    spaces = [RNG(10).normal(size=(n, 3)), RNG(11).normal(size=(n, 5))]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in spaces]
    far = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in unit]
    nearest = [np.argsort(d, axis=1) for d in far]  # the cell itself first
    ratio = np.empty((n, 2))
    for i in range(n):
        for m, (x, d) in enumerate(zip(unit, far, strict=True)):
            near = [set(row[:k]) for row in nearest[m]]
            overlap = {j: len(near[i] & near[j]) for j in range(n) if j != i and near[i] & near[j]}
            fewest = sorted(overlap, key=lambda j: (overlap[j], -d[i, j]))[:k]
            sigma, first = np.mean(d[i, fewest]), d[i, nearest[m][i, 1]]
            away = [np.linalg.norm(x[i] - x[order[i, 1 : k + 1]].mean(0)) for order in (nearest[m], nearest[1 - m])]
            own, other = (np.exp(-max(distance - first, 0) / (sigma - first)) for distance in away)
            ratio[i, m] = min(own / (other + 1e-4), 200)
    expected = np.exp(ratio) / np.exp(ratio).sum(1, keepdims=True)
    np.testing.assert_allclose(metrics.modality_weights(spaces, k_local=k), expected)
    assert np.ptp(expected[:, 0]) > 0.1
