"""Trimodal mosaics with known truth: a tree of cell types, a continuous branch, linked features, batch effects.

A cell's biological state is a point z in a latent space. Each feature has a base level and loadings on z; a protein or a peak
that is linked to a gene shares part of the gene's loadings. A batch multiplies every feature by its own factor and has its own
depth. Counts are drawn in blocks of rows and kept sparse, so memory grows with the non-zero counts.

Every random draw has its own generator, keyed by what is drawn (see :func:`generator`): a modality's counts in a batch are the
same whether or not other modalities or batches are simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from midas.data.joint import joint
from midas.keys import MEASURED_PREFIX, TRUTH
from midas.simulate.cells import SimulatedCells, make_cells, rows_of
from midas.simulate.config import MODALITIES, PANEL, SimulationConfig, batches_with, generator
from midas.simulate.counts import draw_counts
from midas.simulate.features import Features, make_features


@dataclass(frozen=True)
class Simulation:
    """A mosaic and the counts that it hides.

    Attributes
    ----------
    mdata
        The mosaic, equal to the result of :func:`mosaic`.
    full
        The same cells in the same order with all counts of all modalities, including unmeasured features.
    """

    mdata: md.MuData
    full: md.MuData


def mosaic(config: SimulationConfig | None = None, *, seed: int = 0) -> md.MuData:
    """Simulate a mosaic; only counts that some cell of the mosaic has are drawn.

    Parameters
    ----------
    config
        What to simulate; ``SimulationConfig()`` when None.
    seed
        The same seed gives the same result, regardless of other generators.

    Returns
    -------
    MuData with float32 CSR counts (ATAC: 0 and 1). ``obs``: ``batch``, ``cell_type``, ``lineage`` (first split of the
    tree) and ``branch_position`` (0 to 1 from progenitor to mature, NaN off the branch); ``obsm["X_truth"]``: the
    biological state (cells x n_latent); ``var["gene"]`` of ``adt`` and ``atac``: the linked gene, ``""`` for none;
    ``var["chrom"]`` of ``rna`` and ``atac``; ``uns["simulation"]``: the configuration and the seed.

    Examples
    --------
    >>> mdata = midas.simulate.mosaic(midas.simulate.SimulationConfig(mosaic=("rna+adt", "rna"), n_cells=90))
    >>> {name: part.n_obs for name, part in mdata.mod.items()}
    {'rna': 90, 'adt': 45}
    """
    config = config or SimulationConfig()
    cells = make_cells(config, seed)
    parts = {}
    for features in make_features(config, seed):
        batches = batches_with(features.name, config)
        if batches:
            counts = draw_counts(features, cells, batches, config, seed)
            parts[features.name] = _hide(counts, features, cells, config, seed)
    return _mudata(parts, cells, config, seed)


def mosaic_with_truth(config: SimulationConfig | None = None, *, seed: int = 0) -> Simulation:
    """Simulate a mosaic together with the counts that it hides; see :func:`mosaic`.

    Examples
    --------
    >>> config = midas.simulate.SimulationConfig(n_cells=90, n_genes=50, n_peaks=60)
    >>> truth = midas.simulate.mosaic_with_truth(config)
    >>> truth.full["rna"].shape, truth.mdata["rna"].n_obs < 90
    ((90, 50), True)
    """
    config = config or SimulationConfig()
    cells = make_cells(config, seed)
    parts, full = {}, {}
    for features in make_features(config, seed):
        counts = draw_counts(features, cells, range(len(config.batches)), config, seed)
        full[features.name] = ad.AnnData(counts, obs=_modality_obs(cells), var=features.var.copy())
        batches = batches_with(features.name, config)
        if batches:
            parts[features.name] = _hide(counts[rows_of(batches, cells)], features, cells, config, seed)
    return Simulation(_mudata(parts, cells, config, seed), _mudata(full, cells, config, seed))


def _hide(
    counts: sp.csr_matrix, features: Features, cells: SimulatedCells, config: SimulationConfig, seed: int
) -> ad.AnnData:
    """Keep only the counts that the mosaic has, of the batches with this modality."""
    batches = batches_with(features.name, config)
    var = features.var.copy()
    if features.unmeasured > 0:
        panels = _panels(features, len(batches), generator(seed, PANEL, MODALITIES.index(features.name)))
        ends = np.cumsum(config.batch_sizes[batches])
        parts = np.split(np.arange(counts.shape[0]), ends[:-1])
        measured = []
        for b, rows, panel in zip(batches, parts, panels, strict=True):
            part = counts[rows]
            part.data *= panel[part.indices]
            part.eliminate_zeros()
            measured.append(part)
            var[MEASURED_PREFIX + config.batches[b]] = panel
        counts = sp.csr_matrix(sp.vstack(measured, format="csr"))
    has = cells.has[features.name]
    present = has[rows_of(batches, cells)]
    if not present.all():
        counts = counts[present]
    return ad.AnnData(counts, obs=_modality_obs(cells).loc[has].copy(), var=var)


def _panels(features: Features, n_batches: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which features each batch measures (batches x features)."""
    n = len(features.base)
    panels = np.ones((n_batches, n), dtype=np.bool_)
    for panel in panels:
        panel[rng.permutation(n)[: round(features.unmeasured * n)]] = False
    nowhere = np.flatnonzero(~panels.any(axis=0))
    panels[rng.integers(n_batches, size=nowhere.size), nowhere] = True
    return panels


def _modality_obs(cells: SimulatedCells) -> pd.DataFrame:
    return cells.obs[["batch", "cell_type"]].copy()


def _mudata(parts: Mapping[str, ad.AnnData], cells: SimulatedCells, config: SimulationConfig, seed: int) -> md.MuData:
    """Join the modalities under all cells, in their order."""
    mdata = joint(parts, cells.obs.index)
    for column in cells.obs:
        mdata.obs[column] = cells.obs[column]
    mdata.obsm[TRUTH] = cells.state
    mdata.uns["simulation"] = {**config.to_dict(), "seed": seed}
    return mdata
