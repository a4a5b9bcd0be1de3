"""Sample of the counts of a model's own cells, to be saved with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray

from midas import keys
from midas.data.combine import take_cells
from midas.data.joint import joint
from midas.data.mosaic import Mosaic
from midas.data.read import read_for_model
from midas.data.rows import measured_counts
from midas.data.schema import MosaicSchema
from midas.expect import sklearn_seed

# Regions of the latent space that are sampled evenly, so that rare types are included.
_REGIONS = 50


def by_state(rows: NDArray[np.int64], z: NDArray[np.floating]) -> NDArray[np.int64]:
    """Sort positions by their states, so that samples do not depend on the input order."""
    return rows[np.lexsort(np.asarray(z)[rows].T)]


def evenly(group: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """Choose up to `n` positions, in ascending order, with equal numbers per group as far as possible."""
    if len(group) <= n:
        return np.arange(len(group))
    rng = np.random.default_rng([seed, 8])
    # The r-th member of each group comes before the (r+1)-th of any group.
    shuffled = rng.permutation(len(group))
    rank = pd.Series(group[shuffled]).groupby(group[shuffled]).cumcount().to_numpy()
    return np.sort(shuffled[np.lexsort((rng.random(len(group)), rank))[:n]])


def representative(cells: AnnData, rows: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """Choose up to `n` of the positions `rows` of a table of cells, evenly over batches and regions of the latent space."""
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415 - slow to import

    c = np.asarray(cells.obsm[keys.LATENT])[rows]
    usable = np.flatnonzero(np.isfinite(c).all(1))
    if len(usable) <= n:
        return usable
    usable = by_state(usable, c)
    batch, _ = pd.factorize(cells.obs[keys.BATCH].astype(str).to_numpy()[rows[usable]])
    regions = min(_REGIONS, len(usable))
    region = MiniBatchKMeans(regions, random_state=sklearn_seed(seed), n_init=1).fit_predict(c[usable])
    return np.sort(usable[evenly(batch * regions + region, n, seed)])


def rows_of(mosaic: Mosaic, cells: AnnData) -> NDArray[np.int64] | None:
    """Row in a table of cells of each cell of a mosaic, `(n_cells,)`, by batch and name; None unless all of them are in it."""
    own = pd.MultiIndex.from_arrays([cells.obs[keys.BATCH].astype(str), cells.obs_names.astype(str)])
    wanted = pd.MultiIndex.from_arrays([np.asarray(mosaic.batches)[mosaic.batch], mosaic.cells.astype(str)])
    if not own.is_unique or not wanted.is_unique:
        return None
    rows: NDArray[np.int64] = own.get_indexer(wanted).astype(np.int64)
    return rows if (rows >= 0).all() else None


def sampled(mosaic: Mosaic, rows: NDArray[np.int64], cells: AnnData, n: int, seed: int) -> MuData:
    """Counts of up to `n` cells as MuData.

    Parameters
    ----------
    mosaic
        Where the counts are.
    rows
        Row in `cells` of each cell of the mosaic, `(n_cells,)`.
    cells
        Latents and batches.
    """
    at = representative(cells, rows, n, seed)
    some = take_cells(mosaic, at)
    obs = pd.DataFrame(
        {keys.BATCH: np.asarray(some.batches)[some.batch], keys.SAMPLED_ROW: rows[at]},
        index=pd.Index([f"cell-{row}" for row in rows[at]], dtype=object),
    )
    parts = {}
    for name, schema in some.schema.modalities.items():
        present = np.flatnonzero(some.modalities[name].present)
        if not len(present):
            continue
        flags = {
            f"{keys.MEASURED_PREFIX}{batch}": measured
            for batch, measured in zip(some.batches, some.modalities[name].measured, strict=True)
        }
        var = pd.DataFrame(flags, index=schema.features.astype(object))
        parts[name] = AnnData(measured_counts(some, name, present), obs=obs.iloc[present].copy(), var=var)
    sample = joint(parts)
    sample.obs = obs.reindex(sample.obs_names)
    return sample


def read_sampled(sample: MuData, schema: MosaicSchema) -> tuple[Mosaic, NDArray[np.int64]]:
    """Read what :func:`sampled` made: the counts, and each cell's row in the model's table of cells."""
    # Measured features are stored with the sample; in a small sample, zeros do not mean unmeasured.
    kinds = {
        name: replace(part, modality=replace(part.modality, zero_means_unmeasured=False))
        for name, part in schema.modalities.items()
    }
    found = read_for_model(sample, batch_key=keys.BATCH, schema=replace(schema, modalities=kinds))
    mosaic = replace(found, schema=schema)
    return mosaic, mosaic.obs[keys.SAMPLED_ROW].to_numpy(dtype=np.int64)
