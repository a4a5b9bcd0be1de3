"""Where the counts of one modality are: for each cell its source and its row there, for each batch what it measured."""

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

if TYPE_CHECKING:
    from numpy.typing import NDArray


def locate(
    schema: ModalitySchema, opened: list[Opened], cells: Cells, given: pd.DataFrame | None, notes: list[str]
) -> ModalityRows:
    """Check every count of a modality's parts, and find each cell's row.

    Parameters
    ----------
    schema
        Of the modality.
    opened
        Its parts.
    cells
        All cells of the mosaic.
    given
        What the user says that batches measured; see :func:`midas.read_mosaic`.
    notes
        What the user should know is added here.

    Raises
    ------
    CountsError
        When values are no counts, or none is above zero.
    """
    support = LIKELIHOODS[schema.modality.likelihood].support
    columns = [schema.features.get_indexer(each.features).astype(np.int64) for each in opened]
    scans = [scan(each.source, support, each.part, cells.batch[each.positions], len(cells.batches)) for each in opened]
    source_of, row = (np.full(len(cells.batch), -1, dtype=np.int32) for _ in range(2))
    is_count = schema.modality.likelihood != "gaussian"
    if is_count and any(len(found.empty) for found in scans) and not any(found.detected.any() for found in scans):
        msg = f"{opened[0].part.label}: expected counts, found zeros alone. Leave the modality out if it was not measured."
        raise CountsError(msg)
    for i, (each, found) in enumerate(zip(opened, scans, strict=True)):
        at = each.positions
        padded = _padded(found, cells.batch[at], len(cells.batches))
        _note_zeros(each, found, padded, cells, notes, hidden=is_count)
        source_of[at], row[at] = i, np.arange(len(at))
        if is_count:
            row[at[padded[cells.batch[at]]]] = -1
    measured = measured_features(schema, opened, columns, scans, cells, source_of, row, given, notes)
    names, named = as_in_input(schema, [each.part for each in opened], columns)
    return ModalityRows(tuple(each.source for each in opened), tuple(columns), source_of, row, measured, names, named)


def _padded(found: Scan, group: NDArray[np.int64], n_groups: int) -> NDArray[np.bool_]:
    """Batches of which the object has cells, but none with a count: zeros that stand for 'not measured'."""
    cells = np.bincount(group, minlength=n_groups)
    empty = np.bincount(group[found.empty], minlength=n_groups)
    padded: NDArray[np.bool_] = (cells > 0) & (cells == empty)
    return padded if (cells > empty).any() else np.zeros(n_groups, dtype=bool)


def _note_zeros(
    opened: Opened, found: Scan, padded: NDArray[np.bool_], cells: Cells, notes: list[str], *, hidden: bool
) -> None:
    """Say which batches (`padded`) and cells have no counts; `hidden` when such batches are taken as not measured."""
    label = opened.part.label
    if hidden and padded.any():
        where = ", ".join(np.asarray(cells.batches)[padded])
        notes.append(f"{label}: no cell of {where} has any count; taken as not measured there.")
    n_empty = int((found.empty & ~padded[cells.batch[opened.positions]]).sum())
    if n_empty:
        notes.append(
            f"{label}: {n_empty:,} cells have no counts at all and are taken as measured zeros; remove them from "
            "the modality if they were not measured."
        )
