"""Which cells meet in a minibatch, how often, and what happens when reading fails."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from helpers import names, one, simulated
from midas import Mosaic, TrainingConfig, read_mosaic
from midas.data.loader import Order, collect, epoch_indices, steps_per_epoch

SIZES = np.array([100, 37, 5])
BATCH = np.repeat([0, 1, 2], SIZES)
CELLS = np.arange(1000, 1000 + len(BATCH))  # positions in a mosaic, of which other cells are held out
MIXED, BY_BATCH = TrainingConfig(), TrainingConfig(sampling="by_batch")


def epoch(training: TrainingConfig, batch_size: int, seed: int = 0) -> list[np.ndarray]:
    return epoch_indices(CELLS, BATCH, batch_size, training, np.random.default_rng(seed))


@pytest.mark.parametrize("batch_size", [1, 16, 20, 141, 142, 1000])
def test_mixed_minibatches_hold_every_cell_once_in_even_portions(batch_size: int) -> None:
    found = epoch(MIXED, batch_size)
    assert sorted(np.concatenate(found)) == CELLS.tolist()
    sizes = [len(index) for index in found]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == steps_per_epoch(SIZES, batch_size, MIXED)


@pytest.mark.parametrize("batch_size", [1, 16, 50, 1000])
@pytest.mark.parametrize("cap", [10_000, 30])
def test_by_batch_gives_each_batch_the_steps_of_the_largest(batch_size: int, cap: int) -> None:
    training = replace(BY_BATCH, max_cells_per_batch=cap)
    found = epoch(training, batch_size)
    longest = min(100, cap)
    assert len(found) == steps_per_epoch(SIZES, batch_size, training) == 3 * -(-longest // batch_size)
    drawn = Counter(np.concatenate(found).tolist())
    for b in range(3):
        times = [drawn[cell] for cell in CELLS[b == BATCH]]
        assert sum(times) == longest
        assert max(times) - min(times) <= 1  # drawn again only when all have been drawn
    batches = [np.unique(BATCH[index - 1000]).tolist() for index in found]
    assert batches == [[0], [1], [2]] * (len(found) // 3)


@pytest.mark.parametrize("training", [MIXED, BY_BATCH])
def test_draws_follow_the_generator(training: TrainingConfig) -> None:
    first, again, other = (np.concatenate(epoch(training, 16, seed)) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize("order", ["alike", "stored"])
def test_an_order_of_what_cells_have_needs_the_mosaic(order: Order) -> None:
    with pytest.raises(ValueError, match=f"Expected a mosaic with order='{order}', found none"):
        epoch_indices(CELLS, BATCH, 16, MIXED, np.random.default_rng(0), order=order)


@pytest.mark.parametrize("batch_size", [4, 30, 1000])
def test_minibatches_can_be_drawn_alike(batch_size: int) -> None:
    mosaic = read_mosaic(simulated(n_cells=150))
    cells, rng = np.arange(3, mosaic.n_cells), np.random.default_rng(0)
    first, second = (
        epoch_indices(cells, mosaic.batch[cells], batch_size, MIXED, rng, mosaic, order="alike") for _ in range(2)
    )
    assert sorted(np.concatenate(first)) == cells.tolist()
    assert len(first) == -(-len(cells) // batch_size)
    assert len({len(index) for index in first}) <= 2
    kind = mosaic.combinations().to_numpy()
    numbers = [tuple(np.sum(kind[index] == k) for k in np.unique(kind)) for index in (*first, *second)]
    assert np.ptp(numbers, axis=0).max() <= 1
    assert len(set(numbers)) <= 2 * len(np.unique(kind))  # however many minibatches there are
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()


@pytest.mark.parametrize("order", ["alike", "stored"])
def test_an_order_that_needs_a_mosaic_is_refused_without_one(order: Order) -> None:
    with pytest.raises(ValueError, match=f"Expected a mosaic with order='{order}'"):
        epoch_indices(CELLS, BATCH, 16, MIXED, np.random.default_rng(0), order=order)


@pytest.fixture
def mosaic() -> Mosaic:
    return read_mosaic(one(names("c", 40), names("g", 3)))


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "midas-minibatches"]


def test_minibatches_come_in_order_and_the_thread_ends(mosaic: Mosaic) -> None:
    indices = [np.array([i, 39 - i]) for i in range(10)]
    assert [minibatch.index.tolist() for minibatch in collect(mosaic, indices)] == [index.tolist() for index in indices]
    assert not readers()


def test_nothing_to_collect_ends_at_once(mosaic: Mosaic) -> None:
    assert list(collect(mosaic, [])) == []


def test_leaving_early_ends_the_thread(mosaic: Mosaic) -> None:
    minibatches = collect(mosaic, [np.array([0])] * 50)
    next(minibatches)
    assert readers()
    minibatches.close()  # type: ignore[attr-defined]
    assert not readers()


def test_no_more_is_read_ahead_than_wanted(mosaic: Mosaic, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    rows = mosaic.modalities["rna"].sources[0]
    original = rows.rows
    monkeypatch.setattr(rows, "rows", lambda index: read.append(int(index[0])) or original(index))
    minibatches = collect(mosaic, [np.array([i]) for i in range(40)], ahead=2)
    for n in range(3):
        next(minibatches)
        assert len(read) <= n + 4  # this one, two that wait, and one in the making
    minibatches.close()  # type: ignore[attr-defined]


def test_an_error_while_reading_reaches_the_reader(mosaic: Mosaic) -> None:
    minibatches = collect(mosaic, [np.array([0]), np.array([1000])])
    assert next(minibatches).n_cells == 1
    with pytest.raises(IndexError, match="1000"):
        next(minibatches)
    assert not readers()
