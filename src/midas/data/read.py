"""Read a mosaic: match cells and features by name, and check all input."""

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
        Modalities may contain different cells, in any order; cells are matched by name.
    batch_key
        Column of obs (of the MuData or of each modality) that names the batch; None when all cells are one batch.
    modalities
        Definition of each modality, by its name in `data`; others use their presets, unless `data` is a single AnnData.
    measured
        For a modality, a boolean table batches x features: False where a batch did not measure a feature. Overrides the
        columns ``measured_<batch>`` of var.
    layer
        Layer that holds the counts, or a dict of layers by modality (X in those left out); None for X.

    Raises
    ------
    TypeError, KeyError, ValueError
        When the data cannot be read; the message says what was expected, what was found and what to do.

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
    """Read data as :func:`read_mosaic` does, for an existing model.

    Parameters
    ----------
    data, batch_key, modalities, measured, layer
        As in :func:`read_mosaic`.
    schema
        Schema of a trained model, whose features are used. None to use the features of the data.
    like
        Schema of a trained model, whose names and definitions of modalities are used, but not only its features.
    seen_notes
        Notes that were already logged, not to be repeated.

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
    if apart and len(parts) < len(every):  # cells of omitted parts keep their positions, as within one object
        order = order_of(every)
    cells = number_cells(parts, order, notes, apart=apart)
    opened = open_parts(parts, cells, layer, notes)
    release_memory()  # used for matching the names
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
    """Reject `measured` tables of unknown modalities."""
    strangers = sorted(set(measured or {}) - names)
    if strangers:
        msg = f"Expected measured= by modality ({', '.join(sorted(names))}), found {', '.join(strangers)}."
        raise ValueError(msg)


def _layers_as_in(schema: MosaicSchema | None, layer: Layer) -> Layer:
    """Rename the keys of `layer` to the schema's modalities: ``prot`` may be ``adt``."""
    if layer is None or isinstance(layer, str):
        return layer
    return {called(name) if schema is None else name_in(schema, called(name)): of for name, of in layer.items()}


def _check_layers(layer: Layer, names: set[str]) -> None:
    """Reject layers of unknown modalities; those of a model's modalities are allowed even if the data lack them."""
    strangers = sorted(set(layer) - names) if isinstance(layer, Mapping) else []
    if strangers:
        msg = f"Expected layer= by modality ({', '.join(sorted(names))}), found {', '.join(strangers)}."
        raise KeyError(msg)


def _batches_with(rows: Mapping[str, ModalityRows], cells: Cells) -> dict[str, tuple[bool, ...]]:
    """By modality, which batches have cells with it."""
    return {name: tuple((cells.count(part.present) > 0).tolist()) for name, part in rows.items()}
