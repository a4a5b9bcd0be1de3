"""Split MuData, AnnData and dicts of them into a flat list of single-modality AnnData with the batch of each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from midas.antibodies import looks_like_proteins
from midas.columns import as_text, rows_by_map
from midas.data.blocks import read_peaks
from midas.data.checks import CountsError
from midas.data.joint import joint
from midas.modality import canonical, preset
from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.modality import Modality

MosaicData: TypeAlias = MuData | AnnData | Mapping[str, MuData | AnnData]

Layer: TypeAlias = str | Mapping[str, str] | None
"""Layer with the counts: the same in all modalities, or by modality (``X`` where not given); None for ``X``."""

# What 10x files write in var["feature_types"], or older ones in the other.
_TYPE_COLUMNS = ("feature_types", "feature_type")
_FEATURE_TYPES = {"Gene Expression": "rna", "Antibody Capture": "adt", "Peaks": "atac"}


class NoBatchError(KeyError):
    """There is no column with the batches of the cells."""

    def __init__(self, found: str, advice: str = "") -> None:
        super().__init__(f"{found} {advice or self.ADVICE}")
        self.found = found

    ADVICE: Final = "Name the column with batch_key=, or say batch_key=None if all cells are one batch."


@dataclass(frozen=True)
class Part:
    """One AnnData of one modality.

    Attributes
    ----------
    name
        Of the modality.
    adata
        The counts.
    label
        Name for messages.
    batch
        Each cell's batch as text, in the order of `adata`.
    within
        If `adata` is a subset of the features of an AnnData on disk: that AnnData, and the mask of features.
    guessed
        Whether the modality was guessed from the feature names.
    keyed
        Whether the key of a dict is the batch of all cells.
    finer
        If so, the batch column if it has several values nevertheless, and their number.
    """

    name: str
    adata: AnnData
    label: str
    batch: pd.Series
    within: tuple[AnnData, NDArray[np.bool_]] | None = None
    guessed: bool = False
    keyed: bool = False
    finer: tuple[str, int] | None = None


def take_apart(
    data: MosaicData, *, batch_key: str | None, modalities: Mapping[str, Modality] | None
) -> tuple[list[Part], pd.Series | None]:
    """Split `data` into parts, and get the input's own order of cells, if there is one.

    Returns
    -------
    The parts, and the batch of every cell by name, in the order of the input's obs (None for cells without a batch).

    Raises
    ------
    TypeError, KeyError, ValueError
        When the input has an unsupported type or no such batch column, or its modalities cannot be identified.
    """
    _check_key(batch_key)
    if isinstance(data, MuData):
        parts = _of_mudata(data, "", batch_key)
        return parts, _batch_by_cell(data, parts, batch_key)
    if isinstance(data, AnnData):
        parts = _of_anndata(data, "", batch_key, modalities)
        return parts, parts[0].batch
    if isinstance(data, Mapping):  # modalities of one batch may be a dict, too
        data = {key: joint(value) if is_modalities(value) else value for key, value in data.items()}
    if isinstance(data, Mapping) and data and all(isinstance(v, MuData | AnnData) for v in data.values()):
        return _of_mapping(data, batch_key, modalities), None
    found = type(data).__name__
    if isinstance(data, Mapping):
        found += f" of {sorted({type(v).__name__ for v in data.values()})}"
    hint = " Read the file first: midas.io.read_file(path)." if isinstance(data, str | Path) else ""
    msg = f"Expected a MuData, an AnnData, or a dict of them by modality or by batch, found {found}.{hint}"
    raise TypeError(msg)


def is_modalities(value: object) -> TypeGuard[Mapping[str, AnnData]]:
    """Whether an object is a dict of AnnData by modality, rather than by batch."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(part, AnnData) and preset(str(name)) is not None for name, part in value.items())
    )


def _of_mapping(
    data: Mapping[str, MuData | AnnData], batch_key: str | None, modalities: Mapping[str, Modality] | None
) -> list[Part]:
    # A MuData is never one modality, whatever it is called: a batch may well have the name "cite".
    known = {
        str(key): value
        for key, value in data.items()
        if isinstance(value, AnnData) and (preset(str(key)) is not None or key in (modalities or {}))
    }
    if len(known) == len(data):
        return [_part(called(name), adata, f"modality {name!r}", batch_key, None) for name, adata in known.items()]
    if known and not any(isinstance(value, MuData) for value in data.values()):
        msg = (
            f"Expected a dict either by modality (AnnData each) or by batch, found both: {', '.join(known)} are modalities, "
            f"{', '.join(str(key) for key in data if key not in known)} not. Leave the latter out, or say what they are with "
            "modalities=."
        )
        raise ValueError(msg)
    keys_as_text = pd.Index([str(key) for key in data])
    if not keys_as_text.is_unique:
        msg = (
            f"Expected a dict with a name for each batch, found keys that are written alike: "
            f"{describe_names(keys_as_text[keys_as_text.duplicated()].unique())}. Name them apart."
        )
        raise ValueError(msg)
    parts: list[Part] = []
    for batch, value in data.items():
        # The key is the batch; a batch column with several values is reported.
        label = f"batch {str(batch)!r}: "
        of = (
            _of_mudata(value, label, None) if isinstance(value, MuData) else _of_anndata(value, label, None, modalities)
        )
        finer = _finer(value, batch_key)
        keys = [pd.Series(str(batch), index=p.adata.obs_names) for p in of]
        parts += [replace(p, batch=key, keyed=True, finer=finer) for p, key in zip(of, keys, strict=True)]
    return parts


def _finer(data: MuData | AnnData, batch_key: str | None) -> tuple[str, int] | None:
    """Batch column and its number of distinct values, if more than one."""
    tables = [data.obs, *(part.obs for part in data.mod.values())] if isinstance(data, MuData) else [data.obs]
    n = max((table[batch_key].nunique() for table in tables if batch_key in table.columns), default=0)
    return (batch_key, n) if batch_key is not None and n > 1 else None


def _of_mudata(data: MuData, label: str, batch_key: str | None) -> list[Part]:
    if not data.mod:
        raise ValueError("Expected a MuData with at least one modality, found none.")
    _check_columns(data.obs, label)
    shared = None if batch_key is None or batch_key not in data.obs.columns else data.obs[batch_key]
    if shared is not None:
        shared = shared.set_axis(own_index(shared.index))
    parts = []
    for name, adata in data.mod.items():
        of_part = shared
        if shared is None and f"{name}:{batch_key}" in data.obs.columns:  # as older files hold the modalities' columns
            of_part = data.obs[f"{name}:{batch_key}"].set_axis(own_index(data.obs_names))
        elif shared is not None and not shared.index.is_unique:
            # Names are not unique, but the MuData's map of rows is.
            at = rows_in(data, name)
            of_part = None if at is None else pd.Series(shared.to_numpy()[at], index=adata.obs_names)
        parts.append(_part(called(name), adata, f"{label}modality {name!r}", batch_key, of_part))
    return parts


def called(name: str) -> str:
    """Name of a modality; the preset's if it is no valid module name, such as "Antibody Capture"."""
    return name if name.isidentifier() else canonical(name)


def rows_in(data: MuData, name: str) -> NDArray[np.int64] | None:
    """Row of `data` of each row of a modality, `(n_cells of the modality,)`; None when its map of rows is out of date."""
    adata, number = data.mod[name], np.asarray(data.obsmap.get(name, ()), dtype=np.int64)
    if len(number) != data.n_obs or np.count_nonzero(number) != adata.n_obs or number.max(initial=0) > adata.n_obs:
        return None
    at = rows_by_map(data, name)
    return at if (at >= 0).all() and (data.obs_names[at] == adata.obs_names).all() else None


def _batch_by_cell(data: MuData, parts: list[Part], batch_key: str | None) -> pd.Series:
    """Batch of each row of `data`, from the first modality with the cell, or else the global obs; None if neither has it.

    `parts` are those of the modalities of `data`, in their order.
    """
    names = pd.Index(data.obs_names.astype(str))
    batch = np.full(len(names), None) if batch_key not in data.obs.columns else as_text(data.obs[batch_key])
    for name, part in reversed(list(zip(data.mod, parts, strict=True))):
        own = pd.Index(part.adata.obs_names.astype(str))
        at = names.get_indexer(own) if names.is_unique else rows_in(data, name)
        if at is not None:
            batch[at[at >= 0]] = part.batch.to_numpy()[at >= 0]
    return pd.Series(batch, index=names)


def _of_anndata(
    adata: AnnData, label: str, batch_key: str | None, modalities: Mapping[str, Modality] | None
) -> list[Part]:
    known = len(modalities or ()) == 1 or types_in(adata) is not None
    parts, kinds = [], modalities_in(adata, modalities)
    if adata.isbacked and adata.is_view and not all(mine.all() for mine in kinds.values()):
        adata = adata.to_memory()  # anndata cannot subset a view of a backed file
    for name, mine in kinds.items():
        own = adata if mine.all() else adata[:, mine]
        part = _part(name, own, f"{label}modality {name!r}{'' if known else ' (guessed)'}", batch_key, None)
        within = (adata, mine) if adata.isbacked and not mine.all() else None
        parts.append(replace(part, within=within, guessed=not known))
    return parts


def modalities_in(adata: AnnData, modalities: Mapping[str, Modality] | None) -> dict[str, NDArray[np.bool_]]:
    """Assign the features of an AnnData to modalities.

    Based on ``var["feature_types"]`` (or ``"feature_type"``), as in 10x files, or else on `modalities` if it has a
    single entry; otherwise guessed from the names: peaks, antibodies (by the package's table), or else genes.
    """
    whole = np.ones(adata.n_vars, dtype=bool)
    only = next(iter(modalities)) if modalities is not None and len(modalities) == 1 else None
    types = types_in(adata)
    if types is not None and adata.n_vars:
        kinds = types.map(lambda kind: _FEATURE_TYPES.get(kind, kind))
        if only is None or only in set(kinds):
            return {str(name): (kinds == name).to_numpy() for name in kinds.unique()}
    if only is not None:
        return {only: whole}
    names = pd.Index(adata.var_names.astype(str))
    return {"atac" if read_peaks(names) is not None else "adt" if looks_like_proteins(names) else "rna": whole}


def types_in(adata: AnnData) -> pd.Series | None:
    """Type of each feature as text, from the column of var; None without such a column."""
    column = next((name for name in _TYPE_COLUMNS if name in adata.var.columns), None)
    return None if column is None else adata.var[column].astype(str)


def _check_key(batch_key: object) -> None:
    """Raise an error if `batch_key` is not a column name."""
    if batch_key is not None and not isinstance(batch_key, str):
        msg = f"Expected batch_key= to name one column of obs, found {batch_key!r}."
        if isinstance(batch_key, list | tuple) and batch_key:
            one = ' + "_" + '.join(f"obs[{str(name)!r}].astype(str)" for name in batch_key)
            msg += f' To tell batches by several columns, join them: obs["batch"] = {one}.'
        raise TypeError(msg)


def _check_columns(obs: pd.DataFrame, label: str) -> None:
    """Raise an error for a MultiIndex of cells or for duplicated columns, which would be ambiguous."""
    if isinstance(obs.index, pd.MultiIndex):
        msg = (
            f"{label}expected one name for each cell, found {obs.index.nlevels} levels of obs_names. Join: adata.obs_names = "
            '["_".join(map(str, names)) for names in adata.obs_names].'
        )
        raise TypeError(msg)
    if not obs.columns.is_unique:
        repeated = describe_names(obs.columns[obs.columns.duplicated()].unique())
        msg = f"{label}expected each column of obs once, found repeated ones: {repeated}. Rename or remove one."
        raise ValueError(msg)


def _part(name: str, adata: AnnData, label: str, batch_key: str | None, shared: pd.Series | None) -> Part:
    _check_columns(adata.obs, f"{label}: ")
    if batch_key is None:
        return Part(name, adata, label, pd.Series("all", index=adata.obs_names))
    own = adata.obs[batch_key] if batch_key in adata.obs.columns else None
    if shared is not None and not shared.index.equals(adata.obs_names):
        shared = shared.reindex(adata.obs_names)
    batch = own if own is not None else shared
    if batch is None:
        columns = ", ".join(map(str, adata.obs.columns)) or "none"
        msg = f"{label}: expected a column {batch_key!r} that names each cell's batch, found the columns: {columns}."
        raise NoBatchError(msg)
    batches = as_text(batch)
    missing = batch.isna().to_numpy() | (batches == "")  # files may write a missing text as ""
    if missing.any():
        cells = describe_names(adata.obs_names[missing])
        msg = f"{label}: expected a batch for every cell, found none in {batch_key!r} for {cells}."
        raise ValueError(msg)
    if own is not None and shared is not None and (names := own_index(adata.obs_names)).is_unique:
        _check_agreement(pd.Series(batches, index=names), shared, label, batch_key)
    return Part(name, adata, label, pd.Series(batches, index=adata.obs_names))


def own_index(names: pd.Index) -> pd.Index:
    """Copy an index, so that its hash table (34 bytes per name) is freed with it instead of staying with the data."""
    fresh: pd.Index = pd.Index(names.to_numpy(), name=names.name)
    return fresh


def _check_agreement(own: pd.Series, shared: pd.Series, label: str, batch_key: str) -> None:
    both = shared.reindex(own.index)
    differ = both.notna().to_numpy() & (as_text(both) != own.to_numpy())
    if differ.any():
        cells = describe_names(own.index[differ])
        msg = f"{label}: the global obs and the modality's obs disagree on {batch_key!r} for {cells}. Make them agree."
        raise ValueError(msg)


def batches_in(data: MosaicData, *, batch_key: str | None, modalities: Mapping[str, Modality] | None) -> set[str]:
    """Names of the batches of data, without reading counts."""
    parts, _ = take_apart(data, batch_key=batch_key, modalities=modalities)
    return {str(name) for part in parts for name in part.batch.unique()}


def has_column(data: MosaicData, name: str) -> bool:
    """Whether any obs table of the data has a column."""
    if isinstance(data, Mapping):
        return any(has_column(part, name) for part in data.values())
    tables = [data.obs, *(part.obs for part in data.mod.values())] if isinstance(data, MuData) else [data.obs]
    return any(name in table.columns for table in tables)


def layer_in(layer: Layer, modality: str) -> str | None:
    """Layer of one modality's counts; None for ``X``."""
    found = layer if layer is None or isinstance(layer, str) else layer.get(modality)
    return None if found == "X" else found


def counts_of(part: Part, layer: str | None) -> Any:  # noqa: ANN401 - whatever AnnData holds
    """Find the matrix of counts: `X` or a layer.

    Raises
    ------
    KeyError, ValueError
        When there is no such layer, no `X`, or no numbers in it.
    """
    if layer is not None and layer not in part.adata.layers:
        there = ", ".join(sorted(part.adata.layers)) or "none"
        raw = " raw is none of them: midas.pp.prepare() takes counts from there." if layer == "raw" else ""
        msg = f"{part.label}: expected a layer {layer!r}, found the layers: {there}.{raw}"
        raise KeyError(msg)
    counts = part.adata.X if layer is None else part.adata.layers[layer]
    if counts is None:
        msg = f"{part.label}: expected counts in X, found nothing there. Choose a layer with layer=."
        raise ValueError(msg)
    if counts.dtype.kind not in "biuf":
        msg = f"{part.label}: expected numbers, found values of type {counts.dtype}."
        raise CountsError(msg)
    return counts
