"""Reference cells that a model is tuned beside, so that it does not forget: real ones, or ones that it makes itself."""

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
    """Reference cells and where they lie.

    Attributes
    ----------
    mosaic
        The cells.
    z
        Their posterior means in the reference, `(n_cells, dim_z)`.
    rows
        Which of the cells they were chosen from, or made after, each is, `(n_cells,)`.
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
    """Make up to `n` cells: counts drawn from the reference's decoder at latents that it kept.

    Each has the modalities that its batch has in the reference: the discriminators know of no others there. No count of a
    real cell is needed, so a model that travels without its cells can be tuned as well.

    Parameters
    ----------
    z
        Latents that the reference kept, `(n_cells, dim_z)`.
    batch
        Name of each one's batch, `(n_cells,)`.
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
    """Show half of the reference's cells as they are, half as the query would have measured them.

    That is, with the modalities and features of a query cell each, so that the encoders learn to find the same place from what
    the query has.
    """
    rng = np.random.default_rng([seed, 7])
    cells = recast(replay.mosaic, schema)
    order = query.canonical_order()  # the order of the query's file has no say
    usable = order[query.measured_in(tuple(query.modalities))[order]]
    like = rng.choice(usable, cells.n_cells)
    hidden = measured_like(cells, query, like)
    as_query = rng.random(cells.n_cells) < 0.5
    as_query &= hidden.measured_in(tuple(hidden.modalities))
    parts = [take_cells(hidden, np.flatnonzero(as_query)), take_cells(cells, np.flatnonzero(~as_query))]
    z, rows = (np.concatenate([values[as_query], values[~as_query]]) for values in (replay.z, replay.rows))
    return Replay(joined(*parts), z, rows)
