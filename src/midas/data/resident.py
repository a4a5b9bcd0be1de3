"""All counts of a mosaic in GPU memory: minibatches are gathered there, and the CPU only sends indices."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from midas.data.loader import collect
from midas.data.minibatch import Counts, Minibatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.ranks import Ranks

logger = logging.getLogger(__name__)

# Column and value of a stored count.
_ENTRY_BYTES = 4 + 4
# Fraction of free memory to use: networks, activations and temporary copies during the transfer need the rest.
_SHARE = 0.25
_CELLS_AT_ONCE = 4096


@dataclass(frozen=True)
class _Held:
    """Counts of one modality in CSR-like form.

    Attributes
    ----------
    length
        Number of counts of each cell, `(n_cells,)`, on the CPU; -1 for cells without the modality.
    cells
        On the device: start and length of each cell's counts, `(n_cells, 2)`.
    column, value
        On the device, `(n_entries,)`.
    measured
        `(n_batches, n_features)` on the device, as of :attr:`midas.data.mosaic.ModalityRows.measured`.
    complete
        Whether each batch measured all features, `(n_batches,)`, on the CPU.
    """

    length: NDArray[np.int64]
    cells: Tensor
    column: Tensor
    value: Tensor
    measured: Tensor
    complete: NDArray[np.bool_]


class Resident:
    """Counts of all cells on a device.

    Parameters
    ----------
    mosaic
        In memory or on disk; read once.
    device
        Target device.
    """

    def __init__(self, mosaic: Mosaic, device: torch.device) -> None:
        self._mosaic, self._device = mosaic, device
        self._batch = mosaic.model_batch
        self._held: Mapping[str, _Held] = _hold(mosaic, device)

    def gather(self, index: NDArray[np.int64]) -> Minibatch:
        """Collect the cells `index`, as :func:`midas.data.gather` does, without synchronisation."""
        code = self._batch[index]
        at = {name: np.flatnonzero(held.length[index] >= 0) for name, held in self._held.items()}
        at = {name: found for name, found in at.items() if len(found)}
        known = np.flatnonzero(code >= 0)
        # A single transfer for all indices.
        indices = [index, code, self._mosaic.batch[index], known, *at.values()]
        together = torch.from_numpy(np.concatenate(indices)).to(self._device, non_blocking=True)
        moved = torch.split(together, [len(part) for part in indices])
        counts = {
            name: self._counts(name, index[mine], moved[0], moved[2], here)
            for (name, mine), here in zip(at.items(), moved[4:], strict=True)
        }
        return Minibatch(index, moved[1], None if len(known) == len(index) else moved[3], counts)

    def _counts(self, name: str, index: NDArray[np.int64], cells: Tensor, batch: Tensor, at: Tensor) -> Counts:
        """Counts of the cells `index`, which are at the positions `at` of a minibatch's `cells`."""
        held, width = self._held[name], self._mosaic.schema.modalities[name].n_features
        n = int(held.length[index].sum())
        first, length = held.cells[cells[at]].unbind(1)
        row = torch.repeat_interleave(length, output_size=n)
        place = torch.arange(n, device=self._device) + (first - length.cumsum(0) + length)[row]
        flat = row * width + held.column[place]
        complete = held.complete[np.unique(self._mosaic.batch[index])].all()
        mask = None if complete else held.measured[batch[at]].float()
        return Counts(at, flat, held.value[place], mask, width)


def held_on(mosaic: Mosaic, device: torch.device, ranks: Ranks) -> Resident | None:
    """Move all counts to a GPU if they need at most a quarter of its free memory; otherwise None.

    Either all processes do or none does, as it affects the order in which cells are drawn.
    """
    if device.type != "cuda":
        return None
    needed = _ENTRY_BYTES * mosaic.entries_per_cell * mosaic.n_cells
    if not all(ranks.all_gather(needed <= _SHARE * torch.cuda.mem_get_info(device)[0])):
        logger.info("Counts (%.1f GB) are too many for the GPU and are sent there step by step.", needed / 1e9)
        return None
    logger.info("Counts (%.1f GB) are held on the GPU.", needed / 1e9)
    return Resident(mosaic, device)


class _Filling:
    """Transfers counts of one modality to the device, block by block."""

    def __init__(self, n_cells: int, device: torch.device) -> None:
        self._length = np.full(n_cells, -1, dtype=np.int64)
        self._first = np.zeros(n_cells, dtype=np.int64)
        self._n = 0
        self._columns: list[Tensor] = []
        self._values: list[Tensor] = []
        self._device = device

    def add(self, index: NDArray[np.int64], part: Counts) -> None:
        """Add the counts of a minibatch of the cells `index`."""
        cells, row = index[part.cells.numpy()], part.entry_cell
        order = torch.argsort(row, stable=True)  # several sources are concatenated, not sorted by cell
        length = torch.bincount(row, minlength=len(cells)).numpy()
        self._length[cells] = length
        self._first[cells] = self._n + np.cumsum(length) - length
        self._n += len(row)
        self._columns.append((part.flat % part.n_features)[order].int().to(self._device))
        self._values.append(part.values[order].to(self._device))

    def done(self, measured: NDArray[np.bool_]) -> _Held:
        """All of them."""
        cells = torch.from_numpy(np.stack([self._first, self._length], axis=1)).to(self._device)
        column = torch.cat([torch.empty(0, dtype=torch.int32, device=self._device), *self._columns])
        self._columns.clear()  # frees memory before the values are concatenated
        value = torch.cat([torch.empty(0, device=self._device), *self._values])
        self._values.clear()
        on_device = torch.from_numpy(measured).to(self._device)
        return _Held(self._length, cells, column, value, on_device, np.asarray(measured.all(1)))


def _hold(mosaic: Mosaic, device: torch.device) -> dict[str, _Held]:
    filling = {name: _Filling(mosaic.n_cells, device) for name in mosaic.modalities}
    order = np.argsort(mosaic.place)
    blocks = [order[i : i + _CELLS_AT_ONCE] for i in range(0, len(order), _CELLS_AT_ONCE)]
    for minibatch in collect(mosaic, blocks):
        for name, part in minibatch.counts.items():
            filling[name].add(minibatch.index, part)
    return {name: filling[name].done(rows.measured) for name, rows in mosaic.modalities.items()}
