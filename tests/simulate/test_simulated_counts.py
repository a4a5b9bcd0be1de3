"""Counts are distributed as asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small import CONFIG

from midas.simulate import Simulation, SimulationConfig, mosaic
from midas.simulate import counts as counting


def test_rna_is_overdispersed_and_sparse(simulation: Simulation) -> None:
    one = (simulation.full.obs["batch"] == "batch2").to_numpy()
    counts = simulation.full["rna"].X[one].toarray()
    depth = counts.sum(1)
    assert 0.25 < np.log(depth).std() < 0.5
    expected = counts.mean(0)
    expressed = expected > 0.5
    assert np.mean(counts.var(0)[expressed] > 1.2 * expected[expressed]) > 0.8
    assert 0.1 < np.mean(counts > 0) < 0.5
    assert expected.max() / expected.sum() < 0.1


def test_proteins_have_background_and_more_counts_than_genes(simulation: Simulation) -> None:
    rna, adt = simulation.full["rna"].X, simulation.full["adt"].X
    assert np.median(np.asarray(adt.sum(1))) > np.median(np.asarray(rna.sum(1)))
    assert adt.nnz / np.prod(adt.shape) > 0.8
    per_batch = [adt[(simulation.full.obs["batch"] == b).to_numpy()].sum(0) for b in CONFIG.batches]
    assert all((np.asarray(total) > 0).all() for total in per_batch)


@pytest.mark.parametrize("density", [0.01, 0.05, 0.2])
def test_peaks_have_the_density_asked_for(density: float) -> None:
    config = SimulationConfig(mosaic=("atac",), n_cells=600, peak_density=density, depth_shift=0.0)
    peaks = mosaic(config, seed=0)["atac"].X
    assert abs(peaks.mean() / density - 1) < 0.2


@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_batch_effects_have_the_strength_asked_for(strength: float) -> None:
    config = SimulationConfig(
        mosaic=("rna+adt", "rna+adt"),
        n_cells=3000,
        n_types=1,
        branch=False,
        batch_strength=strength,
        adt_background=0.0,
    )
    mdata = mosaic(config, seed=0)
    first = (mdata.obs["batch"] == "batch1").to_numpy()
    for name in ("rna", "adt"):
        counts = mdata[name].X
        means = [np.asarray(counts[rows].mean(0)).ravel() for rows in (first, ~first)]
        expressed = np.minimum(*means) > 0.3
        log_ratio = np.log(means[0][expressed] / means[1][expressed])
        # The ratio of two batches has twice the variance of one batch's factor.
        assert abs(log_ratio.std() - np.sqrt(2) * strength) < 0.1


def test_depth_differs_between_batches_and_modalities() -> None:
    config = SimulationConfig(mosaic=("rna+adt",) * 6, n_cells=1200, depth_shift=0.5)
    mdata = mosaic(config, seed=0)
    batch = mdata.obs["batch"]
    depths = pd.DataFrame({m: np.log(np.asarray(mdata[m].X.sum(1)).ravel()) for m in ("rna", "adt")}, index=batch.index)
    means = depths.groupby(batch, observed=True).mean()
    assert (means.std() > 0.2).all()
    assert abs(np.corrcoef(means["rna"], means["adt"])[0, 1]) < 0.95


@pytest.mark.parametrize("rate", [0.003, 0.4, 3.0, 60.0])
def test_counts_are_exactly_poisson(rate: float) -> None:
    n = 200_000
    rates = np.full((n // 10, 10), rate, dtype=np.float32)
    rngs = np.random.default_rng(0), np.random.default_rng(1)
    counts = counting.draw_poisson(rates, *rngs, binary=False).toarray().ravel().astype(int)
    low, high = (int(q) for q in stats.poisson.ppf([1e-3, 1 - 1e-3], rate))
    observed = np.bincount(np.clip(counts, low, high) - low, minlength=high - low + 1)
    expected = stats.poisson.pmf(np.arange(low, high + 1), rate)
    expected[0], expected[-1] = stats.poisson.cdf(low, rate), stats.poisson.sf(high - 1, rate)
    assert stats.chisquare(observed, n * expected / expected.sum()).pvalue > 1e-3
