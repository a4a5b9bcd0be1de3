"""Which cells meet in a minibatch, and a thread that collects the next one while the present one is trained on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from midas.data.minibatch import Minibatch, gather

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.config import TrainingConfig
    from midas.data.mosaic import Mosaic

_DONE = object()


def steps_per_epoch(sizes: NDArray[np.int64], batch_size: int, training: TrainingConfig) -> int:
    """Count the minibatches of an epoch, from the number of training cells of each batch."""
    if training.sampling == "mixed":
        return max(1, -(-int(sizes.sum()) // batch_size))
    longest = min(int(sizes.max()), training.max_cells_per_batch)
    return int((sizes > 0).sum()) * -(-longest // batch_size)


def epoch_indices(
    cells: NDArray[np.int64],
    batch: NDArray[np.int64],
    batch_size: int,
    training: TrainingConfig,
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    """Draw the minibatches of one epoch.

    Parameters
    ----------
    cells
        Training cells in canonical order, `(n,)`.
    batch
        Batch of each of them, `(n,)`.
    """
    if training.sampling == "mixed":
        order = rng.permutation(cells)
        n_steps = max(1, -(-len(order) // batch_size))
        return np.array_split(order, n_steps)  # even sizes: no last minibatch of a few cells
    members = [cells[batch == b] for b in np.unique(batch)]
    longest = min(max(map(len, members)), training.max_cells_per_batch)
    rounds = []
    for mine in members:
        draws = [rng.permutation(mine) for _ in range(-(-longest // len(mine)))]
        rounds.append([np.concatenate(draws)[:longest][i : i + batch_size] for i in range(0, longest, batch_size)])
    return [minibatch for turn in zip(*rounds, strict=True) for minibatch in turn]


def collect(
    mosaic: Mosaic, indices: list[NDArray[np.int64]], *, only: frozenset[str] | None = None, ahead: int = 2
) -> Iterator[Minibatch]:
    """Collect minibatches in order, up to `ahead` of them before they are asked for.

    An error while reading comes out of the iterator, not out of the thread.
    """
    ready: queue.Queue[object] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for index in indices:
                if stop.is_set():
                    return
                put(gather(mosaic, index, only))
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the reader of the iterator
            put(error)
        else:
            put(_DONE)

    thread = threading.Thread(target=work, daemon=True, name="midas-minibatches")
    thread.start()
    try:
        while (item := ready.get()) is not _DONE:
            if isinstance(item, BaseException):
                raise item
            assert isinstance(item, Minibatch)
            yield item
    finally:
        stop.set()
        thread.join()
