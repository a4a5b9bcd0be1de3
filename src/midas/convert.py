"""Rewrite the counts of a file for fast reading of subsets of cells; streamed, so that files of any size work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.io import sparse_dataset

from midas.data.csr_file import ROWS_AT_ONCE, write_csr
from midas.data.sources import BackedSource
from midas.files import replacing
from midas.io.files import DataFileError, check_rewritable, check_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike


def convert(source: str | Path, target: str | Path) -> None:
    """Rewrite `source` as `target`; both ``.h5mu``, or both ``.h5ad``.

    Counts are converted to CSR with the smallest sufficient unsigned integer dtype. Everything else is copied
    unchanged.

    Raises
    ------
    DataFileError
        When there is no such file, it is of another kind, or the target cannot be written.

    Examples
    --------
    >>> midas.io.write_mudata(Path("mosaic.h5mu"), mdata)
    >>> midas.convert.convert("mosaic.h5mu", "fast.h5mu")
    >>> midas.io.read_file("fast.h5mu").n_obs
    300
    """
    source, target = Path(source), Path(target)
    check_source(source)
    check_rewritable(source, target)
    with replacing(target) as scratch:
        try:
            with h5py.File(source) as old, h5py.File(scratch, "w", userblock_size=old.userblock_size) as new:
                _copy_group(old, new)
                label = old.userblock_size
            with source.open("rb") as head, scratch.open("r+b") as start:
                start.write(head.read(label))  # the header that identifies a MuData file
        except OSError as error:
            msg = f"{source}: expected a file that can be copied to {target}, found: {error}."
            raise DataFileError(msg) from error


def _copy_group(old: h5py.Group, new: h5py.Group) -> None:
    """Copy a group; counts (X of the file or of a modality) are rewritten."""
    new.attrs.update(old.attrs)
    for name, item in old.items():
        if name == "X" and _is_matrix(item):
            _rewrite(item, new)
        elif name == "mod" or old.name == "/mod":
            _copy_group(item, new.create_group(name, track_order=True))
        else:
            new.copy(item, new, name=name)


def _is_matrix(item: h5py.Group | h5py.Dataset) -> bool:
    kind = item.attrs.get("encoding-type", "")
    return kind in {"csr_matrix", "csc_matrix", "array"}


def _blocks(item: h5py.Group | h5py.Dataset) -> Iterator[sp.csr_matrix]:
    if item.attrs["encoding-type"] == "csc_matrix":  # reading rows of a CSC matrix requires all of it
        whole = sp.csr_matrix(sparse_dataset(item).to_memory())
        yield from (whole[i : i + ROWS_AT_ONCE] for i in range(0, whole.shape[0], ROWS_AT_ONCE))
        return
    source = BackedSource(sparse_dataset(item) if isinstance(item, h5py.Group) else item)
    for start in range(0, source.shape[0], ROWS_AT_ONCE):
        yield source.rows(np.arange(start, min(start + ROWS_AT_ONCE, source.shape[0]), dtype=np.int64))


def _smallest(item: h5py.Group | h5py.Dataset) -> DTypeLike:
    """Find the smallest unsigned integer dtype for all values; the present dtype if they are not counts."""
    most, present = 0.0, np.dtype(np.float32)
    for block in _blocks(item):
        present = block.dtype
        if not len(block.data):
            continue
        with np.errstate(invalid="ignore"):
            counts = bool((block.data >= 0).all()) and bool((block.data == np.rint(block.data)).all())
        if not counts:
            return present
        most = max(most, float(block.data.max()))
    return next((kind for kind in (np.uint8, np.uint16, np.uint32) if most <= np.iinfo(kind).max), present)


def _rewrite(item: h5py.Group | h5py.Dataset, parent: h5py.Group) -> None:
    shape = item.shape if isinstance(item, h5py.Dataset) else item.attrs["shape"]
    write_csr(parent, _blocks(item), (int(shape[0]), int(shape[1])), _smallest(item))
