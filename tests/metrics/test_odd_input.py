"""Scores of input that has holes, ties, another order or another type, or is no input at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from midas import metrics
from midas.metrics import neighbours
from midas.metrics.scib import graph_connectivity, ilisi, isolated_label_f1, kbet, nmi_ari
from midas.metrics.scmib import feature_space

RNG = np.random.default_rng


def test_what_every_cell_must_have() -> None:
    x, batch, labels = RNG(0).normal(size=(300, 8)), np.tile([0, 1, 2], 100), np.repeat([0, 1], 150)
    some = np.where(np.arange(300) < 7, np.nan, batch)
    for score in (metrics.scib, lambda x, *_: metrics.mixing(x, some), lambda x, *_: ilisi(neighbours(x), some)):
        with pytest.raises(ValueError, match="Expected a batch for each of 300 cells, found none for 7"):
            score(x, some, labels)
    with pytest.raises(ValueError, match="Expected a graph of labelled cells"):
        metrics.scib(metrics.neighbours(x), batch, some)
    with pytest.raises(ValueError, match="found 1 labelled in the first, 1 in the second, none in both"):
        metrics.label_micro_f1(["B", None], [np.nan, "B"])


def test_labels_are_the_same_in_any_type() -> None:
    whole = pd.Series([0, 1, 2, 1, 0, 2] * 5)
    some = whole.astype(float).where(whole.index > 0)  # a missing one makes 0.0 of 0
    z = RNG(0).normal(size=(30, 3)) + 30 * whole.to_numpy()[:, None]
    for labels in (whole, some, some.astype("Int64"), whole.astype(str), pd.Categorical(whole.astype(str))):
        assert metrics.label_micro_f1(labels, some) == 1
        assert metrics.label_transfer_f1(z, labels, z, some) == 1


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
    assert metrics.label_predictability(z, missing) == metrics.label_predictability(z[~gone], types[~gone])
    assert metrics.label_micro_f1(missing, types) == 1
    assert metrics.label_agreement(z, missing) == 1
    assert metrics.label_transfer_f1(z, missing, z, missing) == 1
    graph = metrics.neighbours(z)
    assert graph_connectivity(graph, missing) > 0.95
    assert kbet(graph, batch, missing) > 0.8
    apart = (types == "T").astype(np.int64)[None]
    assert nmi_ari(apart, missing) == pytest.approx((1, 1))
    assert isolated_label_f1(apart, missing, batch) == 1


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
        with pytest.raises(ValueError, match=r"found (30|3) of 30 cells with values that are not, as cells that"):
            metrics.foscttm(x, broken)


def test_alignment_is_that_of_the_cells_seen_in_all_modalities() -> None:
    rng, labels = RNG(3), np.repeat(["a", "b"], 50)
    z = rng.normal(size=(100, 4))
    rna, adt = np.where(np.arange(100)[:, None] < 10, np.nan, z), np.where(np.arange(100)[:, None] > 80, np.nan, z + 1)
    both = slice(10, 81)
    whole = {"rna": rna[both], "adt": adt[both]}
    assert metrics.alignment({"rna": rna, "adt": adt}, labels) == metrics.alignment(whole, labels[both])
    assert metrics.modality_asw({"rna": rna, "adt": adt}, labels) == metrics.modality_asw(whole, labels[both])
    with pytest.raises(ValueError, match="Expected values of the same cells, found 100 and 50 and 100 rows"):
        metrics.alignment({"rna": rna, "adt": adt[:50]}, labels)


def test_rows_that_are_missing_or_of_no_embedding() -> None:
    x, types = RNG(0).normal(size=(40, 3)), np.repeat(["a", "b"], 20)
    hole = np.where(np.arange(40)[:, None] < 4, np.nan, x)
    for score in (
        lambda: metrics.mixing(hole, types),
        lambda: metrics.label_agreement(hole, types),
        lambda: metrics.label_transfer_f1(hole, types, x, types),
        lambda: metrics.label_transfer_f1(x, types, hole, types),
        lambda: metrics.neighbourhood_overlap(x, hole),
    ):
        with pytest.raises(
            ValueError, match="found 4 of 40 cells with values that are not, as cells that were not embedded"
        ):
            score()
    for score in (
        lambda: metrics.mixing(x, types[:9]),
        lambda: metrics.label_agreement(x, list(types[:9])),
        lambda: metrics.label_transfer_f1(x, types[:9], x, types),
        lambda: metrics.fold_changes(np.exp(x), types[:9]),
    ):
        with pytest.raises(ValueError, match="Expected values of the same cells, found 40 and 9 rows"):
            score()


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
        lambda: metrics.label_predictability(z, turned),
        lambda: metrics.linear_r2(z, z[::-1]),
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
