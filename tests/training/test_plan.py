"""What a run will do, chosen from the data."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from helpers import joined, names, one
from midas import Mosaic, TrainingConfig, read_mosaic
from midas.data.read import read_for_model
from midas.training import plan_training

GENES, PROTEINS = names("g", 3), names("p", 2)


def mosaic(n: int = 1000) -> Mosaic:
    """Two batches, of which one has the modalities in part; the first cell alone has a combination of its own."""
    cells = names("c", n)
    batch = ["b1" if i < 0.7 * n else "b2" for i in range(n)]
    start = int(0.4 * n)
    rna = one([cells[0], *cells[1 : int(0.9 * n)]], GENES, batch[: int(0.9 * n)])
    adt = one([cells[0], *cells[start:]], PROTEINS, [batch[0], *batch[start:]])
    return read_mosaic(joined({"rna": rna, "adt": adt}))


def test_every_cell_is_trained_on_or_held_out() -> None:
    data = mosaic()
    plan = plan_training(data, TrainingConfig(validation_fraction=0.1), seed=0)
    assert sorted([*plan.train, *plan.validation]) == list(range(1000))
    assert len(plan.validation) == pytest.approx(100, abs=3)


def test_cells_are_held_out_of_every_batch_and_combination_alike() -> None:
    data = mosaic()
    plan = plan_training(data, TrainingConfig(validation_fraction=0.3), seed=0)
    kind = np.char.add(data.combinations().to_numpy().astype(str), data.batch.astype(str))
    for name in np.unique(kind):
        members = np.flatnonzero(kind == name)
        share = np.isin(members, plan.validation).mean()
        assert share == pytest.approx(0.3, abs=0.02), name


def test_of_a_kind_at_least_half_the_cells_are_kept() -> None:
    data = mosaic()
    plan = plan_training(data, TrainingConfig(validation_fraction=0.9), seed=0)
    assert len(plan.train) >= 500


@pytest.mark.parametrize(("n", "fraction"), [(4_999, None), (6_000, 0.0)])
def test_small_data_and_a_fraction_of_nothing_hold_none_out(n: int, fraction: float | None) -> None:
    plan = plan_training(mosaic(n), TrainingConfig(validation_fraction=fraction), seed=0)
    assert len(plan.validation) == 0
    assert len(plan.train) == n


def test_of_larger_data_a_tenth_is_held_out() -> None:
    assert len(plan_training(mosaic(5_000), TrainingConfig(), seed=0).validation) == pytest.approx(500, abs=3)


def test_no_more_are_held_out_than_are_needed_to_watch() -> None:
    data = read_mosaic(one(names("c", 30_000), ["g"], "b"))
    assert len(plan_training(data, TrainingConfig(), seed=0).validation) == 2000


def test_the_choice_follows_the_seed_and_not_the_order_of_the_cells() -> None:
    def held(order: np.ndarray, seed: int) -> set[str]:
        cells, batch = np.array(names("c", 600)), np.array(["b1", "b2"] * 300)
        data = read_mosaic(one(cells[order].tolist(), GENES, batch[order].tolist()))
        return set(data.cells[plan_training(data, TrainingConfig(validation_fraction=0.1), seed).validation])

    straight = np.arange(600)
    assert held(straight, 1) == held(straight[::-1], 1)
    assert held(straight, 1) != held(straight, 2)


def test_cells_of_nothing_are_not_trained_on() -> None:
    schema = read_mosaic(one(names("c", 4), GENES)).schema
    mdata = joined({"rna": one(names("c", 20), GENES), "adt": one(names("d", 7), PROTEINS)})
    data = read_for_model(mdata, schema=schema)
    assert data.n_cells == 27
    assert sorted(plan_training(data, TrainingConfig(), seed=0).train) == list(range(20))


def test_portions_and_passes_follow_the_size() -> None:
    plans = []
    for n in (600, 4_000, 20_000, 60_000):
        found = plan_training(read_mosaic(one(names("c", n), ["g"], "b")), TrainingConfig(), seed=0)
        assert found.steps_per_epoch == -(-len(found.train) // found.batch_size)
        assert found.total_steps == found.epochs * found.steps_per_epoch
        plans.append(found)
    assert [p.batch_size for p in plans] == sorted(p.batch_size for p in plans)
    assert plans[0].batch_size < plans[-1].batch_size
    assert [p.epochs for p in plans] == sorted((p.epochs for p in plans), reverse=True)
    assert [p.total_steps for p in plans] == sorted(p.total_steps for p in plans)


def test_what_is_configured_is_kept_and_what_is_chosen_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="midas")
    plan = plan_training(mosaic(), TrainingConfig(epochs=7, batch_size=50), seed=0)
    assert (plan.epochs, plan.batch_size) == (7, 50)
    assert "at most 7 epochs of 20 steps, 50 cells a step" in caplog.text
