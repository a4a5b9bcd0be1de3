"""Read a mosaic as it is: cells matched by name, features matched by name, everything checked once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from mudata import MuData
from torch import nn

from midas.data.blocks import chromosomes, order_and_blocks, peak_keys
from midas.data.checks import Scan, describe_names, scan
from midas.data.genes import Genes, genes_said
from midas.data.measured import measured_features
from midas.data.mosaic import ModalityRows, Mosaic
from midas.data.parts import MosaicData, Part, cell_keys, counts_of, own_index, take_apart
from midas.data.schema import ModalitySchema, MosaicSchema
from midas.data.sources import Source, open_source
from midas.likelihoods import LIKELIHOODS
from midas.modality import PRESETS, Modality, preset

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# A query that shares a smaller share of its features than this, but many more without regard to case, is misspelt.
_FEW = 0.05


def read_mosaic(
    data: MosaicData,
    *,
    batch_key: str | None = "batch",
    modalities: Mapping[str, Modality] | None = None,
    measured: Mapping[str, pd.DataFrame] | None = None,
    layer: str | None = None,
    schema: MosaicSchema | None = None,
    like: MosaicSchema | None = None,
    told: Collection[str] = (),
) -> Mosaic:
    """Read MuData, AnnData, or a dict of them by modality or by batch.

    Parameters
    ----------
    data
        Modalities may hold different cells, in any order; cells are matched by name.
    batch_key
        Column of obs (of the MuData or of each modality) that names the batch; None when all cells are one batch.
    modalities
        What each modality is, by its name in `data`; those left out keep their presets, unless a single AnnData is given.
    measured
        For a modality, a boolean table batches x features: False where a batch did not measure a feature. Overrides the
        columns ``measured_<batch>`` of var.
    layer
        Layer that holds the counts; None for X.
    schema
        Of a trained model, whose features are wanted. None to take the data's own.
    like
        Of a trained model, whose names and kinds of modalities are wanted, but not its features alone.
    told
        Notes that the user has seen before, not to be logged again.

    Raises
    ------
    TypeError, KeyError, ValueError
        When the data cannot be read, saying what was expected, what was found and what to do.

    Examples
    --------
    >>> midas.read_mosaic(mdata).n_cells
    300
    """
    kinds = modalities if schema is None else schema.kinds
    if like is not None:
        kinds = like.kinds
    parts, order = take_apart(data, batch_key=batch_key, modalities=kinds)
    notes: list[str] = []
    if like is not None:
        parts = [replace(part, name=_name_in(like, part.name)) for part in parts]
        modalities = {part.name: like.kinds[part.name] for part in parts if part.name in like.kinds}
    parts = _choose(parts, schema, modalities, notes)
    keys = cell_keys(parts)
    cells, positions, batch_of = _cells(parts, keys, order)
    batches = tuple(sorted(set(batch_of.tolist())))
    batch = np.searchsorted(np.asarray(batches), batch_of).astype(np.int64)

    sources = [open_source(counts_of(part, layer)) for part in parts]
    names = [_feature_names(part, notes) for part in parts]
    own = _own_schema(parts, names, modalities) if schema is None else dict(schema.modalities)
    rows: dict[str, ModalityRows] = {}
    genes: dict[str, Genes] = {}
    for name, part_schema in own.items():
        mine = [i for i, part in enumerate(parts) if part.name == name]
        genes[name] = genes_said(part_schema, [parts[i] for i in mine], [names[i] for i in mine])
        rows[name] = _rows(
            part_schema,
            [parts[i] for i in mine],
            [sources[i] for i in mine],
            [names[i] for i in mine],
            [positions[i] for i in mine],
            batches=batches,
            batch=batch,
            given=None if measured is None else measured.get(name),
            notes=notes,
        )
    known_schema = like if schema is None else schema
    if known_schema is not None:
        _check_overlap(known_schema.modalities, parts, names, notes, adding=schema is None)
    if schema is None:
        schema = MosaicSchema(batches, own, _batches_with(rows, batch, len(batches)))
    known = {name: i for i, name in enumerate(schema.batches)}
    notes += _pairing_notes(rows, batches, batch)
    lonely = cells[~np.any([r.present for r in rows.values()], axis=0)]
    if len(lonely):
        notes.append(f"{len(lonely):,} cells have none of the modalities and get no result: {describe_names(lonely)}.")
    for note in notes:
        if note not in told:
            logger.warning(note)
    obs = _obs(data, parts, positions, cells)
    obs.index = cells = own_index(cells)
    return Mosaic(
        schema=schema,
        cells=cells,
        batches=batches,
        batch=batch,
        known_batch=np.array([known.get(name, -1) for name in batches], dtype=np.int64),
        modalities=rows,
        notes=tuple(notes),
        obs=obs,
        genes=genes,
    )


def _choose(
    parts: list[Part], schema: MosaicSchema | None, modalities: Mapping[str, Modality] | None, notes: list[str]
) -> list[Part]:
    there = sorted({part.name for part in parts})
    if modalities is not None and set(modalities) - set(there):
        missing = ", ".join(sorted(set(modalities) - set(there)))
        msg = f"Expected the modalities {', '.join(sorted(modalities))}, found {', '.join(there)}: {missing} missing."
        raise KeyError(msg)
    if schema is not None:
        parts = [replace(part, name=_name_in(schema, part.name)) for part in parts]
        there = sorted({part.name for part in parts})
        unknown = sorted(set(there) - set(schema.modalities))
        if len(unknown) == len(there):
            msg = f"Expected some of the model's modalities ({', '.join(schema.modalities)}), found {', '.join(there)}."
            raise ValueError(msg)
        if unknown:
            notes.append(f"The model has no {', '.join(unknown)}: left out.")
        return [part for part in parts if part.name in schema.modalities]
    for name in there:
        if preset(name) is None and (modalities is None or name not in modalities):
            msg = (
                f"Expected modalities called {', '.join(PRESETS)}, found {name!r}. Say what it is, for example "
                f"modalities={{{name!r}: midas.Modality('gaussian', 'identity')}}, or remove it."
            )
            raise ValueError(msg)
    _check_names(there)
    return parts


def _name_in(schema: MosaicSchema, name: str) -> str:
    """The model's name for a modality: ``prot`` may be ``adt`` there."""
    if name in schema.modalities or preset(name) is None:
        return name
    same = [other for other in schema.modalities if preset(other) is preset(name)]
    return same[0] if len(same) == 1 else name


def _check_names(names: list[str]) -> None:
    """Refuse names that the networks cannot carry, and two names for one modality."""
    for name in names:
        if not name.isidentifier() or hasattr(nn.ModuleDict, name):
            msg = f"Expected modality names of letters, digits and _, found {name!r} (or a reserved word). Rename it."
            raise ValueError(msg)
        same = [other for other in names if preset(name) is not None and preset(other) is preset(name)]
        if len(same) > 1:
            msg = f"Expected one name for one modality, found {' and '.join(same)}. Give it the same name everywhere."
            raise ValueError(msg)


def _cells(
    parts: list[Part], keys: list[pd.Index], order: pd.Series | None
) -> tuple[pd.Index, list[NDArray[np.int64]], NDArray[np.str_]]:
    """Number the cells in the order of the input; give each part's rows their numbers, and each cell its batch."""
    plain = all(k.equals(pd.Index(p.adata.obs_names.astype(str))) for k, p in zip(keys, parts, strict=True))
    union = keys[0].append(keys[1:]).unique()
    if not len(union):
        raise ValueError("Expected cells, found none.")
    index = union
    if order is not None:
        wanted = order.index.astype(str)
        wanted = wanted if plain else pd.Index(order.astype(str).to_numpy() + "\x1f" + wanted.to_numpy())
        if wanted.is_unique and union.isin(wanted).all():
            index = wanted
    positions = [index.get_indexer(k).astype(np.int64) for k in keys]
    batch_of = np.full(len(index), "", dtype=object)
    for part, at in zip(parts, positions, strict=True):
        batch_of[at] = part.batch.to_numpy()
    batch_of[batch_of == ""] = next(b for b in batch_of if b != "")  # in no modality: any batch, it is never used
    names = index if plain else pd.Index([key.split("\x1f")[1] for key in index])
    return names, positions, batch_of.astype(str)


def _obs(data: MosaicData, parts: list[Part], positions: list[NDArray[np.int64]], cells: pd.Index) -> pd.DataFrame:
    """What the input says of the cells, `(n_cells, ...)`: its own obs first, then columns that only the modalities have."""
    columns: dict[str, NDArray[np.object_]] = {}
    tables = [(part.adata.obs, at) for part, at in zip(parts, positions, strict=True)]
    if isinstance(data, MuData) and data.n_obs == len(cells) and (data.obs_names.astype(str) == cells).all():
        tables = [(data.obs, np.arange(len(cells))), *tables]
    prefixes = tuple(f"{part.name}:" for part in parts)  # copies that MuData pulls up
    for table, at in tables:
        for name in table.columns:
            if str(name).startswith(prefixes):
                continue
            values = columns.setdefault(str(name), np.full(len(cells), np.nan, dtype=object))
            given = table[name].astype(object).to_numpy()
            empty = pd.isna(values[at])
            values[at[empty]] = given[empty]
    obs = pd.DataFrame(columns, index=cells).infer_objects()
    for name in obs.columns:
        if obs[name].dtype == object and all(isinstance(value, str) for value in obs[name].dropna()):
            obs[name] = obs[name].astype("category")
    return obs


def _feature_names(part: Part, notes: list[str]) -> pd.Index:
    names = peak_keys(pd.Index(part.adata.var_names.astype(str)))
    if names.is_unique:
        return names
    repeated = names[names.duplicated()].unique()
    notes.append(
        f"{part.label}: {len(repeated):,} feature names occur more than once ({describe_names(repeated)}); the later ones were "
        "given the suffixes -1, -2, ..."
    )
    number = names.to_series().groupby(names.to_numpy()).cumcount().to_numpy()
    taken, unique = set(names), []
    for name, n in zip(names, number, strict=True):
        candidate, k = str(name), int(n)
        while n and (candidate := f"{name}-{k}") in taken:
            k += 1
        taken.add(candidate)
        unique.append(candidate)
    return pd.Index(unique)


def _own_schema(
    parts: list[Part], names: list[pd.Index], modalities: Mapping[str, Modality] | None
) -> dict[str, ModalitySchema]:
    own = {}
    for name in sorted({part.name for part in parts}):
        modality = (modalities or {}).get(name) or preset(name)
        if modality is None:
            raise AssertionError(name)  # _choose refused it
        mine = [(n, part) for n, part in zip(names, parts, strict=True) if part.name == name]
        chroms: NDArray[np.object_] | None = None
        union = mine[0][0].append([n for n, _ in mine[1:]])
        first = ~union.duplicated()
        if modality.blocks == "chromosome":
            each = [chromosomes(pd.Index(part.adata.var_names.astype(str)), part.adata.var) for _, part in mine]
            if all(c is not None for c in each):
                chroms = np.concatenate([c for c in each if c is not None])[first]
        features = union[first]
        if not len(features):
            msg = f"Expected features in modality {name!r}, found none."
            raise ValueError(msg)
        order, blocks = order_and_blocks(features, chroms)
        own[name] = ModalitySchema(modality, features[order], blocks)
    return own


def _rows(  # noqa: PLR0913 - one modality's share of everything read
    schema: ModalitySchema,
    parts: list[Part],
    sources: list[Source],
    names: list[pd.Index],
    positions: list[NDArray[np.int64]],
    *,
    batches: tuple[str, ...],
    batch: NDArray[np.int64],
    given: pd.DataFrame | None,
    notes: list[str],
) -> ModalityRows:
    source_of, row = (np.full(len(batch), -1, dtype=np.int64) for _ in range(2))
    columns = []
    scans: list[Scan] = []
    for i, (part, source, features, at) in enumerate(zip(parts, sources, names, positions, strict=True)):
        columns.append(schema.features.get_indexer(features).astype(np.int64))
        found = scan(source, LIKELIHOODS[schema.modality.likelihood].support, part, batch[at], len(batches))
        scans.append(found)
        source_of[at], row[at] = i, np.arange(len(at))
        padded = _padded(found, batch[at], len(batches)) if len(at) else np.zeros(len(batches), dtype=bool)
        if padded.any() and schema.modality.likelihood != "gaussian":
            hidden = padded[batch[at]]
            row[at[hidden]] = -1
            where = ", ".join(np.asarray(batches)[padded])
            notes.append(f"{part.label}: no cell of {where} has any count; taken as not measured there.")
        n_empty = int((found.empty & ~padded[batch[at]]).sum())
        if n_empty:
            notes.append(
                f"{part.label}: {n_empty:,} cells have no counts at all and are taken as measured zeros; remove them from "
                "the modality if they were not measured."
            )
    measured = measured_features(
        schema,
        parts,
        columns,
        scans,
        batches=batches,
        batch=batch,
        row=row,
        source_of=source_of,
        given=given,
        notes=notes,
    )
    input_names, input_columns = _as_in_input(schema, parts, columns)
    return ModalityRows(tuple(sources), tuple(columns), source_of, row, measured, input_names, input_columns)


def _as_in_input(
    schema: ModalitySchema, parts: list[Part], columns: list[NDArray[np.int64]]
) -> tuple[pd.Index, NDArray[np.int64]]:
    """Order and spelling of the features as the user knows them; what the input lacks comes last."""
    spelled = [part.adata.var_names.astype(str).to_numpy() for part in parts]
    names = np.concatenate([*spelled, schema.features.to_numpy().astype(str)]).astype(object)
    column = np.concatenate([*columns, np.arange(schema.n_features)])
    names, column = names[column >= 0], column[column >= 0]
    first = np.sort(np.unique(column, return_index=True)[1])
    # A name that occurs twice in the input is told apart as the schema does it.
    repeated = pd.Index(names[first]).duplicated(keep="first")
    return pd.Index(np.where(repeated, schema.features[column[first]], names[first])), column[first]


def _padded(found: Scan, group: NDArray[np.int64], n_groups: int) -> NDArray[np.bool_]:
    """Batches of which the object has cells, but none with a count: zeros that stand for 'not measured'."""
    cells = np.bincount(group, minlength=n_groups)
    empty = np.bincount(group[found.empty], minlength=n_groups)
    padded: NDArray[np.bool_] = (cells > 0) & (cells == empty)
    return padded if (cells > empty).any() else np.zeros(n_groups, dtype=bool)


def _check_overlap(
    known: Mapping[str, ModalitySchema], parts: list[Part], names: list[pd.Index], notes: list[str], *, adding: bool
) -> None:
    """With a model: say how many features matched, and refuse when next to none did."""
    for part, features in zip(parts, names, strict=True):
        if part.name not in known:
            continue
        wanted = known[part.name].features
        found = int(features.isin(wanted).sum())
        same_letters = int(features.str.lower().isin(wanted.str.lower()).sum())
        if not found or (found < _FEW * len(features) and same_letters > 5 * found):
            hint = (
                f" {same_letters:,} match when case is ignored: another species, or another spelling?"
                if same_letters > found
                else ""
            )
            msg = (
                f"{part.label}: expected features of the model, such as {describe_names(wanted)}, found "
                f"{describe_names(features)}: {found or 'none'} {'is' if found < 2 else 'are'} shared.{hint} Rename the "
                "features as in the model."
            )
            raise ValueError(msg)
        missing, extra = len(wanted) - found, len(features) - found
        if missing or extra:
            fate = "added" if adding else "left out"
            notes.append(
                f"{part.label}: {found:,} of the model's {len(wanted):,} features found, {missing:,} are missing "
                f"(masked) and {extra:,} are unknown to the model ({fate})."
            )


def _batches_with(
    rows: Mapping[str, ModalityRows], batch: NDArray[np.int64], n_batches: int
) -> dict[str, tuple[bool, ...]]:
    return {
        name: tuple((np.bincount(batch[part.present], minlength=n_batches) > 0).tolist()) for name, part in rows.items()
    }


def _pairing_notes(rows: Mapping[str, ModalityRows], batches: tuple[str, ...], batch: NDArray[np.int64]) -> list[str]:
    """Warn of batches whose modalities have as many cells each, but not one in common: names that differ in spelling."""
    notes = []
    items = list(rows.items())
    for i, (name, part) in enumerate(items):
        for other, peer in items[i + 1 :]:
            counts = np.stack(
                [
                    np.bincount(batch[m], minlength=len(batches))
                    for m in (part.present, peer.present, part.present & peer.present)
                ]
            )
            suspect = (counts[0] > 0) & (counts[0] == counts[1]) & (counts[2] == 0)
            notes += [
                f"Batch {batches[b]!r} has {counts[0, b]:,} cells with {name} and as many with {other}, but no name in common. "
                f"If they are the same cells, give them the same obs_names."
                for b in np.flatnonzero(suspect)
            ]
    return notes
