"""Read a mosaic as it is: cells matched by name, features matched by name, everything checked once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from midas.antibodies import protein_arrays
from midas.data.cells import Cells, number_cells, obs_of
from midas.data.checks import describe_names
from midas.data.features import check_overlap, own_features
from midas.data.genes import Genes, genes_said
from midas.data.how import HowRead
from midas.data.locate import locate
from midas.data.mosaic import ModalityRows, Mosaic
from midas.data.names import CellNames
from midas.data.opened import Opened, open_parts
from midas.data.parts import Layer, MosaicData, Part, take_apart
from midas.data.schema import MosaicSchema
from midas.data.wanted import named_as_in, wanted_parts
from midas.memory import give_back
from midas.modality import Modality

logger = logging.getLogger(__name__)

_SMALL_PANEL = 1_000  # features, of which the names of an antibody panel and of some genes can be taken for each other
_HARDLY = 0.1  # share of features in common under which something is wrong


def read_mosaic(
    data: MosaicData,
    *,
    batch_key: str | None = "batch",
    modalities: Mapping[str, Modality] | None = None,
    measured: Mapping[str, pd.DataFrame] | None = None,
    layer: Layer = None,
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
        Layer that holds the counts, or a dict of layers by modality (X in those left out); None for X.
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
    known = like if schema is None else schema
    parts, order = take_apart(data, batch_key=batch_key, modalities=modalities if known is None else known.kinds)
    notes: list[str] = []
    if like is not None:
        parts = named_as_in(like, parts)
        modalities = {part.name: like.kinds[part.name] for part in parts if part.name in like.kinds}
    parts = wanted_parts(parts, schema, modalities, notes)
    _check_measured(measured, {part.name for part in parts} | set(() if known is None else known.modalities))
    if known is None:
        _check_layers(layer, {part.name for part in parts})
    cells = number_cells(parts, order, notes)
    opened = open_parts(parts, cells, layer, notes)
    give_back()  # what matching the names took
    own = own_features(opened, modalities) if schema is None else dict(schema.modalities)
    rows: dict[str, ModalityRows] = {}
    genes: dict[str, Genes] = {}
    for name, features in own.items():
        mine = [each for each in opened if each.part.name == name]
        genes[name] = genes_said(features, mine)
        rows[name] = locate(features, mine, cells, None if measured is None else measured.get(name), notes)
    if known is not None:
        check_overlap(known.modalities, opened, notes, adding=schema is None)
    notes += [*_guessed_notes(parts), *_beside_notes(parts), *_apart_notes(opened)]
    notes += [*_pairing_notes(rows, cells), *_lonely_notes(rows, cells)]
    for note in notes:
        if note not in told:
            logger.warning(note)
    if schema is None:
        schema = MosaicSchema(cells.batches, own, _batches_with(rows, cells))
    at = {name: i for i, name in enumerate(schema.batches)}
    obs = obs_of(data, parts, cells).reset_index(drop=True)
    return Mosaic(
        schema=schema,
        names=CellNames.of(cells.names),
        batches=cells.batches,
        batch=cells.batch,
        known_batch=np.array([at.get(name, -1) for name in cells.batches], dtype=np.int64),
        modalities=rows,
        notes=tuple(notes),
        obs=obs,
        genes=genes,
        how=HowRead(batch_key, layer, measured, modalities),
    )


def _check_measured(measured: Mapping[str, pd.DataFrame] | None, names: set[str]) -> None:
    """Refuse tables of what batches measured that are of no modality."""
    strangers = sorted(set(measured or {}) - names)
    if strangers:
        msg = f"Expected measured= by modality ({', '.join(sorted(names))}), found {', '.join(strangers)}."
        raise ValueError(msg)


def _check_layers(layer: Layer, names: set[str]) -> None:
    """Refuse layers of modalities that are not there; a model's hold for data that lack some, too."""
    strangers = sorted(set(layer) - names) if isinstance(layer, Mapping) else []
    if strangers:
        msg = f"Expected layer= by modality ({', '.join(sorted(names))}), found {', '.join(strangers)}."
        raise KeyError(msg)


def _batches_with(rows: Mapping[str, ModalityRows], cells: Cells) -> dict[str, tuple[bool, ...]]:
    """By modality, which batches have cells with it."""
    return {name: tuple((cells.count(part.present) > 0).tolist()) for name, part in rows.items()}


def _guessed_notes(parts: list[Part]) -> list[str]:
    """Say what a small panel was taken for: its names may tell little."""
    return [
        f"{part.label}: told from the names of its {part.adata.n_vars:,} features. If it is another, say so: "
        "{'adt': adata} in place of adata."
        for part in parts
        if part.guessed and part.adata.n_vars <= _SMALL_PANEL
    ]


def _beside_notes(parts: list[Part]) -> list[str]:
    """Say where proteins lie beside the counts of another modality: they are not read there."""
    panels = [part.adata.obs_names for part in parts if part.name == "adt"]
    notes = []
    for part in parts:
        arrays = [] if part.name == "adt" else protein_arrays(part.adata)
        if arrays and not any(part.adata.obs_names.isin(names).any() for names in panels):
            notes.append(
                f"{part.label}: obsm[{arrays[0]!r}] looks like proteins, which are not read from there. midas.pp.prepare() makes "
                "a modality of them; or give {'rna': adata, 'adt': ...}."
            )
    return notes


def _apart_notes(opened: list[Opened]) -> list[str]:
    """Warn of objects that share hardly a feature with the others of their modality: other names, or another modality."""
    notes = []
    for each in opened:
        others = [other.features for other in opened if other.part.name == each.part.name and other is not each]
        if not others or not len(each.features):
            continue
        n = int(each.features.isin(others[0].append(others[1:])).sum())
        if n < _HARDLY * min(len(each.features), max(len(other) for other in others)):
            notes.append(
                f"{each.part.label}: {n:,} of {len(each.features):,} features are in other batches, too. Are they of the same "
                "modality, and their names of the same kind?"
            )
    return notes


def _pairing_notes(rows: Mapping[str, ModalityRows], cells: Cells) -> list[str]:
    """Warn of batches whose modalities have as many cells each, but not one in common: names that differ in spelling."""
    notes = []
    items = list(rows.items())
    for i, (name, part) in enumerate(items):
        for other, peer in items[i + 1 :]:
            counts = np.stack([cells.count(m) for m in (part.present, peer.present, part.present & peer.present)])
            suspect = (counts[0] > 0) & (counts[0] == counts[1]) & (counts[2] == 0)
            notes += [
                f"Batch {cells.batches[b]!r} has {counts[0, b]:,} cells with {name} and as many with {other}, but no name in "
                f"common. If they are the same cells, give them the same obs_names."
                for b in np.flatnonzero(suspect)
            ]
    return notes


def _lonely_notes(rows: Mapping[str, ModalityRows], cells: Cells) -> list[str]:
    lonely = cells.names[~np.any([part.present for part in rows.values()], axis=0)]
    if not len(lonely):
        return []
    return [f"{len(lonely):,} cells have none of the modalities and get no result: {describe_names(lonely)}."]
