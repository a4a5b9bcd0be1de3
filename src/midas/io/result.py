"""The result file: data, embedding, labels and decoded counts, streamed and written atomically."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from midas import keys
from midas.data.csr_file import ROWS_AT_ONCE, write_csr
from midas.data.joint import joining, joint
from midas.data.parts import modalities_in
from midas.data.sources import open_source
from midas.data.wanted import name_in
from midas.files import replacing
from midas.io.files import check_target, is_text, named_by_text, write_h5mu
from midas.results import all_layout, check_rows, frame, of_another, own_layout, write_dense
from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.model import MIDAS
    from midas.results import Layout
    from midas.transfer.mapping import Mapped

logger = logging.getLogger(__name__)


def write_result(
    path: str | Path,
    data: MuData | AnnData,
    model: MIDAS,
    *,
    impute: bool = False,
    correct: bool = False,
    mosaic: Mosaic | None = None,
) -> None:
    """Write the data with the model's results to an ``.h5mu`` file, streaming decoded counts.

    The embedding is added to ``obsm`` of the file, and to `data` itself if it is a MuData. `impute` and `correct` add, for each
    modality, ``layers["imputed"]`` and ``layers["corrected"]`` for its own cells; if some cells lack the modality, also the
    modality ``<name>_imputed`` or ``<name>_corrected`` with all cells. Counts decoded by another model are left out.

    Parameters
    ----------
    path
        Result file; replaced in one step once it is complete.
    data
        The data that the model was created with, as one object.
    mosaic
        The mosaic read from `data`, so that large data are not read and encoded again.

    Examples
    --------
    >>> midas.io.write_result("result.h5mu", mdata, model, impute=True)
    >>> midas.io.read_file("result.h5mu").obsm["X_midas"].shape
    (300, 32)

    Raises
    ------
    TypeError
        If `data` is a dict: put it into a MuData first, which is what the file will hold.
    DataFileError
        If the file cannot be written.
    """
    target = Path(path)
    check_target(target)
    mdata = _as_mudata(data, model)
    _check_together(mdata)
    if mosaic is None:
        mosaic = model.read(data)
    before = data.obsm.get(keys.LATENT)
    wanted = tuple(layer for layer, on in ((keys.IMPUTED, impute), (keys.CORRECTED, correct)) if on)
    model.embed(mdata, mosaic, coming=dict.fromkeys(wanted, model.modalities))
    decoding = _Decoding.of(model, mosaic, mdata.obsm[keys.LATENT], wanted)
    _write(target, data, mdata, model, decoding, outdated=of_another(before, mdata.obsm[keys.LATENT]))


@dataclass(frozen=True)
class _Decoding:
    """Decoded counts for a result file: layers of the existing modalities, and modalities of all cells.

    Attributes
    ----------
    model, mosaic
        The model, and the cells to decode.
    layers
        ``imputed``, ``corrected``, both or none.
    extra
        Modalities of all cells, by their name in the file: whose features, which layer, which cells.
    """

    model: MIDAS
    mosaic: Mosaic
    layers: tuple[str, ...]
    extra: Mapping[str, tuple[str, str, Layout]]

    @classmethod
    def of(cls, model: MIDAS, mosaic: Mosaic, latent: NDArray[Any], layers: tuple[str, ...]) -> _Decoding:
        """All cells that have a `latent`, in each modality that some of them lack."""
        every = np.flatnonzero(np.isfinite(latent).all(1))
        partial = [name for name in model.modalities if not mosaic.modalities[name].present[every].all()]
        extra = {
            keys.all_cells(name, layer): (name, layer, all_layout(mosaic, name, every))
            for layer in layers
            for name in partial
        }
        return cls(model, mosaic, layers, extra)

    def frames(self) -> dict[str, AnnData]:
        """The modalities of all cells, without their values."""
        return {key: frame(self.mosaic, name, layout) for key, (name, _, layout) in self.extra.items()}

    def fill(self, file: h5py.File, mdata: MuData) -> None:
        """Decode into the file to which `mdata` and the frames were written."""
        for layer in self.layers:
            for own in mdata.mod:
                name = name_in(self.model.schema, own)
                if name in self.model.modalities:
                    layout = own_layout(self.mosaic, name)
                    self._put(file[f"mod/{own}"].require_group("layers"), layer, (name, layer, layout))
        for key, what in self.extra.items():
            self._put(file[f"mod/{key}"], "X", what)

    def _put(self, group: h5py.Group, key: str, what: tuple[str, str, Layout]) -> None:
        name, layer, layout = what
        logger.info("Decoding %s counts of %s (%s cells) ...", layer, name, f"{len(layout.cells):,}")
        write_dense(group, key, layout.shape, self.model.stream(self.mosaic, name, layer, layout))


def write_mapped(
    path: str | Path,
    data: MuData | AnnData,
    mapped: Mapped,
    labels: pd.DataFrame | None = None,
    *,
    impute: bool = False,
) -> None:
    """Write a mapped query with its latents, novelty scores and transferred labels to an ``.h5mu`` file.

    Parameters
    ----------
    path
        Result file; replaced in one step once it is complete.
    data
        The query.
    mapped
        The query as mapped by :mod:`midas.transfer`.
    labels
        Table of :class:`midas.transfer.Labels`.
    impute
        Whether to add imputed counts of every modality of the model for the query's cells, as in :func:`write_result`.
    """
    target = Path(path)
    check_target(target)
    mdata = _as_mudata(data, mapped.model)
    _check_together(mdata)
    query = mapped.query
    check_rows(query.obs_names, mdata)
    latent = np.asarray(query.obsm[keys.LATENT])
    decoding = _Decoding.of(mapped.model, mapped.mosaic, latent, (keys.IMPUTED,)) if impute else None

    def add(whole: MuData) -> None:
        for key in (keys.LATENT, keys.TECHNICAL):
            whole.obsm[key] = np.asarray(query.obsm[key])
        for name in (keys.NOVELTY, keys.NEARNESS):
            if name in query.obs.columns:
                whole.obs[name] = query.obs[name].to_numpy()
        if labels is not None:
            for name in labels.columns:
                whole.obs[name] = labels[name].to_numpy() if labels[name].dtype != "category" else labels[name].array
        whole.uns[keys.PROVENANCE]["mode"] = mapped.mode

    _write(target, data, mdata, mapped.model, decoding, add, outdated=of_another(data.obsm.get(keys.LATENT), latent))


def _write(
    target: Path,
    data: MuData | AnnData,
    mdata: MuData,
    model: MIDAS,
    decoding: _Decoding | None,
    add: Callable[[MuData], None] | None = None,
    *,
    outdated: bool,
) -> None:
    """Write `data`, as modalities in `mdata`, with the decoded counts in one step; counts on disk are copied from file to file.

    `add` is called with the whole MuData before it is written. `outdated` marks data with results of another model, whose decoded
    counts are left out.
    """
    with replacing(target) as scratch, joining():
        frames = {} if decoding is None else decoding.frames()
        left = _decoded_in(mdata, model) if outdated else set()
        if left - set(frames):
            logger.warning(
                "Left out of the result, as another model had decoded them: %s.", ", ".join(sorted(left - set(frames)))
            )
        kept = {name: adata for name, adata in mdata.mod.items() if name not in left}
        whole = _with_modalities(
            mdata, {name: _to_write(adata, outdated=outdated) for name, adata in kept.items()}, frames, model
        )
        if add is not None:
            add(whole)
        write_h5mu(scratch, whole)
        with h5py.File(scratch, "r+") as file:
            for name, adata in kept.items():
                if adata.isbacked:
                    _copy_counts(adata, file[f"mod/{name}"])
                elif isinstance(data, AnnData) and data.isbacked:
                    _copy_columns(data, modalities_in(data, model.kinds)[name], file[f"mod/{name}"])
            if decoding is not None:
                decoding.fill(file, mdata)


def _as_mudata(data: MuData | AnnData, model: MIDAS) -> MuData:
    """Split an AnnData into its modalities; if it has several on disk, without the counts."""
    if isinstance(data, MuData):
        return data
    if not isinstance(data, AnnData):
        msg = (
            f"Expected a MuData or an AnnData to write with its results, found {type(data).__name__}. Put its modalities into a "
            "MuData, or call impute() and correct(), which give an AnnData each."
        )
        raise TypeError(msg)
    adata, parts = data, {}
    for name, mine in modalities_in(adata, model.kinds).items():
        part = adata if mine.all() else adata[:, mine]
        parts[name] = part if mine.all() else _hollow(part) if adata.isbacked else part.copy()
    mdata = joint(parts, adata.obs_names)
    mdata.obs = adata.obs.copy()
    return mdata


def _check_together(mdata: MuData) -> None:
    """Refuse a MuData with cells in none of its modalities, as after one was replaced: a file cannot hold them."""
    names = mdata.obs_names
    held = np.any([names.isin(adata.obs_names) for adata in mdata.mod.values()], axis=0)
    if not held.all():
        msg = (
            f"Expected each cell of the MuData in one of its modalities, found {int((~held).sum()):,} in none: "
            f"{describe_names(pd.Index(names[~held].astype(str)))}. Call mdata.update() after modalities were replaced, and "
            "train on that, or give mdata[cells] without them."
        )
        raise ValueError(msg)


def _decoded_in(mdata: MuData, model: MIDAS) -> set[str]:
    """Modalities that hold decoded values of all cells, as in a result file."""
    names = {*mdata.mod, *model.modalities}
    return {keys.all_cells(name, layer) for name in names for layer in (keys.IMPUTED, keys.CORRECTED)} & set(mdata.mod)


def _with_modalities(mdata: MuData, own: Mapping[str, AnnData], more: Mapping[str, AnnData], model: MIDAS) -> MuData:
    """Combine the `own` modalities of the data with `more`; cells keep their order."""
    obs = named_by_text(mdata.obs)
    whole = joint({**own, **more}, obs.index)
    whole.obs = obs.copy()
    _keep_features(mdata, whole, sum(adata.n_vars for adata in own.values()))
    for key in {keys.LATENT, keys.TECHNICAL} & set(mdata.obsm):
        whole.obsm[key] = np.asarray(mdata.obsm[key])
    for key in set(mdata.obsm) - set(whole.obsm):
        whole.obsm[key] = mdata.obsm[key]
    for key in mdata.obsp:
        whole.obsp[key] = mdata.obsp[key]
    whole.uns.update(mdata.uns)
    whole.uns[keys.PROVENANCE] = model.provenance()
    return whole


def _keep_features(mdata: MuData, whole: MuData, n: int) -> None:
    """Carry over the MuData's own annotation of its first `n` features; features of added modalities follow."""
    if n <= mdata.n_vars and whole.var_names[:n].equals(mdata.var_names[:n].astype(str)):
        for column in mdata.var.columns.difference(whole.var.columns):
            values = pd.Series(mdata.var[column].array[:n])
            values = values.astype("boolean") if values.dtype == bool and whole.n_vars > n else values
            whole.var[column] = values.reindex(range(whole.n_vars)).array
        for key in set(mdata.varm) - set(whole.varm):
            table = np.asarray(mdata.varm[key])[:n]
            padded = np.full((whole.n_vars, *table.shape[1:]), np.nan, dtype=np.result_type(table, np.float32))
            padded[:n] = table
            whole.varm[key] = table if whole.n_vars == n else padded
        for key in mdata.varp:
            square = sp.coo_matrix(sp.csr_matrix(mdata.varp[key])[:n, :n])
            whole.varp[key] = sp.csr_matrix((square.data, (square.row, square.col)), shape=(whole.n_vars, whole.n_vars))


def _to_write(adata: AnnData, *, outdated: bool) -> AnnData:
    """A modality to be written: without counts on disk and, if `outdated`, without layers decoded by another model."""
    left = {keys.IMPUTED, keys.CORRECTED} & set(adata.layers) if outdated else set()
    if not (adata.isbacked or left) and is_text(adata.obs_names) and is_text(adata.var_names):
        return adata
    found = _hollow(adata) if adata.isbacked else _with_x(adata, adata.X, raw=adata.raw)
    for layer in left:
        del found.layers[layer]
    return found


def _hollow(adata: AnnData) -> AnnData:
    """A modality without its counts, which stay on disk."""
    return _with_x(adata, sp.csr_matrix(adata.shape, dtype=np.float32))


def _with_x(adata: AnnData, x: Any, **more: Any) -> AnnData:  # noqa: ANN401 - whatever AnnData holds
    """The same modality with other counts and names as text; nothing large is copied."""
    parts = ("layers", "obsm", "varm", "obsp", "varp", "uns")
    obs, var = named_by_text(adata.obs), named_by_text(adata.var)
    return AnnData(x, obs=obs, var=var, **{part: dict(getattr(adata, part)) for part in parts}, **more)


def _copy_columns(adata: AnnData, columns: NDArray[np.bool_], group: h5py.Group) -> None:
    """Copy the counts of some features of a backed AnnData from file to file, in blocks of rows."""
    source, at = open_source(adata.X), np.flatnonzero(columns)
    starts = range(0, adata.n_obs, ROWS_AT_ONCE)
    blocks = (source.rows(np.arange(i, min(i + ROWS_AT_ONCE, adata.n_obs)))[:, at] for i in starts)
    del group["X"]
    write_csr(group, blocks, (adata.n_obs, len(at)), adata.X.dtype)
    _copy_raw(adata, group)  # all features, as for a modality split from an AnnData in memory


def _copy_counts(adata: AnnData, group: h5py.Group) -> None:
    """Copy the counts of a backed modality from file to file, without reading them into memory."""
    del group["X"]
    group.copy(_stored(adata), group, name="X")
    _copy_raw(adata, group)


def _copy_raw(adata: AnnData, group: h5py.Group) -> None:
    """Copy ``raw`` of a backed AnnData from file to file, as parts without counts lack it."""
    beside = _stored(adata).parent
    if adata.raw is not None and "raw" in beside:
        group.copy(beside["raw"], group, name="raw")


def _stored(adata: AnnData) -> h5py.Group | h5py.Dataset:
    """Location of a backed AnnData's counts in its file."""
    return adata.X.group if hasattr(adata.X, "group") else adata.X
