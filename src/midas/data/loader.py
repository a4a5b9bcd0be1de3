"""Sampling of minibatches, and a background thread that prefetches them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import numpy as np
import pandas as pd

from midas.data.minibatch import Minibatch, gather

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.config import TrainingConfig
    from midas.data.mosaic import Mosaic

_DONE = object()
# For data on disk: number of consecutive cells read together, and number of stored counts (8 bytes each) per buffer;
# two further buffers are being read or queued.
_CHUNK = 64
_ENTRIES_AT_ONCE = 8_000_000

Order = Literal["free", "alike", "stored"]
Item = TypeVar("Item")


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
    mosaic: Mosaic | None = None,
    part: tuple[int, int] = (0, 1),
    *,
    order: Order = "free",
) -> list[NDArray[np.int64]]:
    """Draw the minibatches of one epoch.

    Parameters
    ----------
    cells
        Training cells in canonical order, `(n,)`.
    batch
        Batch of each of them, `(n,)`.
    mosaic
        Modalities and storage order of the cells; not needed for the `free` order.
    part
        Rank of this process and number of processes: each gets an equal share of every minibatch.
    order
        Order of ``mixed`` sampling. ``alike``: numbers of cells with each combination of modalities differ by at most
        one between minibatches. ``stored``: consecutive cells are read together.

    Raises
    ------
    ValueError
        When an order other than `free` is requested without a mosaic.
    """
    if order != "free" and mosaic is None:
        msg = f"Expected a mosaic with order={order!r}, found none. Give it, or draw in a free order."
        raise ValueError(msg)
    rank, size = part
    if training.sampling == "mixed":
        n_steps = max(1, -(-len(cells) // batch_size))
        if order == "alike" and mosaic is not None:
            return _alike(cells, mosaic, n_steps, rng)
        if order == "stored" and mosaic is not None:
            mine = _stored_order(cells, mosaic, rng, size)[rank]
        else:
            mine = rng.permutation(cells)[rank::size]
        drawn = np.array_split(mine, n_steps)  # even sizes, without a small last minibatch
        return [index if len(index) else cells[:1] for index in drawn]  # more processes than cells of a step
    members = [cells[batch == b] for b in np.unique(batch)]
    longest = min(max(map(len, members)), training.max_cells_per_batch)
    rounds = []
    for mine in members:
        draws = [rng.permutation(mine) for _ in range(-(-longest // len(mine)))]
        rounds.append([np.concatenate(draws)[:longest][i : i + batch_size] for i in range(0, longest, batch_size)])
    drawn = [minibatch for turn in zip(*rounds, strict=True) for minibatch in turn]
    return drawn if size == 1 else [whole[rank::size] if len(whole) > rank else whole[:1] for whole in drawn]


def _alike(cells: NDArray[np.int64], mosaic: Mosaic, n_steps: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Distribute cells round-robin, sorted by combination of modalities, so that minibatches have few different shapes."""
    kind, _ = pd.factorize(mosaic.combinations().to_numpy()[cells])
    mixed = rng.permutation(len(cells))
    order = cells[mixed[np.argsort(kind[mixed], kind="stable")]]
    return [order[step::n_steps] for step in rng.permutation(n_steps)]


def scattered(mosaic: Mosaic, n_cells: int) -> bool:
    """Whether to draw this many cells in storage order, as random access would be too slow."""
    return mosaic.on_disk and n_cells > cells_at_once(mosaic)


def cells_at_once(mosaic: Mosaic) -> int:
    """Number of cells per in-memory buffer for data on disk."""
    return max(_CHUNK, int(_ENTRIES_AT_ONCE / max(1.0, mosaic.entries_per_cell)))


def _stored_order(
    cells: NDArray[np.int64], mosaic: Mosaic, rng: np.random.Generator, size: int
) -> list[NDArray[np.int64]]:
    """Shuffle without random access: shuffle chunks of consecutive cells, then the cells within groups of chunks.

    Chunks are distributed over `size` processes. Each computes the order of all, so that their random states stay
    equal.
    """
    stored = cells[np.argsort(mosaic.place[cells], kind="stable")]
    start = int(rng.integers(_CHUNK))  # random offset per epoch, so that chunks differ
    chunks = [part for part in np.split(stored, np.arange(start, len(stored), _CHUNK)) if len(part)]
    mixed = [chunks[i] for i in rng.permutation(len(chunks))]
    together = max(1, cells_at_once(mosaic) // _CHUNK)
    orders = []
    for rank in range(size):
        mine = mixed[rank::size]
        groups = [np.concatenate(mine[i : i + together]) for i in range(0, len(mine), together)]
        orders.append(np.concatenate([rng.permutation(group) for group in groups] or [cells[:1]]))
    return orders


def collect(
    mosaic: Mosaic, indices: list[NDArray[np.int64]], *, only: frozenset[str] | None = None, ahead: int = 2
) -> Generator[Minibatch]:
    """Collect minibatches in order, prefetching up to `ahead` of them.

    Data on disk are read in large buffers, in storage order. Errors while reading are raised by the iterator.
    """
    if not mosaic.on_disk:
        return in_thread((gather(mosaic, index, only) for index in indices), ahead)
    buffers = in_thread((_buffer(mosaic, group, only) for group in _groups(indices, cells_at_once(mosaic))), 1)
    return in_thread(_drawn(buffers, only), ahead)


def _groups(indices: list[NDArray[np.int64]], most: int) -> Iterator[list[NDArray[np.int64]]]:
    """Group consecutive minibatches with at most `most` cells in total, but at least one minibatch."""
    group: list[NDArray[np.int64]] = []
    for index in indices:
        if group and sum(map(len, group)) + len(index) > most:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _buffer(
    mosaic: Mosaic, group: list[NDArray[np.int64]], only: frozenset[str] | None
) -> tuple[Mosaic, NDArray[np.int64], list[NDArray[np.int64]]]:
    cells = np.unique(np.concatenate(group))
    return mosaic.load(cells, only), cells, group


def _drawn(
    buffers: Generator[tuple[Mosaic, NDArray[np.int64], list[NDArray[np.int64]]]], only: frozenset[str] | None
) -> Iterator[Minibatch]:
    try:
        for loaded, cells, group in buffers:
            for index in group:
                yield replace(gather(loaded, np.searchsorted(cells, index), only), index=index)
    finally:
        buffers.close()


def in_thread(items: Iterator[Item], ahead: int) -> Generator[Item]:
    """Run an iterator in a background thread, prefetching up to `ahead` items; its errors are re-raised here."""
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
            for item in items:
                put(item)
                if stop.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the reader of the iterator
            put(_Broken(error))
        else:
            put(_DONE)
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=work, daemon=True, name="midas-minibatches")
    thread.start()
    try:
        while (item := ready.get()) is not _DONE:
            if isinstance(item, _Broken):
                raise item.error
            yield cast("Item", item)
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True)
class _Broken:
    """An error to be re-raised outside of the thread."""

    error: BaseException
