"""Read a mosaic as it is: cells matched by name, features matched by name, everything checked once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import pandas as pd

from midas.data.cells import Cells, number_cells, obs_of, order_of
from midas.data.features import check_overlap, own_features
from midas.data.genes import Genes, genes_said
from midas.data.locate import locate
from midas.data.mosaic import ModalityRows, Mosaic
from midas.data.names import CellNames
from midas.data.odd import odd_parts, odd_rows
from midas.data.opened import open_parts
from midas.data.parts import Layer, MosaicData, NoBatchError, called, take_apart
from midas.data.read_options import ReadOptions
from midas.data.schema import MosaicSchema
from midas.data.wanted import name_in, named_as_in, wanted_parts
from midas.memory import release_memory
from midas.modality import Modality

logger = logging.getLogger(__name__)


_OF_NEW_DATA = (
    "Name the column with batch_key=: of MIDAS.load(), of model.read(data, batch_key=...) in place of data, or of "
    "midas.transfer.Query(data, batch_key=...) to map them; None where all cells are one batch."
)


def read_mosaic(
    data: MosaicData,
    *,
    batch_key: str | None = "batch",
    modalities: Mapping[str, Modality] | None = None,
    measured: Mapping[str, pd.DataFrame] | None = None,
    layer: Layer = None,
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

    Raises
    ------
    TypeError, KeyError, ValueError
        When the data cannot be read, saying what was expected, what was found and what to do.

    Examples
    --------
    >>> midas.read_mosaic(mdata).n_cells
    300
    """
    return read_for_model(data, batch_key=batch_key, modalities=modalities, measured=measured, layer=layer)


def read_for_model(
    data: MosaicData,
    *,
    batch_key: str | None = "batch",
    modalities: Mapping[str, Modality] | None = None,
    measured: Mapping[str, pd.DataFrame] | None = None,
    layer: Layer = None,
    schema: MosaicSchema | None = None,
    like: MosaicSchema | None = None,
    seen_notes: Collection[str] = (),
) -> Mosaic:
    """Read data as :func:`read_mosaic` does, for a model that is there already.

    Parameters
    ----------
    data, batch_key, modalities, measured, layer
        As there.
    schema
        Of a trained model, whose features are wanted. None to take the data's own.
    like
        Of a trained model, whose names and kinds of modalities are wanted, but not its features alone.
    seen_notes
        Notes that the user has seen before, not to be logged again.

    Examples
    --------
    >>> from midas.data.read import read_for_model
    >>> read_for_model(mdata, schema=model.schema).n_cells
    300
    """
    known = like if schema is None else schema
    kinds = modalities if known is None else {**(modalities or {}), **known.kinds}
    try:
        parts, order = take_apart(data, batch_key=batch_key, modalities=kinds)
    except NoBatchError as error:
        if known is None:
            raise
        raise NoBatchError(error.found, _OF_NEW_DATA) from None
    notes: list[str] = []
    if like is not None:
        parts = named_as_in(like, parts)
        modalities = {part.name: kind for part in parts if (kind := (kinds or {}).get(part.name)) is not None}
    every = parts
    parts = wanted_parts(parts, schema, modalities, notes)
    _check_measured(measured, {part.name for part in parts} | set(() if known is None else known.modalities))
    layer = _layers_as_in(known, layer)
    _check_layers(layer, {part.name for part in parts} | set(() if known is None else known.modalities))
    apart = order is None
    if apart and len(parts) < len(every):  # cells of what is left out keep their places, as those of one object do
        order = order_of(every)
    cells = number_cells(parts, order, notes, apart=apart)
    opened = open_parts(parts, cells, layer, notes)
    release_memory()  # what matching the names took
    own = own_features(opened, modalities) if schema is None else dict(schema.modalities)
    rows: dict[str, ModalityRows] = {}
    genes: dict[str, Genes] = {}
    for name, features in own.items():
        mine = [each for each in opened if each.part.name == name]
        genes[name] = genes_said(features, mine)
        rows[name] = locate(features, mine, cells, None if measured is None else measured.get(name), notes)
    if known is not None:
        check_overlap(known.modalities, opened, notes, adding=schema is None)
    notes += [*odd_parts(parts, opened), *odd_rows(rows, cells)]
    for note in notes:
        if note not in seen_notes:
            logger.warning(note)
    if schema is None:
        schema = MosaicSchema(cells.batches, own, _batches_with(rows, cells))
    obs = obs_of(data, parts, cells).reset_index(drop=True)
    return Mosaic(
        schema=schema,
        names=CellNames.of(cells.names),
        batches=cells.batches,
        batch=cells.batch,
        known_batch=schema.batch_codes(cells.batches),
        modalities=rows,
        notes=tuple(notes),
        obs=obs,
        genes=genes,
        read_options=ReadOptions(batch_key=batch_key, layer=layer, measured=measured, modalities=modalities),
    )


def _check_measured(measured: Mapping[str, pd.DataFrame] | None, names: set[str]) -> None:
    """Refuse tables of what batches measured that are of no modality."""
    strangers = sorted(set(measured or {}) - names)
    if strangers:
        msg = f"Expected measured= by modality ({', '.join(sorted(names))}), found {', '.join(strangers)}."
        raise ValueError(msg)


def _layers_as_in(schema: MosaicSchema | None, layer: Layer) -> Layer:
    """The layers by the names that the modalities go by: ``prot`` may be ``adt``."""
    if layer is None or isinstance(layer, str):
        return layer
    return {called(name) if schema is None else name_in(schema, called(name)): of for name, of in layer.items()}


def _check_layers(layer: Layer, names: set[str]) -> None:
    """Refuse layers of modalities that are not there; a model's hold for data that lack some, too."""
    strangers = sorted(set(layer) - names) if isinstance(layer, Mapping) else []
    if strangers:
        msg = f"Expected layer= by modality ({', '.join(sorted(names))}), found {', '.join(strangers)}."
        raise KeyError(msg)


def _batches_with(rows: Mapping[str, ModalityRows], cells: Cells) -> dict[str, tuple[bool, ...]]:
    """By modality, which batches have cells with it."""
    return {name: tuple((cells.count(part.present) > 0).tolist()) for name, part in rows.items()}
