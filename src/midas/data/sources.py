"""Where rows of counts come from: a CSR matrix in memory, a dense array, or a matrix left on disk.

A source hands out the rows asked for as CSR and nothing else. Which cell a row is, and which feature a column is, is
known outside, so that no source ever has to be copied into another order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse as sp
from anndata.abc import CSCDataset, CSRDataset

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Source(Protocol):
    """Rows of counts."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def rows(self, index: NDArray[np.int64]) -> sp.csr_matrix:
        """Read the rows `index`, in that order."""


class MemorySource:
    """A sparse or dense matrix in memory; CSC is turned to CSR once, dense stays and is cut row by row."""

    def __init__(self, matrix: Any) -> None:  # noqa: ANN401 - whatever AnnData holds
        self._matrix: Any
        if sp.issparse(matrix):
            self._matrix = sp.csr_matrix(matrix)  # type: ignore[call-overload]
            # Formats converted from COO may list one entry twice; scatter would drop one of the two.
            if not self._matrix.has_canonical_format:
                self._matrix = self._matrix.copy()
                self._matrix.sum_duplicates()
        else:
            self._matrix = np.asarray(matrix)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self._matrix.shape[0]), int(self._matrix.shape[1])

    def rows(self, index: NDArray[np.int64]) -> sp.csr_matrix:
        """Read the rows `index`, in that order."""
        return sp.csr_matrix(self._matrix[index])


class BackedSource:
    """A CSR or dense matrix on disk, read row by row through anndata or h5py."""

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401 - anndata's sparse dataset or an h5py/zarr array
        self._dataset = dataset

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self._dataset.shape[0]), int(self._dataset.shape[1])

    def rows(self, index: NDArray[np.int64]) -> sp.csr_matrix:
        """Read the rows `index`, in that order: on disk they are read in rising order, each once."""
        unique, inverse = np.unique(index, return_inverse=True)
        block = sp.csr_matrix(self._dataset[unique])
        return block if np.array_equal(unique, index) else block[inverse]


def open_source(matrix: Any) -> Source:  # noqa: ANN401 - whatever AnnData holds
    """Wrap what AnnData keeps in `X` or in a layer."""
    if sp.issparse(matrix) or isinstance(matrix, np.ndarray):
        return MemorySource(matrix)
    if isinstance(matrix, CSCDataset):
        # Rows of a column-wise file cannot be read without reading all of it.
        return MemorySource(matrix.to_memory())
    if isinstance(matrix, CSRDataset) or hasattr(matrix, "shape"):
        return BackedSource(matrix)
    msg = f"Expected counts as a sparse or dense matrix, found {type(matrix).__name__}."
    raise TypeError(msg)
