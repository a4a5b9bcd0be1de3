"""Mosaic data: per modality, the source and row of each cell, and the features measured by each batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from midas.data.names import CellNames
from midas.data.read_options import ReadOptions
from midas.data.schema import MosaicSchema
from midas.data.sources import MemorySource, Source
from midas.text import counted

if TYPE_CHECKING:
    from midas.config import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class ModalityRows:
    """Location of a modality's counts.

    Attributes
    ----------
    sources
        One per input object.
    columns
        For each source, the schema column of each of its columns; -1 for features not in the schema.
    source_of, row
        For each cell, `(n_cells,)`, its source and its row there; -1 if the cell was not measured.
    measured
        `(n_batches, n_features)`, whether the batch measured the feature.
    input_names
        Features of the schema in the spelling and order of the input, followed by those missing from the input.
    input_columns
        The schema's column of each.
    padded
        For each cell, `(n_cells,)`, its all-zero row that was treated as not measured; -1 if none. None if the input
        has no such rows, or for a subset of another mosaic.
    """

    sources: tuple[Source, ...]
    columns: tuple[NDArray[np.int64], ...]
    source_of: NDArray[np.int32]
    row: NDArray[np.int32]
    measured: NDArray[np.bool_]
    input_names: pd.Index
    input_columns: NDArray[np.int64]
    padded: NDArray[np.int32] | None = None

    @cached_property
    def as_stored(self) -> tuple[bool, ...]:
        """For each source, whether its columns equal the schema's, in the same order."""
        width = self.measured.shape[1]
        return tuple(len(c) == width and bool((c == np.arange(width)).all()) for c in self.columns)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Whether each cell was measured, `(n_cells,)`."""
        return self.row >= 0

    def load(self, index: NDArray[np.int64]) -> ModalityRows:
        """Read the rows of the cells `index` into memory."""
        source_of, row = self.source_of[index], self.row[index].copy()
        sources: list[Source] = []
        for i, source in enumerate(self.sources):
            mine = np.flatnonzero((source_of == i) & (row >= 0))
            wanted = np.unique(row[mine])
            sources.append(MemorySource(source.rows(wanted)))
            row[mine] = np.searchsorted(wanted, row[mine])
        return replace(self, sources=tuple(sources), source_of=source_of, row=row, padded=None)


@dataclass(frozen=True, repr=False)
class Mosaic:
    """Cells, batches and counts, matched by name.

    Attributes
    ----------
    schema
        Schema of the model that the data were read for, or of the data themselves for training.
    names
        Names of the cells in input order; see :attr:`cells`.
    batches
        The data's own batches, sorted.
    batch
        Each cell's index into `batches`.
    known_batch
        For each of `batches`, its index in `schema.batches`; -1 for batches unknown to the model.
    modalities
        By name, in the order of the schema. A modality of the schema that the data lack has no cells.
    notes
        Messages for the user, one sentence each.
    obs
        Other obs columns of the input, one row per cell, with a default index.
    genes
        By modality, gene symbols of each feature, if given in the input.
    read_options
        Options used for reading; a model made from the mosaic uses them for other data.
    """

    schema: MosaicSchema
    names: CellNames
    batches: tuple[str, ...]
    batch: NDArray[np.int64]
    known_batch: NDArray[np.int64]
    modalities: Mapping[str, ModalityRows]
    notes: tuple[str, ...] = ()
    obs: pd.DataFrame = field(default_factory=pd.DataFrame)
    genes: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    read_options: ReadOptions = field(default_factory=ReadOptions)

    @property
    def n_cells(self) -> int:
        """Number of cells, each counted once however many modalities it has.

        Examples
        --------
        >>> midas.read_mosaic(mdata).n_cells
        300
        """
        return len(self.names)

    @property
    def cells(self) -> pd.Index:
        """Names of the cells in input order, `(n_cells,)`, decoded on access. Results are in this order.

        Examples
        --------
        >>> len(midas.read_mosaic(mdata).cells)
        300
        """
        return self.names.index()

    @property
    def model_batch(self) -> NDArray[np.int64]:
        """Each cell's batch as an index into ``schema.batches``, `(n_cells,)`; -1 for batches unknown to the model.

        Examples
        --------
        >>> int(midas.read_mosaic(mdata).model_batch.max())
        3
        """
        found: NDArray[np.int64] = self.known_batch[self.batch]
        return found

    @property
    def on_disk(self) -> bool:
        """Whether any counts are left on disk.

        Examples
        --------
        >>> midas.read_mosaic(mdata).on_disk
        False
        """
        return any(source.on_disk for rows in self.modalities.values() for source in rows.sources)

    @property
    def entries_per_cell(self) -> float:
        """Mean number of stored counts per cell, over all modalities.

        Examples
        --------
        >>> midas.read_mosaic(mdata).entries_per_cell > 0
        True
        """
        total = sum(source.entries for rows in self.modalities.values() for source in rows.sources)
        return total / max(1, self.n_cells)

    @cached_property
    def place(self) -> NDArray[np.int32]:
        """Each cell's rank in storage order, `(n_cells,)`, sorted by the largest modality first."""
        by_size = sorted(self.modalities.values(), key=lambda rows: sum(source.entries for source in rows.sources))
        order = np.lexsort([key for rows in by_size for key in (rows.row, rows.source_of)])
        place = np.empty(self.n_cells, dtype=np.int32)
        place[order] = np.arange(self.n_cells, dtype=np.int32)
        return place

    def suited_to(self, network: NetworkConfig) -> Mosaic:
        """Copy without blocks, bottleneck or depth in modalities with too few features for them.

        Examples
        --------
        >>> midas.read_mosaic(mdata).suited_to(midas.NetworkConfig()).schema.modalities["atac"].blocks
        (80,)
        """
        return replace(self, schema=self.schema.suited_to(network.for_cells(self.n_cells)))

    def load(self, index: NDArray[np.int64], only: frozenset[str] | None = None) -> Mosaic:
        """Load the cells `index` into memory, in this order, optionally with the modalities `only`."""
        modalities = {
            name: rows.load(index)
            if only is None or name in only
            else replace(rows, row=np.full(len(index), -1, dtype=np.int32), padded=None)
            for name, rows in self.modalities.items()
        }
        obs = self.obs.iloc[index].reset_index(drop=True) if len(self.obs) == self.n_cells else self.obs
        return replace(self, names=self.names.take(index), batch=self.batch[index], modalities=modalities, obs=obs)

    def canonical_order(self) -> NDArray[np.int64]:
        """Cells sorted by batch and name. Training samples from this order, so results do not depend on the input order.

        Examples
        --------
        >>> len(midas.read_mosaic(mdata).canonical_order())
        300
        """
        by_batch = np.split(np.argsort(self.batch, kind="stable"), np.cumsum(np.bincount(self.batch))[:-1])
        # One batch at a time: an array of all names as text takes four bytes for each letter of the longest.
        names = (self.names.take(cells).index().to_numpy().astype(str) for cells in by_batch)
        ordered = [cells[np.argsort(own, kind="stable")] for cells, own in zip(by_batch, names, strict=True)]
        return np.concatenate([np.empty(0, dtype=np.int64), *ordered])

    def measured_in(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Whether each cell has at least one of the modalities `names`, `(n_cells,)`.

        Examples
        --------
        >>> int(midas.read_mosaic(mdata).measured_in(["adt"]).sum()) == mdata["adt"].n_obs
        True
        """
        found = np.zeros(self.n_cells, dtype=bool)
        for name in names:
            found |= self.modalities[name].present
        return found

    def combinations(self) -> pd.Series:
        """Each cell's modalities joined by ``+``, `(n_cells,)`, in the order of :attr:`cells`; empty for a cell without any.

        Examples
        --------
        >>> sorted(set(midas.read_mosaic(mdata).combinations()))
        ['adt', 'adt+atac+rna', 'adt+rna', 'atac+rna']
        """
        parts = {name: rows.present for name, rows in self.modalities.items()}
        codes = sum((present.astype(np.int64) << i for i, present in enumerate(parts.values())), np.zeros(1, np.int64))
        labels = {
            code: "+".join(name for i, name in enumerate(parts) if code >> i & 1) for code in np.unique(codes).tolist()
        }
        return pd.Series(codes).map(labels)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} ({part.n_features:,})" for name, part in self.schema.modalities.items())
        size = f"{counted(self.n_cells, 'cell', 'cells')}, {counted(len(self.batches), 'batch', 'batches')}"
        return f"Mosaic: {size}, {parts}"
