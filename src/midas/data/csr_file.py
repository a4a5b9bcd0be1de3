"""Stream counts to a file as CSR in anndata's encoding, so that the matrix need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py
    import scipy.sparse as sp
    from numpy.typing import DTypeLike

# Entries per chunk on disk: some tens of cells, so that 64 consecutive cells span few chunks with little overhead.
_CHUNK = 32_768
ROWS_AT_ONCE = 4096


def write_csr(parent: h5py.Group, blocks: Iterable[sp.csr_matrix], shape: tuple[int, int], kind: DTypeLike) -> None:
    """Write consecutive rows to a new group ``X``; stored zeros are dropped.

    Parameters
    ----------
    parent
        Group of a modality, or the root of an AnnData file.
    blocks
        Rows, in order.
    shape
        Shape of the whole matrix.
    kind
        Dtype of the written values.
    """
    group = parent.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array(shape)})

    def stream(name: str, of: DTypeLike) -> h5py.Dataset:
        return group.create_dataset(
            name, shape=(0,), maxshape=(None,), dtype=of, chunks=(_CHUNK,), compression="lzf", shuffle=True
        )

    data, indices = stream("data", kind), stream("indices", np.int32)
    indptr = [np.zeros(1, dtype=np.int64)]
    for block in blocks:
        block.sort_indices()
        kept = block.data != 0
        filled = np.concatenate([[0], np.cumsum(kept)])[block.indptr]
        start, end = data.shape[0], data.shape[0] + int(filled[-1])
        data.resize((end,))
        indices.resize((end,))
        data[start:end], indices[start:end] = block.data[kept], block.indices[kept]
        indptr.append(filled[1:].astype(np.int64) + start)
    group.create_dataset("indptr", data=np.concatenate(indptr))
