"""The learning rate over the steps, and when to wind down."""

from __future__ import annotations

import pytest

from midas import TrainingConfig
from midas.training.schedule import EarlyStopping, LearningRate


def test_up_level_down() -> None:
    rate = LearningRate.of(TrainingConfig(warmup=0.1, decay=0.4), 100)
    assert (rate.warmup_steps, rate.decay_start, rate.end) == (10, 60, 100)
    factors = [rate.factor(step) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[9] == pytest.approx(10 / 11)
    assert factors[10:61] == [1.0] * 51
    assert factors[80] == pytest.approx(0.5)
    assert factors[100] == 0.0
    assert all(a < b for a, b in zip(factors[:10], factors[1:11], strict=True))
    assert all(a > b for a, b in zip(factors[60:100], factors[61:], strict=True))


@pytest.mark.parametrize(
    "training",
    [TrainingConfig(schedule="constant"), TrainingConfig(warmup=0.0, decay=0.0)],
    ids=["constant", "no ends"],
)
def test_level_all_the_way(training: TrainingConfig) -> None:
    rate = LearningRate.of(training, 7)
    assert [rate.factor(step) for step in range(7)] == [1.0] * 7
    assert rate.end == 7


def test_winding_down_starts_the_fall_now_and_shortens_it() -> None:
    rate = LearningRate.of(TrainingConfig(warmup=0.0, decay=0.4), 100).wind_down(30)
    assert (rate.decay_start, rate.end) == (30, 50)
    assert rate.factor(29) == 1.0
    assert rate.factor(40) == pytest.approx(0.5)


def test_a_fall_that_has_begun_is_not_begun_again() -> None:
    rate = LearningRate.of(TrainingConfig(), 100)
    assert rate.wind_down(rate.decay_start) is rate
    assert rate.wind_down(90) is rate


def test_the_watch_tires_after_its_patience() -> None:
    early_stopping = EarlyStopping(patience=2)
    found = [
        (early_stopping.better(loss, epoch), early_stopping.exhausted(epoch))
        for epoch, loss in enumerate([5, 4, 4, 4.5, 3, 3, 3])
    ]
    assert [better for better, _ in found] == [True, True, False, False, True, False, False]
    assert [exhausted for _, exhausted in found] == [False, False, False, True, False, False, True]
    assert (early_stopping.best, early_stopping.best_epoch) == (3, 4)


def test_without_patience_nothing_tires() -> None:
    early_stopping = EarlyStopping(patience=None)
    early_stopping.better(1.0, 0)
    assert not early_stopping.exhausted(10_000)


def test_nan_is_never_better() -> None:
    early_stopping = EarlyStopping(patience=2)
    assert not early_stopping.better(float("nan"), 0)
    assert early_stopping.better(1.0, 1)
