"""Measured counts of chosen cells as sparse rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from midas.data.minibatch import gather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic

# Maximum number of rows, and of values (zeros included), per block.
_ROWS_AT_ONCE, _VALUES_AT_ONCE = 4096, 20_000_000


def measured_counts(mosaic: Mosaic, modality: str, cells: NDArray[np.int64]) -> sp.csr_matrix:
    """Measured counts of `cells`, `(n, n_features)` in the schema's order; zero where nothing was measured."""
    blocks = list(_blocks(mosaic, modality, cells))
    width = mosaic.schema.modalities[modality].n_features
    return sp.vstack(blocks, format="csr") if blocks else _empty(0, width)


def _blocks(mosaic: Mosaic, modality: str, cells: NDArray[np.int64]) -> Iterator[sp.csr_matrix]:
    width = mosaic.schema.modalities[modality].n_features
    rows = min(_ROWS_AT_ONCE, max(1, _VALUES_AT_ONCE // max(1, width)))
    for start in range(0, len(cells), rows):
        index = cells[start : start + rows]
        part = gather(mosaic, index, frozenset({modality})).counts.get(modality)
        if part is None:
            yield _empty(len(index), width)
            continue
        row, column = np.divmod(part.flat.numpy(), width)
        at = (part.cells.numpy()[row], column)
        yield sp.csr_matrix((part.values.numpy(), at), shape=(len(index), width), dtype=np.float32)


def _empty(n: int, width: int) -> sp.csr_matrix:
    empty: sp.csr_matrix = sp.csr_matrix((n, width), dtype=np.float32)  # type: ignore[arg-type]
    return empty
