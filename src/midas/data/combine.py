"""Transform mosaics: change the schema, concatenate, subset, or hide measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from midas.data.genes import Genes
from midas.data.mosaic import ModalityRows, Mosaic
from midas.data.schema import MosaicSchema


def recast(mosaic: Mosaic, schema: MosaicSchema) -> Mosaic:
    """Convert a mosaic to another schema, matching features and batches by name; missing modalities have no cells."""
    return replace(
        mosaic,
        schema=schema,
        known_batch=schema.batch_codes(mosaic.batches),
        modalities={name: _recast_rows(mosaic, name, schema) for name in schema.modalities},
        genes={
            name: _by_feature(genes, mosaic.schema.modalities[name].features, schema.modalities[name].features)
            for name, genes in mosaic.genes.items()
            if name in schema.modalities
        },
    )


def aligned(mosaic: Mosaic, schema: MosaicSchema) -> Mosaic:
    """Convert a mosaic that was read for a model to the model's current schema.

    Raises
    ------
    ValueError
        When it was read for other features.
    """
    if not mosaic.schema.same_features(schema):
        raise ValueError("Expected a mosaic that this model's read() gave, found one of other features.")
    return mosaic if mosaic.schema is schema else recast(mosaic, schema)


def _by_feature(genes: Genes, old: pd.Index, new: pd.Index) -> Genes:
    return tuple(genes[i] if i >= 0 else () for i in old.get_indexer(new))


def _recast_rows(mosaic: Mosaic, name: str, schema: MosaicSchema) -> ModalityRows:
    features = schema.modalities[name].features
    n_features = len(features)
    if name not in mosaic.modalities:
        nowhere = np.full(mosaic.n_cells, -1, dtype=np.int32)
        nothing = np.zeros((len(mosaic.batches), n_features), dtype=bool)
        return ModalityRows(
            sources=(),
            columns=(),
            source_of=nowhere,
            row=nowhere.copy(),
            measured=nothing,
            input_names=features,
            input_columns=np.arange(n_features),
        )
    rows = mosaic.modalities[name]
    to = features.get_indexer(mosaic.schema.modalities[name].features).astype(np.int64)
    kept = to >= 0
    measured = np.zeros((len(mosaic.batches), n_features), dtype=bool)
    measured[:, to[kept]] = rows.measured[:, kept]
    shown = to[rows.input_columns]
    new = np.setdiff1d(np.arange(n_features), shown)
    return replace(
        rows,
        columns=tuple(np.where(column >= 0, to[column], -1) for column in rows.columns),
        measured=measured,
        input_names=rows.input_names[shown >= 0].append(features[new]),
        input_columns=np.concatenate([shown[shown >= 0], new]),
    )


def renamed(mosaic: Mosaic, names: Mapping[str, str]) -> Mosaic:
    """Rename batches to the names in the schema."""
    batches = tuple(names.get(name, name) for name in mosaic.batches)
    return replace(mosaic, batches=batches, known_batch=mosaic.schema.batch_codes(batches))


def joined(first: Mosaic, second: Mosaic) -> Mosaic:
    """Append the cells of `second` to `first`, with the same schema. Batches of the same name are kept separate."""
    if first.schema is not second.schema:
        raise ValueError("Expected two mosaics of one schema, found two schemas. Call recast() first.")
    rows = {}
    for name, a in first.modalities.items():
        b = second.modalities[name]
        source_of = np.where(b.source_of >= 0, b.source_of + len(a.sources), np.int32(-1))
        rows[name] = ModalityRows(
            sources=a.sources + b.sources,
            columns=a.columns + b.columns,
            source_of=np.concatenate([a.source_of, source_of]),
            row=np.concatenate([a.row, b.row]),
            measured=np.concatenate([a.measured, b.measured]),
            input_names=a.input_names,
            input_columns=a.input_columns,
        )
    return Mosaic(
        schema=first.schema,
        names=first.names.append(second.names),
        batches=first.batches + second.batches,
        batch=np.concatenate([first.batch, second.batch + len(first.batches)]),
        known_batch=np.concatenate([first.known_batch, second.known_batch]),
        modalities=rows,
        obs=pd.concat([first.obs, second.obs], ignore_index=True),
    )


def take_cells(mosaic: Mosaic, cells: NDArray[np.int64]) -> Mosaic:
    """Keep some cells of a mosaic, `(n,)`, in that order."""
    return replace(
        mosaic,
        names=mosaic.names.take(cells),
        batch=mosaic.batch[cells],
        modalities={
            name: replace(rows, source_of=rows.source_of[cells], row=rows.row[cells], padded=None)
            for name, rows in mosaic.modalities.items()
        },
        obs=mosaic.obs.iloc[cells].reset_index(drop=True),
    )


def measured_like(mosaic: Mosaic, model: Mosaic, like: NDArray[np.int64]) -> Mosaic:
    """Hide modalities and features of each cell that the cell `like`, `(n_cells,)`, of the mosaic `model` does not have.

    A cell with no features left has no modality in the result.
    """
    pair = mosaic.batch * len(model.batches) + model.batch[like]
    pairs, batch = np.unique(pair, return_inverse=True)
    own, other = np.divmod(pairs, len(model.batches))
    rows = {}
    for name, part in mosaic.modalities.items():
        shown = model.modalities[name].present[like]
        measured = np.logical_and(part.measured[own], model.modalities[name].measured[other])
        some = np.asarray(measured.any(axis=1))
        row = np.where(shown & some[batch], part.row, np.int32(-1))
        rows[name] = replace(part, row=row, measured=measured, padded=None)
    return replace(
        mosaic,
        batches=tuple(mosaic.batches[b] for b in own),
        batch=batch.astype(np.int64),
        known_batch=mosaic.known_batch[own],
        modalities=rows,
    )


def without_batch(mosaic: Mosaic) -> Mosaic:
    """Copy with all batches unknown to the model."""
    return replace(mosaic, known_batch=np.full(len(mosaic.batches), -1, dtype=np.int64))
