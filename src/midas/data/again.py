"""Read new data for a model, with the options its own data were read with."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from types import EllipsisType

import pandas as pd

from midas.data.combine import renamed
from midas.data.mosaic import Mosaic
from midas.data.parts import Layer, MosaicData, batches_in
from midas.data.read import read_for_model
from midas.data.read_options import ReadOptions
from midas.data.schema import MosaicSchema
from midas.text import describe_names

logger = logging.getLogger(__name__)


def read_again(
    data: MosaicData,
    schema: MosaicSchema,
    options: ReadOptions,
    *,
    batch_key: str | EllipsisType | None = ...,
    measured: Mapping[str, pd.DataFrame] | None = None,
    layer: Layer | EllipsisType = ...,
    seen_notes: Collection[str] = (),
) -> Mosaic:
    """Read data for a model; see :meth:`midas.MIDAS.read`.

    Parameters
    ----------
    schema
        Of the model.
    options
        How its own data were read.
    batch_key, layer
        Default: as its own data were read.
    measured
        None for what was given with its own data, for batches that occur again.
    seen_notes
        Notes that were already logged.
    """
    as_own = isinstance(batch_key, EllipsisType)
    key = options.batch_key if isinstance(batch_key, EllipsisType) else batch_key
    layer = options.layer if isinstance(layer, EllipsisType) else layer
    if measured is None and options.measured:
        there = batches_in(data, batch_key=key, modalities=schema.kinds)
        measured = {
            name: _said_of(there, table, options.renamed if as_own else {}) for name, table in options.measured.items()
        }
    found = read_for_model(data, batch_key=key, measured=measured, layer=layer, schema=schema, seen_notes=seen_notes)
    if not as_own:
        return found
    apart = {old: new for old, new in options.renamed.items() if old in found.batches}
    if apart:
        found = renamed(found, apart)
        logger.warning(
            "Batches of names that the reference has, too, are read as those of the query: %s. For the reference's, name the "
            "column: read(data, batch_key=%r).",
            ", ".join(f"{old} as {new}" for old, new in apart.items()),
            key,
        )
    if found.n_cells and not (found.known_batch >= 0).any():
        logger.warning(
            "None of the batches (%s) is one that the model knows (%s), so their cells are read as those of new batches. If they "
            "are not new, name the column: read(data, batch_key=...).",
            describe_names(pd.Index(found.batches)),
            describe_names(pd.Index(schema.batches)),
        )
    return found


def _said_of(batches: Collection[str], table: pd.DataFrame, renamed: Mapping[str, str]) -> pd.DataFrame:
    """Rows of a table for these batches of the data; renames batches from the model's to the data's names."""
    rows = table.set_axis(table.index.astype(str))
    names = {name: renamed.get(name, name) for name in batches}
    known = [name for name, own in names.items() if own in rows.index]
    return rows.loc[[names[name] for name in known]].set_axis(known)
