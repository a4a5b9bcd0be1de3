"""Sources of rows of counts: a CSR matrix in memory, a dense array, or a matrix on disk.

A source only returns the requested rows as CSR. The mapping of rows to cells and of columns to features is kept
outside, so that no source has to be copied into another order.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.sparse as sp
from anndata.abc import CSCDataset, CSRDataset

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Gaps of up to this many rows are read rather than skipped, as a separate access is more expensive.
_GAP = 16


class Source(Protocol):
    """Rows of counts."""

    on_disk: bool

    @property
    def positive(self) -> bool:
        """Whether all stored values are known to be positive."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def entries(self) -> int:
        """Number of stored values, without zeros in sparse formats."""

    def rows(self, index: NDArray[np.signedinteger[Any]]) -> sp.csr_matrix:
        """Read the rows `index`, in that order."""


class MemorySource:
    """A sparse or dense matrix in memory; CSC is converted to CSR once, dense matrices are converted on access."""

    on_disk = False

    def __init__(self, matrix: Any) -> None:  # noqa: ANN401 - whatever AnnData holds
        self._matrix: Any
        if sp.issparse(matrix):
            self._matrix = sp.csr_matrix(matrix)  # type: ignore[call-overload]
            # Matrices converted from COO may have duplicate entries; scatter would drop one of them.
            if not self._matrix.has_canonical_format:
                self._matrix = _summed(self._matrix)
            _same_integers(self._matrix)
        else:
            self._matrix = _for_scipy(np.asarray(matrix))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self._matrix.shape[0]), int(self._matrix.shape[1])

    @property
    def entries(self) -> int:
        """Stored numbers."""
        return int(getattr(self._matrix, "nnz", self._matrix.size))

    @cached_property
    def positive(self) -> bool:
        """Whether all stored values are positive; computed once, a million at a time."""
        if not sp.issparse(self._matrix):
            return False
        data: NDArray[Any] = self._matrix.data  # type: ignore[attr-defined]
        return all(bool((data[i : i + 1_000_000] > 0).all()) for i in range(0, len(data), 1_000_000))

    def rows(self, index: NDArray[np.signedinteger[Any]]) -> sp.csr_matrix:
        """Read the rows `index`, in that order."""
        return sp.csr_matrix(self._matrix[index])


def _for_scipy(matrix: Any) -> Any:  # noqa: ANN401 - whatever AnnData holds
    """Convert half precision to float32, as scipy does not support it."""
    return matrix.astype(np.float32) if matrix.dtype == np.float16 else matrix


def _summed(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Sum duplicate entries, in a dtype wide enough for the sums."""
    narrow = matrix.dtype.kind in "biu" and matrix.dtype.itemsize < np.dtype(np.int32).itemsize
    wide = sp.csr_matrix(matrix, dtype=np.int32 if narrow else matrix.dtype, copy=True)
    wide.sum_duplicates()
    return wide


def _same_integers(matrix: sp.csr_matrix) -> None:
    """Convert both index arrays to one dtype, in place; files may store `indptr` in a wider dtype than `indices`.

    Otherwise scipy would convert all `indices` to the wider dtype on every row selection.
    """
    kinds = {matrix.indices.dtype, matrix.indptr.dtype}
    if len(kinds) > 1:
        fits = max(matrix.nnz, *matrix.shape) <= np.iinfo(np.int32).max
        kind: Any = np.int32 if fits else np.int64
        matrix.indices = matrix.indices.astype(kind, copy=False)
        matrix.indptr = matrix.indptr.astype(kind, copy=False)


class BackedSource:
    """A CSR or dense matrix on disk, read through anndata, h5py or zarr in runs of neighbouring rows."""

    on_disk = True
    positive = False  # nobody has looked

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401 - anndata's sparse dataset or an h5py/zarr array
        self._dataset = dataset
        self._file = _file_of(dataset)
        self._size = self._file.stat().st_size if self._file is not None else 0

    @property
    def file(self) -> Path | None:
        """The file that rows are read from, if it is one."""
        return self._file

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self._dataset.shape[0]), int(self._dataset.shape[1])

    @property
    def entries(self) -> int:
        """Stored numbers."""
        if isinstance(self._dataset, CSRDataset):
            return int(self._dataset.group["data"].shape[0])
        return int(np.prod(self._dataset.shape))

    def rows(self, index: NDArray[np.signedinteger[Any]]) -> sp.csr_matrix:
        """Read the rows `index`, in that order; on disk, each is read once, in ascending order."""
        unique, inverse = np.unique(index, return_inverse=True)
        if not len(unique):
            return sp.csr_matrix(np.empty((0, self.shape[1]), dtype=np.float32))
        runs = np.split(unique, np.flatnonzero(np.diff(unique) > _GAP) + 1)
        blocks = [self._run(run) for run in runs]
        block = blocks[0] if len(blocks) == 1 else sp.csr_matrix(sp.vstack(blocks, format="csr"))
        return block if np.array_equal(unique, index) else block[inverse]

    def _run(self, run: NDArray[np.signedinteger[Any]]) -> sp.csr_matrix:
        """Read nearby rows with one access, and drop the few that were not requested."""
        first, end = int(run[0]), int(run[-1]) + 1
        try:
            # HDF5 silently returns zeros if a file was truncated after it was opened.
            if self._file is not None and self._file.stat().st_size != self._size:
                raise ValueError("its size has changed")
            block = sp.csr_matrix(_for_scipy(self._dataset[first:end]))
            if not block.has_canonical_format:  # duplicate entries, as in MemorySource
                block = _summed(block)
        except (OSError, ValueError, RuntimeError, IndexError) as error:
            msg = (
                f"{place_of(self._dataset)}: expected to read rows {first:,} to {end - 1:,}, found a damaged or changed file "
                f"({type(error).__name__}: {error}). Copy the file again, and leave it alone while it is read."
            )
            raise OSError(msg) from error
        if block.shape[0] != end - first:
            msg = (
                f"{place_of(self._dataset)}: expected rows {first:,} to {end - 1:,}, found {block.shape[0]:,} of them."
            )
            raise OSError(msg)
        return block if len(run) == end - first else block[run - first]


class ColumnsSource:
    """Some columns of a matrix on disk: one modality of an AnnData that holds several."""

    on_disk = True
    positive = False  # nobody has looked

    def __init__(self, whole: BackedSource, columns: NDArray[np.int64]) -> None:
        self._whole = whole
        self._columns = columns

    @property
    def file(self) -> Path | None:
        """The file that rows are read from, if it is one."""
        return self._whole.file

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._whole.shape[0], len(self._columns)

    @property
    def entries(self) -> int:
        """Number of stored values over all columns, as all have to be read."""
        return self._whole.entries

    def rows(self, index: NDArray[np.signedinteger[Any]]) -> sp.csr_matrix:
        """Read the rows `index`, in that order."""
        return sp.csr_matrix(self._whole.rows(index)[:, self._columns])


def _file_of(dataset: Any) -> Path | None:  # noqa: ANN401 - as BackedSource
    file = getattr(getattr(getattr(dataset, "group", dataset), "file", None), "filename", None)
    return Path(file) if file is not None and Path(file).is_file() else None


def place_of(dataset: Any) -> str:  # noqa: ANN401 - as BackedSource
    """File and path within it, for messages."""
    group = getattr(dataset, "group", dataset)
    file = getattr(getattr(group, "file", None), "filename", "")
    return f"{file or getattr(group, 'store', '')}{getattr(group, 'name', '')}"


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
