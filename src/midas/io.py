"""Reading data files, and writing a result file that is never half there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
from mudata import MuData

from midas import keys
from midas.data.parts import modalities_in
from midas.files import obstacle, replacing
from midas.results import all_layout, frame, own_layout, write_dense

if TYPE_CHECKING:
    from anndata import AnnData

    from midas.model import MIDAS
    from midas.transfer.mapping import Mapped

_READERS: dict[str, str] = {".h5mu": "a MuData", ".h5ad": "an AnnData"}


class DataFileError(ValueError):
    """A file is missing, damaged, or of another kind."""


def read_file(path: str | Path, *, backed: bool = False) -> MuData | AnnData:
    """Read an ``.h5mu`` or ``.h5ad`` file.

    Parameters
    ----------
    path
        The file.
    backed
        Leave the counts on disk and read rows as they are needed.

    Raises
    ------
    DataFileError
        When there is no such file, it cannot be read, or its name ends otherwise.
    """
    file = Path(path)
    if file.suffix not in _READERS:
        kinds = " or ".join(f"{suffix} ({what})" for suffix, what in _READERS.items())
        msg = f"{file}: expected a file that ends in {kinds}, found {file.suffix or 'no ending'!r}."
        raise DataFileError(msg)
    if not file.is_file():
        folder = file.parent
        there = sorted(p.name for p in folder.glob(f"*{file.suffix}")) if folder.is_dir() else []
        found = f"files there: {', '.join(there)}" if there else f"no {file.suffix} file in that folder"
        msg = f"{file}: expected a file, found none; {found}."
        raise DataFileError(msg)
    mode = "r" if backed else None
    read: Callable[..., Any] = mudata.read_h5mu if file.suffix == ".h5mu" else ad.read_h5ad
    try:
        # Pulling obs columns on reading may reorder the cells of a MuData.
        with mudata.set_options(pull_on_update=False):
            data: MuData | AnnData = read(file, backed=mode)
    except Exception as error:
        msg = f"{file}: expected {_READERS[file.suffix]}, found a damaged or foreign file ({type(error).__name__}: {error})."
        raise DataFileError(msg) from error
    return data


def check_target(target: Path, source: Path | None = None) -> None:
    """Refuse a result file that could not be written, before hours of training.

    Raises
    ------
    DataFileError
        When its name does not end in .h5mu, it is the input, or its folder cannot be written to.
    """
    if target.suffix != ".h5mu":
        msg = f"{target}: expected the result to end in .h5mu, found {target.suffix or 'no ending'!r}."
        raise DataFileError(msg)
    if target.is_dir():
        msg = f"{target}: expected the name of a file, found a folder. Choose another name."
        raise DataFileError(msg)
    if source is not None and target.exists() and source.exists() and target.samefile(source):
        msg = f"{target}: expected a result file that is not the input, found the same file. Choose another name."
        raise DataFileError(msg)
    found = obstacle(target)
    if found is not None:
        msg = f"{target}: expected a folder that can be written to, found {found}. Choose another place."
        raise DataFileError(msg)


def write_mudata(target: Path, mdata: MuData) -> None:
    """Write a MuData, whole or not at all."""
    with replacing(target) as scratch:
        mdata.write_h5mu(scratch)


def write_result(
    path: str | Path, data: MuData | AnnData, model: MIDAS, *, impute: bool = False, correct: bool = False
) -> None:
    """Write the data with the model's results to an ``.h5mu`` file, decoded counts streamed.

    ``obsm`` gets the embedding. `impute` and `correct` add, for each modality, ``layers["imputed"]`` and
    ``layers["corrected"]`` for its own cells; where some cells lack the modality, also the modality ``<name>_imputed`` or
    ``<name>_corrected`` with all cells.

    Parameters
    ----------
    path
        Result; replaced in one step once it is whole.
    data
        What the model was made with.
    """
    target = Path(path)
    check_target(target)
    mdata = data if isinstance(data, MuData) else _as_mudata(data, model)
    mosaic = model.read(mdata, batch_key=model.batch_key, layer=model.layer)
    model.embed(mdata, mosaic)
    wanted = [layer for layer, on in ((keys.IMPUTED, impute), (keys.CORRECTED, correct)) if on]
    every = np.flatnonzero(np.isfinite(mdata.obsm[keys.LATENT]).all(1))
    partial = [name for name in model.modalities if not mosaic.modalities[name].present[every].all()]
    extra = {
        keys.all_cells(name, layer): (name, layer, all_layout(mosaic, name, every))
        for layer in wanted
        for name in partial
    }
    with replacing(target) as scratch, mudata.set_options(pull_on_update=False):
        frames = {key: frame(mosaic, name, layout) for key, (name, _, layout) in extra.items()}
        _with_modalities(mdata, frames, model).write_h5mu(scratch)
        with h5py.File(scratch, "r+") as file:
            for layer in wanted:
                for name in set(model.modalities) & set(mdata.mod):
                    layout = own_layout(mosaic, name)
                    blocks = model.stream(mosaic, name, layer, layout)
                    write_dense(file[f"mod/{name}"].require_group("layers"), layer, layout.shape, blocks)
            for key, (name, layer, layout) in extra.items():
                write_dense(file[f"mod/{key}"], "X", layout.shape, model.stream(mosaic, name, layer, layout))


def write_mapped(path: str | Path, data: MuData | AnnData, mapped: Mapped, labels: pd.DataFrame | None = None) -> None:
    """Write a mapped query with its latents and transferred labels to an ``.h5mu`` file.

    Parameters
    ----------
    path
        Result; replaced in one step once it is whole.
    data
        The query.
    labels
        Table of :class:`midas.transfer.Labels`.
    """
    target = Path(path)
    check_target(target)
    mdata = data if isinstance(data, MuData) else _as_mudata(data, mapped.model)
    query = mapped.query
    if not query.obs_names.equals(pd.Index(mdata.obs_names.astype(str))):
        raise ValueError(
            "Expected every row of obs to be one cell, found names that cells of several batches share. Give the cells "
            "unique obs_names, for example with the batch in front."
        )
    whole = _with_modalities(mdata, {}, mapped.model)
    for key in (keys.LATENT, keys.TECHNICAL):
        whole.obsm[key] = np.asarray(query.obsm[key])
    if labels is not None:
        for name in labels.columns:
            whole.obs[name] = labels[name].to_numpy() if labels[name].dtype != "category" else labels[name].array
    whole.uns[keys.PROVENANCE]["mode"] = mapped.mode
    write_mudata(target, whole)


def _as_mudata(adata: AnnData, model: MIDAS) -> MuData:
    columns = modalities_in(adata, model.kinds)
    parts = {name: adata if mine.all() else adata[:, mine].copy() for name, mine in columns.items()}
    with mudata.set_options(pull_on_update=False):
        mdata = MuData(parts, obs=pd.DataFrame(index=adata.obs_names))
    mdata.obs = adata.obs.copy()
    return mdata


def _with_modalities(mdata: MuData, more: Mapping[str, AnnData], model: MIDAS) -> MuData:
    """Add modalities; cells keep their order."""
    whole = MuData({**mdata.mod, **more}, obs=pd.DataFrame(index=mdata.obs_names))
    whole.obs = mdata.obs.copy()
    for key in {keys.LATENT, keys.TECHNICAL} & set(mdata.obsm):
        whole.obsm[key] = np.asarray(mdata.obsm[key])
    for key in set(mdata.obsm) - set(whole.obsm):
        whole.obsm[key] = mdata.obsm[key]
    for key in mdata.obsp:
        whole.obsp[key] = mdata.obsp[key]
    whole.uns.update(mdata.uns)
    whole.uns[keys.PROVENANCE] = model.provenance()
    return whole
