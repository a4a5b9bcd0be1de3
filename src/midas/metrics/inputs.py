"""Inputs of metrics: arrays, tables or sparse matrices whose rows must be the same cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def dense(values: ArrayLike | sp.spmatrix | sp.sparray | AnnData) -> NDArray[Any]:
    """Values as a dense array; accepts sparse matrices and an AnnData (its X).

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from midas.metrics.inputs import dense
    >>> dense(sp.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    found: Any = values
    if isinstance(values, AnnData):  # as impute() gives it
        found = values.to_memory().X if values.isbacked else values.X
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found)


def same_cells(*given: object) -> None:
    """Check that all have the same number of cells, and that Series and tables name the same cells in the same order.

    Arrays have no names, nor do tables whose rows are merely numbered (a RangeIndex).

    Raises
    ------
    ValueError
        If two of them differ in the number, names or order of cells.
    """
    lengths = [_n_rows(x) for x in given]
    if len({n for n in lengths if n is not None}) > 1:
        msg = f"Expected values of the same cells, found {' and '.join(str(n) for n in lengths if n is not None)} rows."
        raise ValueError(msg)
    named = [x.index for x in given if isinstance(x, pd.Series | pd.DataFrame)]
    named = [index for index in named if not isinstance(index, pd.RangeIndex)]
    for other in named[1:]:
        if not other.equals(named[0]):
            how = "in another order" if set(other) == set(named[0]) else "under other names"
            msg = (
                f"Expected the same cells in the same order, found them {how}: {describe_names(named[0], 3)} and "
                f"{describe_names(other, 3)}. Reorder one by the index of the other, or give arrays."
            )
            raise ValueError(msg)


def _n_rows(values: object) -> int | None:
    """Number of rows; None if `values` is not an array, table or list."""
    shape = getattr(values, "shape", None)
    if shape is not None:
        return int(shape[0]) if shape else None
    return len(values) if isinstance(values, list | tuple) else None


def finite_rows(*arrays: NDArray[Any]) -> NDArray[np.bool_]:
    """Cells with only finite values in all of the arrays, `(n_cells,)`."""
    kept: NDArray[np.bool_] = np.logical_and.reduce([np.isfinite(x).all(1) for x in arrays])
    return kept
