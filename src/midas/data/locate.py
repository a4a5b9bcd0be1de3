"""Locate the counts of one modality: source and row of each cell, and the features measured by each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.data.cells import Cells
from midas.data.checks import CountsError, Scan, scan
from midas.data.features import as_in_input
from midas.data.measured import measured_features
from midas.data.mosaic import ModalityRows
from midas.data.opened import Opened
from midas.data.schema import ModalitySchema
from midas.likelihoods import LIKELIHOODS
from midas.text import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray


def locate(
    schema: ModalitySchema, opened: list[Opened], cells: Cells, given: pd.DataFrame | None, notes: list[str]
) -> ModalityRows:
    """Check all counts of a modality's parts, and find each cell's row.

    Parameters
    ----------
    schema
        Of the modality.
    opened
        Its parts.
    cells
        All cells of the mosaic.
    given
        Measured features given by the user; see :func:`midas.read_mosaic`.
    notes
        Messages for the user are appended here.

    Raises
    ------
    CountsError
        When values are not counts, or all are zero.
    """
    support = LIKELIHOODS[schema.modality.likelihood].support
    columns = [schema.features.get_indexer(each.features).astype(np.int64) for each in opened]
    scans = [scan(each.source, support, each.part, cells.batch[each.positions], len(cells.batches)) for each in opened]
    source_of, row, zeros = (np.full(len(cells.batch), -1, dtype=np.int32) for _ in range(3))
    is_count = support == "counts"
    if is_count and any(len(found.empty) for found in scans) and not any(found.detected.any() for found in scans):
        msg = f"{opened[0].part.label}: expected counts, found zeros alone. Leave the modality out if it was not measured."
        raise CountsError(msg)
    padded = _padded(opened, scans, cells)
    for i, (each, found) in enumerate(zip(opened, scans, strict=True)):
        at = each.positions
        _note_zeros(each, found, padded, cells, notes, hidden=is_count)
        source_of[at], row[at] = i, np.arange(len(at))
        if is_count:
            hidden = at[padded[cells.batch[at]]]
            zeros[hidden], row[hidden] = row[hidden], -1
    measured = measured_features(schema, opened, columns, scans, cells, source_of, row, given, notes)
    names, named = as_in_input(schema, [each.part for each in opened], columns)
    return ModalityRows(
        sources=tuple(each.source for each in opened),
        columns=tuple(columns),
        source_of=source_of,
        row=row,
        measured=measured,
        input_names=names,
        input_columns=named,
        padded=zeros if (zeros >= 0).any() else None,
    )


def _padded(opened: list[Opened], scans: list[Scan], cells: Cells) -> NDArray[np.bool_]:
    """Batches with only all-zero cells in the modality while others have counts: zeros that mean 'not measured'."""
    having, empty = np.zeros((2, len(cells.batches)), dtype=np.int64)
    for each, found in zip(opened, scans, strict=True):
        batch = cells.batch[each.positions]
        having += np.bincount(batch, minlength=len(having))
        empty += np.bincount(batch[found.empty], minlength=len(having))
    padded: NDArray[np.bool_] = (having > 0) & (having == empty)
    return padded if (having > empty).any() else np.zeros(len(having), dtype=bool)


def _note_zeros(
    opened: Opened, found: Scan, padded: NDArray[np.bool_], cells: Cells, notes: list[str], *, hidden: bool
) -> None:
    """Note batches (`padded`) and cells without counts; `hidden`: whether such batches are treated as not measured."""
    label, here = opened.part.label, np.zeros(len(padded), dtype=bool)
    here[cells.batch[opened.positions]] = True
    if hidden and (padded & here).any():
        where = ", ".join(np.asarray(cells.batches)[padded & here])
        notes.append(f"{label}: no cell of {where} has any count; taken as not measured there.")
    n_empty = int((found.empty & ~padded[cells.batch[opened.positions]]).sum())
    if n_empty:
        notes.append(
            f"{label}: {counted(n_empty, 'cell has no counts at all and is', 'cells have no counts at all and are')} taken as "
            "measured zeros; remove what was not measured from the modality."
        )
