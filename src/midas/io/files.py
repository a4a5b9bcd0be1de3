"""Data files: reading, inspection and validation, atomic writing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
import zarr
from anndata import AnnData
from mudata import MuData

from midas.columns import writable
from midas.data.joint import joining
from midas.data.parts import own_index, rows_in
from midas.files import check_writable, replacing
from midas.memory import release_memory

_READERS: dict[str, str] = {".h5mu": "a MuData", ".h5ad": "an AnnData", ".zarr": "an AnnData or a MuData"}


class DataFileError(ValueError):
    """A file is missing, damaged, or of another kind."""


def read_file(path: str | Path, *, backed: bool = False) -> MuData | AnnData:
    """Read an ``.h5mu`` or ``.h5ad`` file, or a ``.zarr`` store.

    Parameters
    ----------
    path
        The file.
    backed
        Leave the counts on disk and read rows on demand.

    Raises
    ------
    DataFileError
        If there is no such file, it cannot be read, or its extension is not supported.

    Examples
    --------
    >>> midas.io.write_mudata(Path("mosaic.h5mu"), mdata)
    >>> midas.io.read_file("mosaic.h5mu").n_obs
    300
    """
    file = Path(path)
    check_source(file)
    if backed and file.suffix == ".zarr":
        msg = f"{file}: expected an .h5mu or .h5ad file to leave on disk, found a .zarr store. Read it into memory."
        raise DataFileError(msg)
    try:
        with joining():
            data = _READ[file.suffix](file, "r" if backed else None)
    except Exception as error:  # a broken file may fail anywhere in the libraries that read it
        msg = f"{file}: expected {_READERS[file.suffix]}, found a damaged or foreign file ({type(error).__name__}: {error})."
        raise DataFileError(msg) from error
    if isinstance(data, MuData):
        _share_names(data)
    return data


def _read_zarr(store: Path, _: str | None) -> MuData | AnnData:
    group: Any = zarr.open_group(str(store), mode="r")
    found: MuData | AnnData = mudata.read_zarr(store) if "mod" in group else ad.read_zarr(store)
    return found


_READ: dict[str, Callable[[Path, Any], MuData | AnnData]] = {
    ".h5mu": lambda file, mode: mudata.read_h5mu(file, backed=mode),
    ".h5ad": lambda file, mode: ad.read_h5ad(file, backed=mode),
    ".zarr": _read_zarr,
}


def _share_names(data: MuData) -> None:
    """Share the names of the MuData with its modalities' cells: for a million cells they take 100 MB each time they are read."""
    for name, adata in data.mod.items():
        rows = rows_in(data, name)
        if rows is not None:
            adata.obs.index = data.obs_names[rows].rename(adata.obs_names.name)
    data.obs.index = own_index(data.obs_names)
    release_memory()


def check_source(file: Path) -> None:
    """Refuse a file that does not exist, or whose extension is not supported.

    Raises
    ------
    DataFileError
        Stating what was found instead.
    """
    if file.suffix not in _READERS:
        kinds = " or ".join(f"{suffix} ({what})" for suffix, what in _READERS.items())
        found = "a folder" if file.is_dir() else repr(file.suffix or "no ending")
        raw = " Make a mosaic of raw files by midas prepare." if file.suffix == ".h5" or file.is_dir() else ""
        msg = f"{file}: expected a file that ends in {kinds}, found {found}.{raw}"
        raise DataFileError(msg)
    if not (file.is_dir() if file.suffix == ".zarr" else file.is_file()):
        folder = file.parent
        there = sorted(p.name for p in folder.glob(f"*{file.suffix}")) if folder.is_dir() else []
        found = f"files there: {', '.join(there)}" if there else f"no {file.suffix} file in that folder"
        msg = f"{file}: expected a file, found none; {found}."
        raise DataFileError(msg)


def check_rewritable(source: Path, target: Path) -> None:
    """Refuse a target of another type than the source, the source itself, or a path that cannot be written.

    Raises
    ------
    DataFileError
        Stating which of these.
    """
    if target.suffix != source.suffix:
        msg = f"{target}: expected the name to end in {source.suffix} as the input, found {target.suffix or 'no ending'!r}."
        raise DataFileError(msg)
    if target.exists() and target.samefile(source):
        msg = f"{target}: expected a file that is not the input, found the same file. Choose another name."
        raise DataFileError(msg)
    check_writable(target, folder=True, error=DataFileError)


def bytes_in_memory(path: Path) -> int:
    """Memory in bytes that the counts of an ``.h5mu`` or ``.h5ad`` file need."""
    total = 0

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal total
        counts = name == "X" or name.startswith("X/") or name.endswith("/X") or "/X/" in name
        if isinstance(item, h5py.Dataset) and counts:
            total += int(np.prod(item.shape)) * item.dtype.itemsize

    try:
        with h5py.File(path) as file:
            file.visititems(add)
    except OSError:  # reported when the file is read
        return 0
    return total


def too_large(path: Path) -> bool:
    """Whether the counts of a file would take more than a third of the machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 16 * 2**30
    return 3 * bytes_in_memory(path) > memory


def check_target(target: Path, source: Path | None = None) -> None:
    """Refuse a result path that cannot be written, before hours of training.

    Raises
    ------
    DataFileError
        If its name does not end in .h5mu, it is the input, or its folder is not writable.
    """
    if target.suffix != ".h5mu":
        msg = f"{target}: expected the result to end in .h5mu, found {target.suffix or 'no ending'!r}."
        raise DataFileError(msg)
    if source is not None and target.exists() and source.exists() and target.samefile(source):
        msg = f"{target}: expected a result file that is not the input, found the same file. Choose another name."
        raise DataFileError(msg)
    check_writable(target, error=DataFileError)


def write_mudata(path: str | Path, mdata: MuData) -> None:
    """Write a MuData to an ``.h5mu`` file, atomically.

    Examples
    --------
    >>> midas.io.write_mudata(Path("mosaic.h5mu"), mdata)
    >>> Path("mosaic.h5mu").is_file()
    True
    """
    with replacing(Path(path)) as scratch, joining():
        write_h5mu(scratch, mdata)


def is_text(names: pd.Index) -> bool:
    """Whether names are plain text, as files store them; numbers, dates and pandas' own string type are not."""
    return names.dtype == object and names.inferred_type in {"string", "empty"}


def named_by_text(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with row names as plain text."""
    return table if is_text(table.index) else table.set_axis(table.index.astype(str).astype(object))


def write_h5mu(path: Path, mdata: MuData) -> None:
    """Write a MuData as its library does, but convert columns of obs that files cannot store, such as dates, to text."""
    holders = [mdata, *mdata.mod.values()]
    tables = [holder.obs for holder in holders]
    try:
        for holder, table in zip(holders, tables, strict=True):
            holder.obs = writable(table)
        mdata.write_h5mu(path)
    finally:  # leaves the user's object in memory unchanged
        for holder, table in zip(holders, tables, strict=True):
            holder.obs = table
