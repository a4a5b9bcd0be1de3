"""Results as AnnData, in memory or streamed to a file, and written to the slots that scverse tools expect."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray

from midas import keys
from midas.columns import writable
from midas.data.parts import modalities_in
from midas.data.sources import BackedSource, ColumnsSource
from midas.data.wanted import name_in
from midas.files import is_store, replacing

if TYPE_CHECKING:
    from midas.data.mosaic import Mosaic
    from midas.data.schema import MosaicSchema
    from midas.inference import Posterior

logger = logging.getLogger(__name__)

_SAME: Final = 1e-3  # tolerance between embeddings of one model computed on different machines


@dataclass(frozen=True)
class Layout:
    """Which cells and features a result has, and what they are called.

    Attributes
    ----------
    cells
        Positions in the mosaic, `(n,)`; -1 for rows that are not among its cells.
    columns
        Columns of the schema, `(d,)`; -1 for features unknown to the model.
    """

    cells: NDArray[np.int64]
    columns: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.cells), len(self.columns)


def own_layout(mosaic: Mosaic, modality: str) -> Layout:
    """Layout of the single object that holds a modality's counts, in its own order, for writing a layer.

    Rows of zeros that were treated as not measured are included.
    """
    rows = mosaic.modalities[modality]
    cells = np.full(rows.sources[0].shape[0], -1, dtype=np.int64)
    for row in (rows.row, rows.padded):
        if row is not None:
            there = np.flatnonzero(row >= 0)
            cells[row[there]] = there
    return Layout(cells, rows.columns[0])


def all_layout(mosaic: Mosaic, modality: str, cells: NDArray[np.int64]) -> Layout:
    """Layout of the given cells and all features of a modality, in input order."""
    return Layout(cells, mosaic.modalities[modality].input_columns)


def frame(mosaic: Mosaic, modality: str, layout: Layout, *, described: bool = False) -> AnnData:
    """AnnData of a result without its values: names, batch, and whether each cell was measured in the modality.

    With `described`, the input's obs columns are included; those that clash with these two columns get the suffix
    ``_of_input``.
    """
    rows = mosaic.modalities[modality]
    cells = layout.cells
    obs = pd.DataFrame(
        {"batch": pd.Categorical(np.asarray(mosaic.batches)[mosaic.batch[cells]]), "measured": rows.present[cells]},
        index=mosaic.cells[cells].astype(str),
    )
    if described and len(mosaic.obs) == mosaic.n_cells:
        input_obs = writable(mosaic.obs.iloc[cells]).set_axis(obs.index)
        other = [
            name
            for name in obs.columns
            if name in input_obs and (input_obs[name].astype(str) != obs[name].astype(str)).any()
        ]
        input_obs = input_obs.drop(columns=[name for name in obs.columns if name in input_obs and name not in other])
        input_obs.columns = pd.Index([f"{name}_of_input" if name in other else name for name in input_obs.columns])
        obs = writable(pd.concat([obs, input_obs], axis=1))
    empty: sp.csr_matrix = sp.csr_matrix(layout.shape, dtype=np.float32)  # type: ignore[arg-type]
    return AnnData(empty, obs=obs, var=pd.DataFrame(index=rows.input_names.astype(str)))


def cell_table(mosaic: Mosaic, encoded: Posterior, dim_c: int) -> AnnData:
    """AnnData without counts: the input's obs columns, batch, measured modalities, and latents."""
    obs = mosaic.obs.copy() if len(mosaic.obs) == mosaic.n_cells else pd.DataFrame(index=mosaic.cells)
    obs.index = mosaic.cells.astype(str)
    obs[keys.BATCH] = pd.Categorical(np.asarray(mosaic.batches)[mosaic.batch])
    obs[keys.MODALITIES] = pd.Categorical(mosaic.combinations().to_numpy())
    z = encoded.mean
    return AnnData(obs=obs, obsm={keys.LATENT: z[:, :dim_c].copy(), keys.TECHNICAL: z[:, dim_c:].copy()})


def fill(empty: AnnData, blocks: Iterator[NDArray[np.float32]], out: Path | None) -> AnnData:
    """Write blocks of rows to `X`, in memory or in an ``.h5ad`` file or ``.zarr`` store that is then opened as backed."""
    if out is None:
        empty.X = gathered(blocks, empty.n_vars)
        return empty
    # A store is a folder; a file never replaces a folder.
    with replacing(out, replaceable=None if out.suffix == ".h5ad" else is_store) as scratch:
        if out.suffix == ".h5ad":
            empty.write_h5ad(scratch)
            with h5py.File(scratch, "r+") as file:
                write_dense(file, "X", empty.shape, blocks)
        else:
            empty.write_zarr(scratch)
            # Readers rely on the consolidated metadata, which anndata wrote for the array replaced here.
            write_dense(zarr.open_group(scratch, mode="r+"), "X", empty.shape, blocks)
            zarr.consolidate_metadata(str(scratch))
    return _opened(out)


def gathered(blocks: Iterator[NDArray[np.float32]], n_features: int) -> NDArray[np.float32]:
    """Concatenate blocks to `(n, n_features)`; there may be no blocks."""
    return np.concatenate([np.zeros((0, n_features), dtype=np.float32), *blocks])


def _opened(path: Path) -> AnnData:
    """Open a backed result, whose values are read on demand."""
    if path.suffix == ".h5ad":
        return ad.read_h5ad(path, backed="r")
    group = zarr.open_group(path, mode="r")
    obs, var = (ad.io.read_elem(group[name]) for name in ("obs", "var"))
    return AnnData(group["X"], obs=obs, var=var)


def check_rows(cells: pd.Index, data: MuData | AnnData) -> None:
    """Raise an error if the rows of obs are not exactly these cells, as results could not be written to them."""
    names = pd.Index(data.obs_names.astype(str))
    if cells.equals(names):
        return
    if not names.is_unique:
        raise ValueError(
            "Expected every row of obs to be one cell, found names that cells of several batches share. Give the cells "
            "unique obs_names, for example with the batch in front."
        )
    same = len(cells) == len(names) and cells.isin(names).all()
    found = (
        "them in another order"
        if same
        else f"{len(names):,} cells, of which {int(names.isin(cells).sum()):,} are these"
    )
    msg = f"Expected the data that these {len(cells):,} cells were read from, found {found}. Give the same object or file."
    raise ValueError(msg)


def write_layer(
    data: MuData | AnnData, layer: str, decoded: Mapping[str, NDArray[np.float32]], schema: MosaicSchema
) -> None:
    """Write decoded values as a layer; in an AnnData of several modalities, features of the others are NaN."""
    if isinstance(data, MuData):
        for name, adata in data.mod.items():
            if name_in(schema, name) in decoded:
                adata.layers[layer] = decoded[name_in(schema, name)]
    elif decoded:
        whole = np.full(data.shape, np.nan, dtype=np.float32)
        for name, columns in modalities_in(data, schema.kinds).items():
            if name_in(schema, name) in decoded:
                whole[:, columns] = decoded[name_in(schema, name)]
        data.layers[layer] = whole


def of_another(held: Any | None, latent: NDArray[Any]) -> bool:  # noqa: ANN401 - what obsm holds
    """Whether the data already hold an embedding (None if not) that differs from this one."""
    if held is None:
        return False
    found = np.asarray(held)
    return found.shape != latent.shape or not np.allclose(found, latent, rtol=_SAME, atol=_SAME, equal_nan=True)


def drop_decoded(data: MuData | AnnData, schema: MosaicSchema, coming: Mapping[str, Collection[str]]) -> None:
    """Remove layers that another model decoded, and warn about those that are not replaced.

    `coming` are, by layer, the modalities that get new values.
    """
    gone = []
    for name, adata in data.mod.items() if isinstance(data, MuData) else [("", data)]:
        for layer in {keys.IMPUTED, keys.CORRECTED} & set(adata.layers):
            del adata.layers[layer]
            new = coming.get(layer, ())
            if name_in(schema, name) not in new if name else not new:
                gone.append(f"{name}: {layer}" if name else layer)
    if gone:
        logger.warning(
            "Removed layers that another model had decoded, as the embedding is now this one's: %s.",
            ", ".join(sorted(gone)),
        )


def checked_out(out: str | Path | None, *mosaics: Mosaic | None) -> Path | None:
    """Reject an unsupported file type, or a file that counts of `mosaics` are read from, before any computation."""
    if out is None:
        return None
    path = Path(out)
    if path.suffix not in {".h5ad", ".zarr"}:
        msg = f"Expected out to end in .h5ad or .zarr, found {path.name!r}."
        raise ValueError(msg)
    read = [source for mosaic in mosaics if mosaic for rows in mosaic.modalities.values() for source in rows.sources]
    files = [file for source in read if isinstance(source, BackedSource | ColumnsSource) and (file := source.file)]
    if path.exists() and any(file.samefile(path) for file in files if file.exists()):
        msg = f"Expected out to be another file than the data are read from, found {path}. Choose another name."
        raise ValueError(msg)
    return path


def write_dense(group: Any, key: str, shape: tuple[int, int], blocks: Iterator[NDArray[np.float32]]) -> None:  # noqa: ANN401
    """Stream rows into a new array of an HDF5 or zarr group, in anndata's own encoding."""
    if key in group:
        del group[key]
    chunks = (max(1, min(shape[0], 1024)), max(1, min(shape[1], 1024)))
    if isinstance(group, h5py.Group):
        stored: dict[str, Any] = {"chunks": chunks, "compression": "lzf"} if min(shape) else {}
        array: Any = group.create_dataset(key, shape=shape, dtype="f4", **stored)
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
