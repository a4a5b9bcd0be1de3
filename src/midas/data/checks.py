"""Check that all values are raw counts, block by block, before anything is trained or written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midas import keys

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from midas.data.parts import Part
    from midas.data.sources import Source
    from midas.likelihoods import Support

# Maximum number of rows and of stored values (about 80 bytes each in temporary arrays) per block.
_ROWS, _ENTRIES = 8192, 500_000
_LARGEST = np.finfo(np.float32).max  # as networks compute in float32


class CountsError(ValueError):
    """The values are not what the modality's likelihood can score."""


@dataclass(frozen=True)
class Scan:
    """Result of one pass over a source.

    Attributes
    ----------
    empty
        `(n_rows,)`, rows without any count.
    detected
        `(n_groups, n_columns)`, whether any row of the group has a count of the feature.
    """

    empty: NDArray[np.bool_]
    detected: NDArray[np.bool_]


def scan(source: Source, support: Support, part: Part, group: NDArray[np.int64], n_groups: int) -> Scan:
    """Check every value and note empty rows and undetected features.

    Parameters
    ----------
    source
        The counts.
    support
        ``counts`` rejects negative and fractional values, ``real`` only non-finite ones.
    part
        The part that the source belongs to, for messages.
    group
        Each row's batch.
    n_groups
        Number of batches.

    Raises
    ------
    CountsError
        Naming the first value that is not a count, its cell and its feature, and what to do.
    """
    n_rows, n_columns = source.shape
    empty = np.zeros(n_rows, dtype=bool)
    detected = np.zeros((n_groups, n_columns), dtype=bool)
    rows = min(_ROWS, max(64, _ENTRIES * n_rows // max(1, source.entries)))
    for start in range(0, n_rows, rows):
        index = np.arange(start, min(start + rows, n_rows), dtype=np.int64)
        block = source.rows(index)
        _check_values(block, support, part, start)
        filled = np.repeat(index, np.diff(block.indptr))[block.data != 0]
        empty[index] = True
        empty[filled] = False
        detected[group[filled], block.indices[block.data != 0]] = True
    return Scan(empty, detected)


def _check_values(block: sp.csr_matrix, support: Support, part: Part, start: int) -> None:
    values = block.data
    tests = [(~np.isfinite(values), "NaN or infinite values", "Remove or mend these cells or features.")]
    if values.dtype.kind == "f" and values.dtype.itemsize > _LARGEST.dtype.itemsize:
        tests.append(
            (np.abs(values) > _LARGEST, "values too large for float32", "Remove or mend these cells or features.")
        )
    if support == "counts":
        layers = sorted(set(part.adata.layers) - {keys.IMPUTED, keys.CORRECTED})
        where = f"Layers there: {', '.join(layers)}; choose one with layer=." if layers else "There are no layers."
        kept = (
            " raw has other values: midas.pp.prepare() takes them if they are counts."
            if part.adata.raw is not None
            else ""
        )
        raw = f"Give raw counts, not normalised or log-transformed values. {where}{kept}"
        with np.errstate(invalid="ignore"):
            tests += [
                (values < 0, "negative values", raw),
                (values != np.rint(values), "values that are not whole", raw),
            ]
    for wrong, what, advice in tests:
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            row = int(np.searchsorted(block.indptr, first, side="right")) - 1
            cell, feature = part.adata.obs_names[start + row], part.adata.var_names[block.indices[first]]
            expected = "raw counts (whole numbers from 0 up)" if support == "counts" else "finite numbers"
            msg = (
                f"{part.label}: expected {expected}, found {what}, first {_written(values[first])} at cell {cell!r}, feature "
                f"{feature!r}. {advice}"
            )
            raise CountsError(msg)


def _written(value: Any) -> str:  # noqa: ANN401 - a number of numpy
    """Format a number with few digits, if that does not change its value."""
    short = f"{value:.6g}"
    return short if value.dtype.type(short) == value or not np.isfinite(value) else str(value)
