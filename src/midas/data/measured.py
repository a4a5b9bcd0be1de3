"""Masks of the features measured by each batch, which distinguish measured zeros from missing values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas import keys
from midas.data.blocks import peak_keys
from midas.data.checks import Scan
from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.cells import Cells
    from midas.data.opened import Opened
    from midas.data.parts import Part
    from midas.data.schema import ModalitySchema

# With fewer cells, a protein may be zero in all of them by chance.
_MIN_CELLS_TO_TELL = 100
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def flags_in(column: pd.Series, label: str) -> NDArray[np.bool_]:
    """Parse a boolean column, `(n,)`: booleans, 0 and 1, or their text representations in files.

    Raises
    ------
    ValueError
        For any other value, including missing ones, as these must not be guessed.
    """
    if column.dtype == bool:
        return column.to_numpy()
    found = column.astype(object).map(lambda value: _FLAGS.get(str(value).strip().lower()))
    if found.isna().any():
        invalid = column[found.isna().to_numpy()].iloc[0]
        msg = f"{label}: expected True or False everywhere, found {invalid!r} at {column.index[found.isna()][0]!r}. Fill it in."
        raise ValueError(msg)
    return found.to_numpy(dtype=bool)


def measured_features(  # noqa: PLR0913 - all that a mask can come from
    schema: ModalitySchema,
    opened: list[Opened],
    columns: list[NDArray[np.int64]],
    scans: list[Scan],
    cells: Cells,
    source_of: NDArray[np.int32],
    row: NDArray[np.int32],
    given: pd.DataFrame | None,
    notes: list[str],
) -> NDArray[np.bool_]:
    """Compute the mask of one modality.

    A batch measured the features of the objects that contain its cells, except those marked as not measured by
    ``var["measured_<batch>"]`` or `given`, and those that are zero in all its cells if
    ``Modality.zero_means_unmeasured``.

    Returns
    -------
    `(n_batches, n_features)`.
    """
    batches, batch = cells.batches, cells.batch
    measured = np.zeros((len(batches), schema.n_features), dtype=bool)
    detected = np.zeros_like(measured)
    for i, (each, column, found) in enumerate(zip(opened, columns, scans, strict=True)):
        part = each.part
        mine = np.unique(batch[(source_of == i) & (row >= 0)])
        known = column >= 0
        measured[np.ix_(mine, column[known])] = True
        detected[:, column[known]] |= found.detected[:, known]
        for b, name in enumerate(batches):
            flag = f"{keys.MEASURED_PREFIX}{name}"
            if flag in part.adata.var.columns and b in mine:
                off = ~flags_in(part.adata.var[flag], f"{part.label}: var[{flag!r}]") & known
                measured[b, column[off]] = False
        _note_strangers(part, batches, notes)
    if schema.modality.zero_means_unmeasured:
        enough = cells.count(row >= 0) >= _MIN_CELLS_TO_TELL
        silent = measured & ~detected & detected.any(0) & enough[:, None]
        measured &= ~silent
        for b in np.flatnonzero(silent.any(1)).tolist():
            features, verb = describe_names(schema.features[silent[b]]), "is" if silent[b].sum() == 1 else "are"
            notes.append(
                f"Batch {batches[b]!r}: {features} {verb} zero in all cells, but not in other batches; taken as not measured."
            )
    if given is not None:  # last, so that the user's table has precedence
        _apply_given(measured, given, schema, batches)
    return measured


def _note_strangers(part: Part, batches: tuple[str, ...], notes: list[str]) -> None:
    flags = [c for c in part.adata.var.columns if str(c).startswith(keys.MEASURED_PREFIX)]
    strangers = [c for c in flags if str(c).removeprefix(keys.MEASURED_PREFIX) not in batches]
    if strangers:
        notes.append(
            f"{part.label}: columns of var that name no batch of the data ({describe_names(pd.Index(batches))}) were not used: "
            f"{describe_names(pd.Index(strangers))}."
        )


def _apply_given(
    measured: NDArray[np.bool_], given: pd.DataFrame, schema: ModalitySchema, batches: tuple[str, ...]
) -> None:
    strangers = [str(name) for name in given.index if str(name) not in batches]
    if strangers:
        msg = f"Expected rows of measured= to be batches ({', '.join(batches)}), found {', '.join(strangers)}."
        raise ValueError(msg)
    column = schema.features.get_indexer(peak_keys(pd.Index(given.columns.astype(str))))
    if not (column >= 0).all():
        unknown = describe_names(given.columns[column < 0])
        msg = f"Expected columns of measured= to be features, found {unknown}."
        raise ValueError(msg)
    at = np.array([batches.index(str(name)) for name in given.index], dtype=np.int64)
    flags = [flags_in(given.iloc[:, i], "measured=") for i in range(given.shape[1])]
    measured[np.ix_(at, column)] = np.stack(flags, axis=1) if flags else True
