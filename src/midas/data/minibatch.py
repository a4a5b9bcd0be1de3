"""Minibatches: counts of some cells, kept sparse until a network needs them dense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from midas.data.mosaic import ModalityRows, Mosaic
from midas.sparse import put

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.schema import ModalitySchema
    from midas.modality import Transform


@dataclass(frozen=True)
class Counts:
    """Counts of one modality for the cells of a minibatch that have it.

    Attributes
    ----------
    cells
        Their positions in the minibatch, `(n,)`, in ascending order.
    flat
        Positions of the non-zero counts in the flattened `(n, n_features)` array, `(nnz,)`.
    values
        These counts, `(nnz,)`.
    mask
        `(n, n_features)`, 1 where the feature was measured; None where all were.
    n_features
        Width of the array.
    """

    cells: Tensor
    flat: Tensor
    values: Tensor
    mask: Tensor | None
    n_features: int

    @property
    def entry_cell(self) -> Tensor:
        """Cell of each non-zero count, as a position in `cells`, `(nnz,)`."""
        return torch.div(self.flat, self.n_features, rounding_mode="floor")

    def dense(self, transform: Transform) -> Tensor:
        """Encoder input `(n, n_features)`; features that were not measured are 0."""
        values = self.values
        if transform == "log1p":
            values = torch.log1p(values)
        out = torch.zeros(len(self.cells) * self.n_features, dtype=values.dtype, device=values.device)
        return put(out, self.flat, values).view(len(self.cells), self.n_features)

    def to(self, device: torch.device) -> Counts:
        """Copy to a device; only non-zero counts are transferred."""
        return replace(
            self,
            cells=_copied(self.cells, device),
            flat=_copied(self.flat, device),
            values=_copied(self.values, device),
            mask=None if self.mask is None else _copied(self.mask, device),
        )


@dataclass(frozen=True)
class Minibatch:
    """Some cells of a mosaic.

    Attributes
    ----------
    index
        The cells' positions in the mosaic, `(n,)`.
    batch
        Index of each cell's batch in the model, `(n,)`; -1 for batches unknown to the model.
    known
        Positions of the cells with a known batch; None if all are known. Stored, as computing it on a GPU would
        synchronise.
    counts
        By modality; modalities without any of the cells are omitted.
    """

    index: NDArray[np.int64]
    batch: Tensor
    known: Tensor | None
    counts: Mapping[str, Counts]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.index)

    def of_batches(self, batch: Tensor) -> Minibatch:
        """Replace the batches of the cells, `(n,)`; -1 for batches unknown to the model."""
        known = torch.nonzero(batch >= 0).squeeze(1)
        return replace(self, batch=batch, known=None if len(known) == len(batch) else known)

    def to(self, device: torch.device) -> Minibatch:
        """Copy to a device."""
        return replace(
            self,
            batch=_copied(self.batch, device),
            known=None if self.known is None else _copied(self.known, device),
            counts={name: counts.to(device) for name, counts in self.counts.items()},
        )


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to a device, non-blocking on CUDA only: MPS may read memory that has already been freed."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def gather(mosaic: Mosaic, index: NDArray[np.int64], only: frozenset[str] | None = None) -> Minibatch:
    """Collect the cells `index` of a mosaic, with the modalities `only` if given."""
    batch = mosaic.batch[index]
    counts = {}
    for name, rows in mosaic.modalities.items():
        if only is not None and name not in only:
            continue
        part = _counts(rows, mosaic.schema.modalities[name], index, batch)
        if part is not None:
            counts[name] = part
    code = torch.from_numpy(mosaic.known_batch[batch])
    return Minibatch(index, code, None, counts).of_batches(code)


def _counts(
    rows: ModalityRows, schema: ModalitySchema, index: NDArray[np.int64], batch: NDArray[np.int64]
) -> Counts | None:
    at = np.flatnonzero(rows.row[index] >= 0)
    if not len(at):
        return None
    source_of, row = rows.source_of[index[at]], rows.row[index[at]]
    binary = schema.modality.transform == "binarize"
    flats, values = [], []
    for i, (source, columns) in enumerate(zip(rows.sources, rows.columns, strict=True)):
        mine = np.arange(len(at)) if len(rows.sources) == 1 else np.flatnonzero(source_of == i)
        if not len(mine):
            continue
        block = source.rows(row[mine])
        column = block.indices if rows.as_stored[i] else columns[block.indices]
        flat = np.repeat(mine * schema.n_features, np.diff(block.indptr)) + column
        if not (rows.as_stored[i] and source.positive):
            wanted = (column >= 0) & (block.data > 0 if binary else block.data != 0)
            if not wanted.all():
                flats.append(flat[wanted])
                values.append(block.data[wanted])
                continue
        flats.append(flat)
        values.append(block.data)
    flat = flats[0] if len(flats) == 1 else np.concatenate(flats)
    if binary:
        value = np.ones(len(flat), dtype=np.float32)
    else:
        value = (values[0] if len(values) == 1 else np.concatenate(values)).astype(np.float32)
    mask = None
    if not rows.measured[np.unique(batch[at])].all():
        measured = rows.measured[batch[at]]
        # Counts at features declared as not measured in the batch must not reach the input or the loss.
        seen = measured.reshape(-1)[flat]
        flat, value = flat[seen], value[seen]
        mask = torch.from_numpy(measured.astype(np.float32))
    return Counts(torch.from_numpy(at), torch.from_numpy(flat), torch.from_numpy(value), mask, schema.n_features)
