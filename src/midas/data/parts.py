"""Take MuData, AnnData and dicts of them apart into one flat list: AnnData of one modality, each with its cells' batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from midas.data.blocks import parse_peaks
from midas.data.checks import describe_names
from midas.modality import preset

if TYPE_CHECKING:
    from midas.modality import Modality

MosaicData: TypeAlias = MuData | AnnData | Mapping[str, MuData | AnnData]

# What 10x files write in var["feature_types"].
_FEATURE_TYPES = {"Gene Expression": "rna", "Antibody Capture": "adt", "Peaks": "atac"}


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
        What to call it in messages.
    batch
        Each cell's batch as text, in the order of `adata`.
    """

    name: str
    adata: AnnData
    label: str
    batch: pd.Series


def take_apart(
    data: MosaicData, *, batch_key: str | None, modalities: Mapping[str, Modality] | None
) -> tuple[list[Part], pd.Index | None]:
    """List the parts of `data`, and the order of cells that the input itself has, if it has one.

    Raises
    ------
    TypeError, KeyError, ValueError
        When the input is of another kind, has no such batch column, or its modalities cannot be told.
    """
    if isinstance(data, MuData):
        return _of_mudata(data, "", batch_key), data.obs_names
    if isinstance(data, AnnData):
        return _of_anndata(data, "", batch_key, modalities), data.obs_names
    if isinstance(data, Mapping) and data and all(isinstance(v, MuData | AnnData) for v in data.values()):
        return _of_mapping(data, batch_key, modalities), None
    found = type(data).__name__
    if isinstance(data, Mapping):
        found += f" of {sorted({type(v).__name__ for v in data.values()})}"
    msg = f"Expected a MuData, an AnnData, or a dict of them by modality or by batch, found {found}."
    raise TypeError(msg)


def _of_mapping(
    data: Mapping[str, MuData | AnnData], batch_key: str | None, modalities: Mapping[str, Modality] | None
) -> list[Part]:
    known = [key for key in data if preset(key) is not None or (modalities is not None and key in modalities)]
    if len(known) == len(data) and all(isinstance(v, AnnData) for v in data.values()):
        return [_part(name, adata, f"modality {name!r}", batch_key, None) for name, adata in data.items()]
    if known:
        msg = (
            f"Expected a dict either by modality (AnnData each) or by batch, found both: {', '.join(known)} are modalities, "
            f"the rest of {', '.join(data)} are not."
        )
        raise ValueError(msg)
    parts: list[Part] = []
    for batch, value in data.items():
        # The key is the batch; a batch column inside would be a finer one that the user did not point to.
        label = f"batch {batch!r}: "
        of = (
            _of_mudata(value, label, None) if isinstance(value, MuData) else _of_anndata(value, label, None, modalities)
        )
        parts += [Part(p.name, p.adata, p.label, pd.Series(str(batch), index=p.adata.obs_names)) for p in of]
    return parts


def _of_mudata(data: MuData, label: str, batch_key: str | None) -> list[Part]:
    if not data.mod:
        raise ValueError("Expected a MuData with at least one modality, found none.")
    shared = None
    if batch_key is not None and batch_key in data.obs.columns:
        shared = data.obs[batch_key]
        shared = shared[~shared.index.duplicated()]
    return [_part(name, adata, f"{label}modality {name!r}", batch_key, shared) for name, adata in data.mod.items()]


def _of_anndata(
    adata: AnnData, label: str, batch_key: str | None, modalities: Mapping[str, Modality] | None
) -> list[Part]:
    if modalities is not None and len(modalities) == 1:
        name = next(iter(modalities))
        return [_part(name, adata, f"{label}modality {name!r}", batch_key, None)]
    if "feature_types" in adata.var.columns:
        kinds = adata.var["feature_types"].astype(str).map(lambda kind: _FEATURE_TYPES.get(kind, kind))
        return [
            _part(name, adata[:, (kinds == name).to_numpy()], f"{label}modality {name!r}", batch_key, None)
            for name in kinds.unique()
        ]
    name = "atac" if parse_peaks(adata.var_names) is not None else "rna"
    return [_part(name, adata, f"{label}modality {name!r} (guessed)", batch_key, None)]


def _part(name: str, adata: AnnData, label: str, batch_key: str | None, shared: pd.Series | None) -> Part:
    if batch_key is None:
        return Part(name, adata, label, pd.Series("all", index=adata.obs_names))
    own = adata.obs[batch_key] if batch_key in adata.obs.columns else None
    batch = own if own is not None else None if shared is None else shared.reindex(adata.obs_names)
    if batch is None:
        columns = ", ".join(map(str, adata.obs.columns)) or "none"
        msg = (
            f"{label}: expected a column {batch_key!r} that names each cell's batch, found the columns: {columns}. Name the "
            "column with batch_key=, or say batch_key=None if all cells are one batch."
        )
        raise KeyError(msg)
    missing = batch.isna().to_numpy()
    if missing.any():
        cells = describe_names(adata.obs_names[missing])
        msg = f"{label}: expected a batch for every cell, found none in {batch_key!r} for {cells}."
        raise ValueError(msg)
    if own is not None and shared is not None and adata.obs_names.is_unique:
        _check_agreement(own.astype(str), shared, label, batch_key)
    return Part(name, adata, label, pd.Series(batch.astype(str).to_numpy(), index=adata.obs_names))


def _check_agreement(own: pd.Series, shared: pd.Series, label: str, batch_key: str) -> None:
    both = shared.reindex(own.index)
    differ = both.notna().to_numpy() & (both.astype(str).to_numpy() != own.to_numpy())
    if differ.any():
        cells = describe_names(own.index[differ])
        msg = f"{label}: the global obs and the modality's obs disagree on {batch_key!r} for {cells}. Make them agree."
        raise ValueError(msg)


def cell_keys(parts: list[Part]) -> list[pd.Index]:
    """Give each part's cells an identity: their name, or batch and name where one barcode occurs in several batches.

    Raises
    ------
    ValueError
        When names repeat within a batch and several modalities would have to be matched by them.
    """
    by_modality: dict[str, list[Part]] = {}
    for part in parts:
        by_modality.setdefault(part.name, []).append(part)

    def joined(of: list[pd.Index]) -> pd.Index:
        return of[0].append(of[1:])

    names = [pd.Index(part.adata.obs_names.astype(str)) for part in parts]
    qualified = [pd.Index(p.batch.to_numpy().astype(str) + "\x1f" + n) for p, n in zip(parts, names, strict=True)]
    for keys in (names, qualified):
        per = {m: joined([k for k, p in zip(keys, parts, strict=True) if p.name == m]) for m in by_modality}
        if all(k.is_unique for k in per.values()) and not _batches_differ(keys, parts):
            return keys
    if len(by_modality) == 1:  # nothing has to be matched: the n-th cell of a name is told by its number
        repeats = joined(qualified).to_series()
        number = repeats.groupby(repeats.to_numpy()).cumcount().to_numpy()
        unique = repeats.to_numpy() + np.where(number > 0, "\x1f" + number.astype(str), "")
        ends = np.cumsum([len(n) for n in names])[:-1]
        return [pd.Index(block) for block in np.split(unique, ends)]
    name, found = next((m, k) for m, k in per.items() if not k.is_unique)
    repeated = pd.Index([k.split("\x1f")[1] for k in found[found.duplicated()].unique()])
    msg = (
        f"Expected each cell once in a batch of modality {name!r}, as cells are matched by name; found repeated names: "
        f"{describe_names(repeated)}. Give them unique obs_names that are the same in every modality."
    )
    raise ValueError(msg)


def _batches_differ(keys: list[pd.Index], parts: list[Part]) -> bool:
    """Whether one key stands in two batches: a barcode that two cells happen to share."""
    pairs = pd.DataFrame({"key": np.concatenate(keys), "batch": np.concatenate([p.batch.to_numpy() for p in parts])})
    return bool(pairs.drop_duplicates()["key"].duplicated().any())


def counts_of(part: Part, layer: str | None) -> Any:  # noqa: ANN401 - whatever AnnData holds
    """Find the matrix of counts: `X` or a layer.

    Raises
    ------
    KeyError, ValueError
        When there is no such layer, or no `X`.
    """
    if layer is not None:
        if layer not in part.adata.layers:
            there = ", ".join(sorted(part.adata.layers)) or "none"
            msg = f"{part.label}: expected a layer {layer!r}, found the layers: {there}."
            raise KeyError(msg)
        return part.adata.layers[layer]
    if part.adata.X is None:
        msg = f"{part.label}: expected counts in X, found nothing there. Choose a layer with layer=."
        raise ValueError(msg)
    return part.adata.X
