"""Which batches hold cells like a given one, on points whose kinds are known."""

from __future__ import annotations

from typing import Any

import mudata as md
import numpy as np
import pytest

from helpers import tiny
from midas import MIDAS
from midas.training import counterparts as module
from midas.training import loop
from midas.training.counterparts import SURE, counterparts

CENTRES = np.random.default_rng(5).normal(scale=6, size=(5, 8))


def points(kinds: dict[int, list[int]], shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells of kinds, so many of each in each batch; batches are shifted apart."""
    rng = np.random.default_rng(seed)
    c, batch, kind = [], [], []
    for b, numbers in kinds.items():
        away = rng.normal(size=8)
        away *= shift * b / np.linalg.norm(away)
        for k, n in enumerate(numbers):
            c.append(CENTRES[k] + away + rng.normal(size=(n, 8)))
            batch += [b] * n
            kind += [k] * n
    return np.concatenate(c), np.asarray(batch), np.asarray(kind)


def found_in(c: np.ndarray, batch: np.ndarray, n_batches: int) -> np.ndarray:
    return counterparts(lambda _: c, batch, [frozenset({"rna"})] * n_batches, seed=0)


def test_batches_are_compared_by_what_both_measured() -> None:
    c, batch, kind = points({0: [80, 80, 80, 0, 0], 1: [80, 80, 0, 80, 0], 2: [80, 80, 80, 80, 0]})
    asked = []

    def states(modalities: tuple[str, ...]) -> np.ndarray:
        asked.append(modalities)
        return c

    measured = [frozenset({"rna", "atac"}), frozenset({"adt", "atac"}), frozenset({"rna"})]
    found = counterparts(states, batch, measured, seed=0)
    assert sorted(asked) == [("atac",), ("rna",)]
    assert found[(batch == 0) & (kind == 2), 1].mean() < 0.1 * SURE
    assert (found[batch == 1, 2] == SURE).all()  # proteins and genes cannot be compared
    assert (found[batch == 2, 1] == SURE).all()


@pytest.mark.parametrize("shift", [0.0, 4.0])
def test_kinds_of_one_batch_are_found_whatever_the_batch_effect(shift: float) -> None:
    c, batch, kind = points({0: [80, 80, 80, 0, 0], 1: [80, 80, 0, 80, 0], 2: [60, 0, 60, 60, 0]}, shift)
    found = found_in(c, batch, 3)
    has = {0: {0, 1, 2}, 1: {0, 1, 3}, 2: {0, 2, 3}}
    for b, kinds in has.items():
        for k in kinds:
            for other, theirs in has.items():
                mean = found[(batch == b) & (kind == k), other].mean()
                assert mean > 0.9 * SURE if k in theirs else mean < 0.1 * SURE, (b, k, other)


def test_unequal_shares_of_a_kind_are_still_counterparts() -> None:
    c, batch, kind = points({0: [300, 40, 0, 0, 0], 1: [40, 300, 0, 0, 0]})
    found = found_in(c, batch, 2)
    for b in (0, 1):
        for k in (0, 1):
            assert found[(batch == b) & (kind == k), 1 - b].mean() > 0.6 * SURE


def test_where_nothing_is_known_all_batches_count() -> None:
    c, batch, _ = points({0: [60, 60, 0, 0, 0], 1: [60, 0, 60, 0, 0], 2: [5, 0, 0, 0, 0]})
    c[:3] = np.nan
    batch[3:6] = -1
    found = found_in(c, batch, 4)
    assert (found[:6] == SURE).all()  # no state, no batch
    assert (found[:, 2:] == SURE).all()  # a tiny batch, one without cells
    assert (found[batch == 2] == SURE).all()


def test_batches_that_have_nothing_in_common_tell_nothing_of_each_other() -> None:
    """Cells of one cluster each: all of them match as well as any."""
    c, batch, _ = points({0: [80, 0, 0, 0, 0], 1: [0, 80, 0, 0, 0]})
    assert (found_in(c, batch, 2) > 0.9 * SURE).mean() > 0.9


def test_many_cells_are_represented_by_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_OF_BATCH", 240)
    c, batch, kind = points({0: [400, 400, 400, 0, 0], 1: [400, 400, 0, 400, 0]})
    found = found_in(c, batch, 2)
    assert found[(batch == 0) & (kind == 2), 1].mean() < 0.1 * SURE
    assert found[(batch == 0) & (kind < 2), 1].mean() > 0.9 * SURE
    np.testing.assert_array_equal(found, found_in(c, batch, 2))


@pytest.mark.parametrize(
    ("objective", "times"), [({}, 1), ({"counterparts": False}, 0), ({"adversarial": 0.0}, 0)], ids=str
)
def test_batches_are_compared_once(
    objective: dict[str, object], times: int, mdata: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(states: Any, batch: np.ndarray, *rest: Any, **options: Any) -> np.ndarray:
        calls.append(len(batch))
        return counterparts(states, batch, *rest, **options)

    monkeypatch.setattr(loop, "counterparts", counted)
    model = MIDAS(mdata, config=tiny(epochs=5, objective=objective)).fit(progress=False)
    assert calls == [mdata.n_obs] * times
    assert np.isfinite(model.latent()).all()


@pytest.mark.parametrize(("rise", "weighted_from"), [(0.15, 3), (0.0, 2)])
def test_batches_are_compared_before_discriminators_move_the_model_in_mid_epoch(
    rise: float, weighted_from: int, mdata: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    original = loop.train_step

    def watched(learner: Any, *rest: Any, progress: float, **options: Any) -> Any:
        seen.append((learner.counterparts is not None, learner.weights(progress).adversarial > 0))
        return original(learner, *rest, progress=progress, **options)

    monkeypatch.setattr(loop, "train_step", watched)
    config = tiny(epochs=1, batch_size=12, objective={"adversarial_start": 0.2, "adversarial_warmup": rise})
    MIDAS(mdata, config=config).fit(progress=False)
    known, weighted = zip(*seen, strict=True)
    assert list(known) == [False] * 2 + [True] * 8
    assert list(weighted) == [False] * weighted_from + [True] * (10 - weighted_from)
