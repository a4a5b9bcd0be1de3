"""Diagnostics with known answers, samples, chosen features and curves."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import midas
from helpers import simulated, tiny
from midas import MIDAS, Config
from midas.data.summary import summarise
from midas.reporting.advise import advise
from midas.reporting.colours import choose_features, pack_column
from midas.reporting.diagnostics import alignment, best_epoch, bridges, training
from midas.reporting.finding import Finding, Sampled, Space
from midas.reporting.measures import (
    batch_islands,
    batch_told,
    components,
    reliability,
    separation,
    shared_neighbours,
    types_across,
    types_among_all,
    types_within,
)
from midas.reporting.mixing import batch_left
from midas.reporting.pictures import draw_curves, draw_mosaic, short
from midas.reporting.sample import plane, stratified
from midas.reporting.structure import structure_kept

RNG = np.random.default_rng(0)


def pairs(x: np.ndarray, batch: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """Separation of each pair of batches, once."""
    found = separation(x, batch, label)
    np.testing.assert_array_equal(found, found.T)
    return found[np.triu_indices(len(found), 1)]


def test_separation_is_none_when_mixed_and_all_when_apart() -> None:
    batch = np.repeat([0, 1, 2, 3], 200)
    mixed = RNG.normal(size=(800, 4))
    np.testing.assert_allclose(pairs(mixed, batch), 0, atol=0.1)
    np.testing.assert_array_equal(pairs(mixed + 50 * batch[:, None], batch), 1)
    assert batch_told(mixed, batch) < 0.15
    assert batch_told(mixed + 50 * batch[:, None], batch) == 1
    # Two technologies apart, whose batches mix: pairs 01 and 23 are fine, all others apart.
    np.testing.assert_array_equal(pairs(mixed + 50 * (batch[:, None] > 1), batch), [0, 1, 1, 1, 1, 0])
    np.testing.assert_allclose(pairs(mixed[:600], np.repeat([0, 1], [550, 50])), 0, atol=0.1)
    assert np.isnan(separation(mixed, np.zeros(800, int), None)).all()


def test_a_type_that_one_batch_lacks_is_no_batch_effect() -> None:
    batch = np.repeat([0, 0, 1], 200)
    label = np.repeat([0, 1, 1], 200)  # type 0 in batch 0 alone
    x = RNG.normal(size=(600, 4)) + 50 * label[:, None]
    assert pairs(x, batch)[0] > 0.2
    np.testing.assert_allclose(pairs(x, batch, label), 0, atol=0.1)
    assert np.isnan(pairs(x, batch, batch)).all()  # no type in two batches


def five_batches(move: float = 0.0) -> tuple[midas.Mosaic, Sampled, dict[str, Space]]:
    """Cells of two types, well mixed but for the last batch, which may be moved away."""
    rng = np.random.default_rng(1)
    mosaic = midas.read_mosaic(simulated(n_cells=500, mosaic=("rna",) * 5))
    cells, batch = np.arange(500), mosaic.batch
    label = np.tile([0, 1], 250)
    c = rng.normal(size=(500, 3)) + 20 * label[:, None]
    counts = c + 50 * batch[:, None]
    c = c + move * (batch == 4)[:, None]
    sampled = Sampled(cells, c, c[:, :2], {}, batch, label, ("T", "B"))
    return mosaic, sampled, {"rna": Space(cells, counts, 0.9)}


@pytest.mark.parametrize("bare", [(3, 4), (0,), (0, 1, 2, 3)])
def test_batches_without_labels_are_not_called_apart(bare: tuple[int, ...]) -> None:
    mosaic, whole, space = five_batches()
    partly = replace(whole, label=np.where(np.isin(whole.batch, bare), -1, whole.label))
    for sampled in (whole, partly):
        left, kept = batch_left(mosaic, sampled, space), structure_kept(sampled, space)
        assert (left.level, left.cause, kept.level, kept.cause) == ("good", "", "good", "")
        named = f"{mosaic.batches[bare[0]]}" + (f", {mosaic.batches[bare[1]]}" if len(bare) > 1 else " has")
        assert (named in left.sentence and "compared without" in left.sentence) == (sampled is partly)


def test_cells_without_a_label_are_no_type_of_their_own() -> None:
    mosaic, whole, space = five_batches()
    # All cells of one type in one batch, and a third of all others, lack a label.
    gone = ((whole.batch == 2) & (whole.label == 0)) | (np.arange(500) % 3 == 0)
    partly = replace(whole, label=np.where(gone, -1, whole.label))
    assert (pairs(partly.c, partly.batch, partly.label) < 0.15).all()
    assert batch_left(mosaic, partly, space).level == "good"


def test_a_batch_apart_is_seen_without_its_labels() -> None:
    mosaic, whole, space = five_batches(move=40.0)
    found = pairs(whole.c, whole.batch, np.where(whole.batch == 4, -1, whole.label))
    apart = np.array([False, False, False, True, False, False, True, False, True, True])
    assert (found[apart] == 1).all()
    assert (found[~apart] < 0.15).all()
    assert batch_left(mosaic, replace(whole, label=np.full(500, -1)), space).level == "poor"


def test_neighbours_kept_are_counted_beyond_chance() -> None:
    x, batch = RNG.normal(size=(400, 3)), np.repeat([0, 1], 200)
    assert shared_neighbours(x, x + 9 * batch[:, None], batch) == 1
    assert shared_neighbours(x, RNG.normal(size=(400, 3)), batch) == pytest.approx(0, abs=0.03)
    assert shared_neighbours(x[:20], x[:20], batch[:20]) is None


def test_halves_of_counts_agree_as_far_as_there_are_counts() -> None:
    group, batch = np.tile([0, 1], 100), np.zeros(200, int)
    rates = np.where(group[:, None] == (np.arange(40) < 20), 8.0, 0.5) * RNG.gamma(5, 0.2, (200, 40))
    many, few = (sp.csr_matrix(RNG.poisson(rates * factor).astype(float)) for factor in (20, 0.1))
    high, low = reliability(many, batch), reliability(few, batch)
    assert high is not None
    assert low is not None
    assert high > 0.3
    assert low < high / 1.5
    assert reliability(many * 0.3, batch) is None
    assert components(many).shape == (200, 30)


def test_types_within_across_and_among_all_batches() -> None:
    label, batch = np.tile([0, 1], 200), np.repeat([0, 1], 200)
    x = RNG.normal(size=(400, 2)) + 30 * label[:, None]
    for measured in (types_within(x, batch, label, 2), types_across(x, batch, label, 2), types_among_all(x, label, 2)):
        np.testing.assert_array_equal(measured, [1, 1])
    swapped = np.where(batch == 1, 1 - label, label)  # each type lies on the other type of the other batch
    x = RNG.normal(size=(400, 2)) + 30 * swapped[:, None]
    np.testing.assert_array_equal(types_within(x, batch, label, 2), [1, 1])
    np.testing.assert_array_equal(types_across(x, batch, label, 2), [0, 0])
    assert (types_among_all(x, label, 2) < 0.7).all()


def judged(c: np.ndarray, batch: np.ndarray, label: np.ndarray | None, counts: np.ndarray) -> list[tuple[str, str]]:
    """Levels and causes of mixing and structure."""
    mosaic = midas.read_mosaic(simulated(n_cells=400, mosaic=("rna", "rna")))
    sampled = Sampled(np.arange(400), c, c[:, :2], {}, batch, label, ("T", "B"))
    space = {"rna": Space(np.arange(400), counts, 0.9)}
    left = batch_left(mosaic, sampled, space)
    kept = structure_kept(sampled, space, mixed=left.level != "poor")
    return [(left.level, left.cause), (kept.level, kept.cause)]


def test_good_and_spoilt_embeddings_are_told_apart() -> None:
    label, batch = np.tile([0, 1], 200), np.repeat([0, 1], 200)
    noise = RNG.normal(size=(400, 3))
    counts = noise + 20 * label[:, None] + 50 * batch[:, None]
    good = noise + 20 * label[:, None]
    assert judged(good, batch, label, counts) == [("good", ""), ("good", "")]
    assert judged(good, batch, None, counts) == [("good", ""), ("good", "")]
    assert judged(counts, batch, label, counts) == [("poor", "batch left"), ("good", "")]
    lost = RNG.normal(size=(400, 3))
    assert judged(lost, batch, label, counts) == [("good", ""), ("poor", "over-corrected")]
    assert judged(lost, batch, None, counts) == [("good", ""), ("poor", "over-corrected")]
    random = lost + 50 * batch[:, None]  # as an untrained model might
    assert judged(random, batch, label, counts) == [("poor", "batch left"), ("poor", "under-trained")]


def test_types_of_one_batch_must_not_be_mixed_with_others() -> None:
    noise = RNG.normal(size=(400, 3))
    batch, label = np.repeat([0, 0, 1, 1], 100), np.repeat([0, 1, 2, 3], 100)
    counts = noise + 20 * label[:, None]
    mixed = noise + 20 * (label % 2)[:, None]
    mosaic = midas.read_mosaic(simulated(n_cells=400, mosaic=("rna", "rna")))
    sampled = Sampled(np.arange(400), mixed, mixed[:, :2], {}, batch, label, ("T", "B", "NK", "DC"))
    space = {"rna": Space(np.arange(400), counts, 0.9)}
    assert batch_left(mosaic, sampled, space).level == "none"
    found = structure_kept(sampled, space)
    assert (found.level, found.cause) == ("poor", "over-corrected")
    assert "when all batches count" in found.sentence


def test_modalities_that_are_noise_are_not_judged_by() -> None:
    x, batch = RNG.normal(size=(200, 4)), np.zeros(200, int)
    sampled = Sampled(np.arange(200), x, x[:, :2], {}, batch, None, ())
    spaces = {"rna": Space(np.arange(200), x, 0.9), "atac": Space(np.arange(200), x[::-1], 0.05)}
    found = structure_kept(sampled, spaces)
    assert found.level == "good"
    assert ("atac: neighbours", "too noisy to judge") in found.rows
    assert structure_kept(sampled, {"atac": spaces["atac"]}).level == "none"


def test_alignment_of_two_modalities() -> None:
    x = RNG.normal(size=(200, 4)).astype(np.float32)
    common = {"cells": np.arange(200), "c": x, "u": x, "batch": np.zeros(200, int), "label": None, "label_names": ()}
    assert alignment(Sampled(single={"a": x, "b": x}, **common)).level == "good"
    assert alignment(Sampled(single={"a": x, "b": x[::-1]}, **common)).level == "poor"
    assert alignment(Sampled(single={}, **common)).level == "none"


def test_alignment_is_judged_by_all_cells_that_were_drawn() -> None:
    x = RNG.normal(size=(4000, 4)).astype(np.float32)
    apart = np.concatenate([x[:2000], x[:1999:-1]])  # the first batches meet, as files store them, later ones do not
    common = {"cells": np.arange(4000), "c": x, "u": x, "batch": np.zeros(4000, int), "label": None, "label_names": ()}
    assert alignment(Sampled(single={"a": x, "b": apart}, **common)).level != "good"


def test_islands_of_batches() -> None:
    tied = midas.read_mosaic(simulated(mosaic=("rna", "rna+adt", "adt")))
    apart = midas.read_mosaic(simulated(mosaic=("rna", "adt", "rna"), unpaired_fraction=0.0))
    assert batch_islands(tied) == [[0, 1, 2]]
    assert batch_islands(apart) == [[0, 2], [1]]
    assert bridges(apart, summarise(apart)).level == "poor"
    assert apart.batches[1] in bridges(apart, summarise(apart)).sentence


@pytest.mark.parametrize(
    ("held_out", "level", "said"),
    [
        (np.linspace(100, 10, 40), "look", "still falling"),
        (np.r_[np.linspace(100, 10, 20), np.linspace(10, 30, 20)], "look", "rose again after epoch 20"),
        (np.r_[np.linspace(100, 10, 10), np.full(30, 10.0)], "good", "levelled off"),
        (np.full(40, np.nan), "none", "No cells were held out"),
    ],
)
def test_training(held_out: np.ndarray, level: str, said: str) -> None:
    found = training([{"total": 9.0, "val_total": float(value)} for value in held_out])
    assert found.level == level
    assert said in found.sentence


def test_advice_follows_from_findings_and_is_valid_toml() -> None:
    def settings(*poor: str) -> dict[str, dict[str, float]]:
        causes = {"batch": "batch left", "structure": "over-corrected", "training": "still falling"}
        findings = [Finding(key, key, "poor", "said", cause=causes.get(key, "")) for key in poor]
        found = advise(findings, midas.Config(), n_epochs=40)
        tables: dict[str, dict[str, float]] = {}
        for advice in found:
            for table, values in tomllib.loads(advice.toml).items():
                tables.setdefault(table, {}).update(values)
            midas.Config.from_dict(tomllib.loads(advice.toml))
        return tables

    usual = midas.Config().objective.adversarial
    assert settings("batch")["objective"]["adversarial"] > usual
    assert settings("structure")["objective"]["adversarial"] < usual
    assert settings("batch", "structure") == {}  # no advice contradicts another
    assert settings("alignment")["objective"]["alignment"] > midas.Config().objective.alignment
    assert settings("training") == {"training": {"epochs": 80}}
    assert settings("bridges") == settings() == {}


def test_a_sample_is_in_proportion_but_for_the_rarest() -> None:
    group = np.repeat([0, 1, 2], [8000, 1990, 10])
    drawn = stratified((group,), 1000, seed=0)
    assert len(drawn) == 1000
    assert (np.diff(drawn) > 0).all()
    counts = np.bincount(group[drawn])
    assert counts[2] == 10
    assert counts[0] / counts[1] == pytest.approx(4, rel=0.1)
    np.testing.assert_array_equal(drawn, stratified((group,), 1000, seed=0))
    assert len(stratified((np.arange(500),), 30, seed=0)) == 30
    np.testing.assert_array_equal(stratified((group[:5],), 10, seed=0), np.arange(5))


@pytest.mark.parametrize("n", [0, 1, 2, 5, 40])
def test_a_plane_for_any_number_of_cells(
    n: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="midas")
    # The library takes a minute to compile; the documentation's page on reports runs it.
    fake = SimpleNamespace(UMAP=lambda **_: SimpleNamespace(fit_transform=lambda z: z[:, :2]))
    monkeypatch.setitem(sys.modules, "umap", fake)
    xy, method = plane(RNG.normal(size=(n, 4)).astype(np.float32), seed=0)
    assert xy.shape == (n, 2)
    assert np.isfinite(xy).all()
    assert (method == "UMAP") == (n == 40)
    assert ("Laying out 40 cells; the first time" in caplog.text) == (n == 40)


def test_features_that_tell_groups_apart_come_first() -> None:
    mdata = simulated(n_cells=200, mosaic=("rna", "rna"))
    group = np.tile([0, 1], 100)
    x = mdata["rna"].X.toarray()
    x[:, 7] = np.where(group == 0, 40, 0)
    x[:, 11] = np.where(group == 1, 40, 0)
    mdata["rna"].X = x
    mosaic = midas.read_mosaic(mdata)
    names = mosaic.schema.modalities["rna"].features
    found = choose_features(mosaic, np.arange(200), group, [], 200)["rna"]
    assert set(names[found[:2]]) == set(mdata["rna"].var_names[[7, 11]])
    asked = str(names[3])
    assert choose_features(mosaic, np.arange(200), group, [asked], 200)["rna"][0] == 3
    with pytest.raises(ValueError, match="Expected at most"):
        choose_features(mosaic, np.arange(200), group, list(names), 2_000_000)


def test_a_modality_without_labelled_cells_has_features_too() -> None:
    mosaic = midas.read_mosaic(simulated(n_cells=200, mosaic=("rna", "adt"), unpaired_fraction=0.0))
    with_rna = mosaic.modalities["rna"].present
    label, spare = np.where(with_rna, np.arange(200) % 2, -1), np.arange(200) % 3
    assert not len(choose_features(mosaic, np.arange(200), label, [], 200)["adt"])
    found = choose_features(mosaic, np.arange(200), label, [], 200, spare=spare)
    assert len(found["adt"])
    only = choose_features(mosaic, np.arange(200), label, [], 200)
    np.testing.assert_array_equal(found["rna"], only["rna"])


def test_columns_of_every_kind_are_packed() -> None:
    kinds = [[True, False, None], [1, 2, 3], [1.5, np.nan, np.inf], ["a", None, ""], pd.Categorical(["x", "x", None])]
    kinds += [pd.array([1, None, 3], dtype="Int64"), pd.to_datetime(["2020-01-01", None, "2021-01-01"]), [np.nan] * 3]
    for values in kinds:
        assert pack_column("name", pd.Series(values)).codes
    assert pack_column("name", pd.Series(["a"] * 3)).categories == ("a",)


def test_pictures_hold_what_they_are_given() -> None:
    summary = summarise(midas.read_mosaic(simulated()))
    picture = draw_mosaic(summary)
    assert sum(tile.cells for tile in picture.tiles) == summary.cells.drop(columns="all").to_numpy().sum()
    assert [arc.cells for arc in picture.bridges] == list(summary.bridges.values())
    history = pd.DataFrame(
        {"epoch": [0, 1], "total": [5.0, 3.0], "kl_c": [1.0, 2.0], "val_total": [6.0, 4.0], "seconds": [1, 2]}
    )
    total, kl = draw_curves(history, 1)
    assert (total.name, total.last, kl.held_out) == ("total", ("3", "4"), "")
    assert len(total.train.split()) == len(total.held_out.split()) == 2
    assert [short(v) for v in (0, 1234, 0.25, 2e-5, np.nan)] == ["0", "1,234", "0.25", "2.0e-5", "–"]


def test_the_epoch_named_is_the_one_that_was_kept() -> None:
    # The objective still rises at first, when its best value tells nothing.
    held_out, kept = (1.0, 9.0, 8.0, 7.0, 7.5), (None, None, 1.0, 1.0, 0.0)
    history = [
        {"total": 9.0, "val_total": value} | ({} if mark is None else {"val_kept": mark})
        for value, mark in zip(held_out, kept, strict=True)
    ]
    assert best_epoch(history) == 3
    assert best_epoch(history[:2]) == 0


def test_training_marks_the_epoch_that_it_kept() -> None:
    config = tiny(epochs=6, batch_size=128, validation_fraction=0.2)
    history = MIDAS(simulated(n_cells=520), config=config).fit(progress=False).history
    kept = history.loc[history["val_kept"] == 1]
    assert len(kept)
    assert kept["val_total"].iloc[-1] == kept["val_total"].min()


def test_with_one_batch_lost_structure_is_no_price_of_mixing() -> None:
    label = np.tile([0, 1], 200)
    lost = RNG.normal(size=(400, 3))
    sampled = Sampled(np.arange(400), lost, lost[:, :2], {}, np.zeros(400, dtype=np.int64), label, ("T", "B"))
    counts = RNG.normal(size=(400, 3)) + 20 * label[:, None]
    kept = structure_kept(sampled, {"rna": Space(np.arange(400), counts, 0.9)}, mixed=None)
    assert (kept.level, kept.cause) == ("poor", "not learned")
    assert "There is one batch, so this is no price of mixing" in kept.sentence
    advice = advise([kept], Config(), n_epochs=40)
    assert any(a.sentence == "Structure was lost, and there is one batch: train longer." for a in advice)
    assert not any("adversarial" in a.toml for a in advice)
