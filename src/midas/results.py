"""Results as AnnData, in memory or streamed to a file, and written where scverse tools look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr
from anndata import AnnData

from midas.files import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic


def decoded_anndata(
    mosaic: Mosaic, cells: NDArray[np.int64], modality: str, blocks: Iterator[NDArray[np.float32]], *, out: Path | None
) -> AnnData:
    """Put decoded blocks together.

    Parameters
    ----------
    mosaic
        Whose cells and features they are.
    cells
        The cells decoded, positions in the mosaic.
    modality
        The modality decoded.
    blocks
        Consecutive rows of these cells.
    out
        ``.h5ad`` or ``.zarr``: stream there and return it opened from there; None: keep in memory.
    """
    frame = _skeleton(mosaic, cells, modality)
    if out is None:
        frame.X = np.concatenate(list(blocks)) if len(cells) else np.zeros(frame.shape, dtype=np.float32)
        return frame
    if out.suffix not in {".h5ad", ".zarr"}:
        msg = f"Expected out to end in .h5ad or .zarr, found {out.name!r}."
        raise ValueError(msg)
    with replacing(out) as scratch:
        if out.suffix == ".h5ad":
            frame.write_h5ad(scratch)
            with h5py.File(scratch, "r+") as file:
                write_dense(file, "X", frame.shape, blocks)
        else:
            frame.write_zarr(scratch)
            write_dense(zarr.open_group(scratch, mode="r+"), "X", frame.shape, blocks)
    return ad.read_h5ad(out, backed="r") if out.suffix == ".h5ad" else ad.read_zarr(out)


def write_dense(group: Any, key: str, shape: tuple[int, int], blocks: Iterator[NDArray[np.float32]]) -> None:  # noqa: ANN401
    """Stream rows into a new array of an HDF5 or zarr group, in anndata's own encoding."""
    if key in group:
        del group[key]
    chunks = (max(1, min(shape[0], 1024)), max(1, min(shape[1], 1024)))
    if isinstance(group, h5py.Group):
        array: Any = group.create_dataset(key, shape=shape, dtype="f4", chunks=chunks, compression="lzf")
    elif hasattr(group, "create_array"):
        array = group.create_array(key, shape=shape, dtype="f4", chunks=chunks)
    else:  # zarr 2
        array = group.create_dataset(key, shape=shape, dtype="f4", chunks=chunks)
    array.attrs["encoding-type"] = "array"
    array.attrs["encoding-version"] = "0.2.0"
    start = 0
    for block in blocks:
        array[start : start + len(block)] = block
        start += len(block)


def _skeleton(mosaic: Mosaic, cells: NDArray[np.int64], modality: str) -> AnnData:
    """All but the values: names, batch, and whether the cell was measured in this modality."""
    rows = mosaic.modalities[modality]
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.asarray(mosaic.batches)[mosaic.batch[cells]]),
            "measured": rows.present[cells],
        },
        index=mosaic.cells[cells].astype(str),
    )
    frame = AnnData(
        sp.csr_matrix((len(cells), len(rows.input_names)), dtype=np.float32),
        obs=obs,
        var=pd.DataFrame(index=rows.input_names.astype(str)),
    )
    return frame


def rows_of(values: AnnData, adata: AnnData) -> NDArray[np.float32]:
    """Values for the cells and features of `adata`, by name; NaN where there are none.

    Returns
    -------
    `adata.shape`, ready to be a layer.
    """
    out = np.full(adata.shape, np.nan, dtype=np.float32)
    rows = values.obs_names.get_indexer(adata.obs_names.astype(str))
    columns = values.var_names.get_indexer(adata.var_names.astype(str))
    found = np.flatnonzero(rows >= 0)
    known = np.flatnonzero(columns >= 0)
    out[np.ix_(found, known)] = np.asarray(values.X)[np.ix_(rows[found], columns[known])]
    return out
