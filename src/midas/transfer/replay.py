"""Reference cells to replay during tuning, so that the model does not forget: real ones or ones that it generates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from midas.data.combine import joined, measured_like, recast, take_cells
from midas.data.mosaic import ModalityRows, Mosaic
from midas.data.names import CellNames
from midas.data.sources import MemorySource
from midas.decoding import Draw, States, decode
from midas.sample import by_state, evenly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.schema import MosaicSchema
    from midas.model import MIDAS


@dataclass(frozen=True)
class Replay:
    """Reference cells and their latents.

    Attributes
    ----------
    mosaic
        The cells.
    z
        Their posterior means in the reference, `(n_cells, dim_z)`.
    rows
        Row of the cell that each was chosen from or generated from, `(n_cells,)`.
    """

    mosaic: Mosaic
    z: NDArray[np.float32]
    rows: NDArray[np.int64]


def real(mosaic: Mosaic, z: NDArray[np.float32], n: int, seed: int) -> Replay:
    """Choose up to `n` of the reference's cells, evenly from its batches."""
    usable = by_state(np.flatnonzero(np.isfinite(z).all(1) & mosaic.measured_in(tuple(mosaic.modalities))), z)
    at = usable[evenly(mosaic.batch[usable], n, seed)]
    return Replay(take_cells(mosaic, at), z[at], at)


def generated(reference: MIDAS, z: NDArray[np.float32], batch: NDArray[np.object_], n: int, seed: int) -> Replay:
    """Generate up to `n` cells: counts drawn from the reference's decoder at stored latents.

    Each cell gets the modalities that its batch has in the reference, as the discriminators know no others there. No counts of
    real cells are needed, so a model shared without its cells can be tuned as well.

    Parameters
    ----------
    z
        Latents stored with the reference, `(n_cells, dim_z)`.
    batch
        Batch name of each of them, `(n_cells,)`.
    """
    usable = by_state(np.flatnonzero(np.isfinite(z).all(1)), z)
    codes, _ = pd.factorize(batch[usable])
    at = usable[evenly(codes, n, seed)]
    schema = reference.schema
    where = pd.Index(schema.batches).get_indexer(pd.Index(batch[at]))
    n_made = len(at)
    rows = {}
    for name, part in schema.modalities.items():
        columns = np.arange(part.n_features)
        blocks = decode(reference.vae, schema, States(z[at]), name, columns, Draw(sample=True, seed=seed))
        counts = sp.vstack([sp.csr_matrix(block) for block in blocks], format="csr")
        rows[name] = ModalityRows(
            sources=(MemorySource(counts),),
            columns=(columns,),
            source_of=np.zeros(n_made, dtype=np.int32),
            row=np.where(np.asarray(schema.batches_with[name])[where], np.arange(n_made), -1).astype(np.int32),
            measured=np.ones((len(schema.batches), part.n_features), dtype=bool),
            input_names=part.features,
            input_columns=columns,
        )
    mosaic = Mosaic(
        schema=schema,
        names=CellNames.of(pd.Index([f"made-{i}" for i in range(n_made)])),
        batches=schema.batches,
        batch=where.astype(np.int64),
        known_batch=np.arange(len(schema.batches)),
        modalities=rows,
        obs=pd.DataFrame(index=range(n_made)),
    )
    return Replay(mosaic, z[at], at)


def shown_for(query: Mosaic, replay: Replay, schema: MosaicSchema, seed: int) -> Replay:
    """Show half of the reference's cells as they are, and half as the query would have measured them.

    The latter get the modalities and features of a query cell each, so that the encoders learn to recover the same latents from
    what the query measured.
    """
    rng = np.random.default_rng([seed, 7])
    cells = recast(replay.mosaic, schema)
    order = query.canonical_order()  # makes the result independent of the order of cells in the query's file
    usable = order[query.measured_in(tuple(query.modalities))[order]]
    like = rng.choice(usable, cells.n_cells)
    hidden = measured_like(cells, query, like)
    as_query = rng.random(cells.n_cells) < 0.5
    as_query &= hidden.measured_in(tuple(hidden.modalities))
    parts = [take_cells(hidden, np.flatnonzero(as_query)), take_cells(cells, np.flatnonzero(~as_query))]
    z, rows = (np.concatenate([values[as_query], values[~as_query]]) for values in (replay.z, replay.rows))
    return Replay(joined(*parts), z, rows)
