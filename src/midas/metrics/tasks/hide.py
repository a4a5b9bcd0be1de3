"""Hide modalities, split batches into parts, and separate the measurements of a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.metrics.tasks.draw import CUT, UNPAIR, sample
from midas.metrics.tasks.read import Data

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TaskCells:
    """Cells of a task to build, `(n,)` each: row in the data, name, batch, its batch in the data, modalities seen."""

    row: NDArray[np.int64]
    name: NDArray[np.object_]
    batch: NDArray[np.object_]
    parent: NDArray[np.object_]
    seen: Mapping[str, NDArray[np.bool_]]

    def at(self, rows: NDArray[Any]) -> TaskCells:
        seen = {m: s[rows] for m, s in self.seen.items()}
        return TaskCells(self.row[rows], self.name[rows], self.batch[rows], self.parent[rows], seen)


def start(data: Data, n_cells: int | None, seed: int) -> TaskCells:
    """All cells as they are, or some of each batch."""
    batch = data.batch.astype(object)
    cells = TaskCells(np.arange(len(batch)), data.mdata.obs_names.to_numpy().astype(object), batch, batch, data.present)
    return cells if n_cells is None else cells.at(sample(data.batch, n_cells, seed=seed))


def hide(cells: TaskCells, patterns: Sequence[tuple[str, ...]], seed: int) -> TaskCells:
    """Let each batch keep the modalities of its pattern."""
    if len(patterns) > 1:
        cells = _cut(cells, len(patterns), seed)
    order = {b: i for i, b in enumerate(sorted(set(cells.batch)))}
    kind = np.array([order[b] % len(patterns) for b in cells.batch])
    seen = {m: s & np.array([m in of for of in patterns])[kind] for m, s in cells.seen.items()}
    return replace(cells, seen=seen)


def _cut(cells: TaskCells, n_batches: int, seed: int) -> TaskCells:
    """Cut large batches into parts until there are enough."""
    names_, sizes = np.unique(cells.batch.astype(str), return_counts=True)
    parts = np.ones(len(names_), dtype=np.int64)
    while parts.sum() < n_batches:
        parts[np.argmax(sizes / parts)] += 1
    if (parts > sizes).any():
        msg = f"Expected cells for {n_batches} batches, found {len(cells.row)} cells."
        raise ValueError(msg)
    rng = np.random.default_rng([seed, CUT])
    batch = cells.batch.copy()
    for name, n in zip(names_[parts > 1], parts[parts > 1], strict=True):
        in_batch = rng.permutation(np.flatnonzero(cells.batch == name))
        for i, rows in enumerate(np.array_split(in_batch, n)):
            batch[rows] = _new(f"{name}.{i + 1}", names_)
    return replace(cells, batch=batch)


def _new(name: str, taken: NDArray[np.str_]) -> str:
    if name in taken:
        msg = f"Expected no batch {name!r}, as the task makes one of that name. Rename it."
        raise ValueError(msg)
    return name


def take_apart(cells: TaskCells, batch: str | None) -> TaskCells:
    """Split one paired batch, the last if None, into a batch per modality."""
    paired = all_of(list(cells.seen.values()))
    whole = [b for b in sorted(set(cells.batch)) if paired[cells.batch == b].all()]
    if len(cells.seen) < 2 or not whole or (batch is not None and batch not in whole):
        there = ", ".join(whole) or "none"
        msg = f"Expected a batch whose cells have two or more modalities ({there}), found {batch or 'none'}."
        raise ValueError(msg)
    chosen = cells.batch == (whole[-1] if batch is None else batch)
    taken = np.unique(cells.batch.astype(str))
    return _taken_apart(cells, chosen, lambda b, modality: _new(f"{b}_{modality}", taken))


def unpair(cells: TaskCells, fraction: float, seed: int) -> TaskCells:
    """Separate the measurements of a fraction of each batch's paired cells; they stay in their batch."""
    if not 0 < fraction <= 1:
        msg = f"Expected a fraction above 0 and up to 1, found {fraction}."
        raise ValueError(msg)
    paired = np.flatnonzero(all_of(list(cells.seen.values())))
    if len(cells.seen) < 2 or not len(paired):
        raise ValueError("Expected cells with two or more modalities, found none.")
    rng = np.random.default_rng([seed, UNPAIR])
    chosen = np.zeros(len(cells.row), dtype=bool)
    for b in sorted(set(cells.batch)):
        in_batch = rng.permutation(paired[cells.batch[paired] == b])
        chosen[in_batch[: round(fraction * len(in_batch))]] = True
    return _taken_apart(cells, chosen, lambda b, _: b)


def _taken_apart(cells: TaskCells, chosen: NDArray[np.bool_], batch_of: Callable[[str, str], str]) -> TaskCells:
    """Turn each chosen cell into one cell per modality; the others come first."""
    pieces = [cells.at(~chosen)]
    for modality in cells.seen:
        piece = cells.at(chosen)
        renamed = {b: batch_of(b, modality) for b in sorted(set(piece.batch))}
        pieces.append(
            replace(
                piece,
                name=np.array([f"{name}_{modality}" for name in piece.name], dtype=object),
                batch=np.array([renamed[b] for b in piece.batch], dtype=object),
                seen={m: s & (m == modality) for m, s in piece.seen.items()},
            )
        )
    return TaskCells(
        row=np.concatenate([p.row for p in pieces]),
        name=np.concatenate([p.name for p in pieces]),
        batch=np.concatenate([p.batch for p in pieces]),
        parent=np.concatenate([p.parent for p in pieces]),
        seen={m: np.concatenate([p.seen[m] for p in pieces]) for m in cells.seen},
    )


def all_of(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Where all masks are true."""
    every: NDArray[np.bool_] = np.logical_and.reduce(masks)
    return every
