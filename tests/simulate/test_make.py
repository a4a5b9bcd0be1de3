"""A mosaic has the form asked for, the seed alone decides, and what it hides is hidden."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from small import CONFIG, SMALL, assert_equal, with_changes

from midas.simulate import MODALITIES, Simulation, SimulationConfig, mosaic, mosaic_with_truth
from midas.simulate import counts as counting

if TYPE_CHECKING:
    from pathlib import Path


def test_counts_are_float32_csr_integers(simulation: Simulation) -> None:
    for mdata in (simulation.mdata, simulation.full):
        for name in MODALITIES:
            counts = mdata[name].X
            assert isinstance(counts, sp.csr_matrix)
            assert counts.dtype == np.float32
            assert counts.has_canonical_format
            assert (counts.data >= 1).all()
            assert (counts.data == np.round(counts.data)).all()
    assert (simulation.full["atac"].X.data == 1).all()


def test_cells_and_features_are_named(simulation: Simulation) -> None:
    mdata = simulation.mdata
    assert list(mdata.obs_names[[0, -1]]) == ["cell000001", "cell002000"]
    assert mdata.obs_names.is_unique
    assert {"batch", "cell_type", "lineage", "branch_position"} <= set(mdata.obs)
    assert list(mdata.obs["batch"].cat.categories) == ["batch1", "batch2", "batch3", "batch4"]
    for adata in mdata.mod.values():
        assert adata.obs_names.isin(mdata.obs_names).all()
        order = mdata.obs_names.get_indexer(adata.obs_names)
        assert (np.diff(order) > 0).all()
        assert (adata.obs["cell_type"] == mdata.obs["cell_type"].loc[adata.obs_names]).all()
    genes = mdata["rna"].var_names
    assert genes[0] == "GENE0001"
    assert mdata["adt"].var_names[0] == "PROT01"
    assert mdata["adt"].var["gene"].isin(genes).all()
    linked = mdata["atac"].var.query("gene != ''")
    assert 0.65 < len(linked) / mdata["atac"].n_vars < 0.75
    assert (mdata["rna"].var["chrom"].loc[linked["gene"]].to_numpy() == linked["chrom"].to_numpy()).all()
    peaks = mdata["atac"].var_names.to_series().str.extract(r"^(chr\d+):(\d+)-(\d+)$")
    assert peaks.notna().to_numpy().all()
    assert (peaks[0] == mdata["atac"].var["chrom"]).all()
    assert peaks[0].nunique() == CONFIG.n_chromosomes
    assert mdata["atac"].var_names.is_unique


def test_truth_is_aligned_to_all_cells(simulation: Simulation) -> None:
    for mdata in (simulation.mdata, simulation.full):
        assert mdata.obsm["X_truth"].shape == (CONFIG.n_cells, CONFIG.n_latent)
        pd.testing.assert_frame_equal(mdata.obs, simulation.mdata.obs)
    for adata in simulation.full.mod.values():
        assert adata.n_obs == CONFIG.n_cells
        assert (adata.obs_names == simulation.mdata.obs_names).all()


def test_is_read_back_from_a_file(tmp_path: Path) -> None:
    mdata = mosaic(SMALL, seed=3)
    with md.set_options(pull_on_update=False):
        mdata.write_h5mu(tmp_path / "mosaic.h5mu")
        again = md.read_h5mu(tmp_path / "mosaic.h5mu")
    assert list(again.obs_names) == list(mdata.obs_names)
    np.testing.assert_array_equal(again.obsm["X_truth"], mdata.obsm["X_truth"])
    assert list(again.uns["simulation"]["mosaic"]) == list(SMALL.mosaic)
    assert again.uns["simulation"]["seed"] == 3


@pytest.mark.parametrize(
    "patterns",
    [("rna",), ("rna+adt+atac", "rna"), ("atac", "adt", "rna"), ("rna+adt", "rna+atac", "adt", "adt")],
)
def test_batches_have_their_modalities_and_no_others(patterns: tuple[str, ...]) -> None:
    config = with_changes(SMALL, mosaic=patterns)
    mdata = mosaic(config, seed=0)
    assert set(mdata.mod) == {m for pattern in patterns for m in pattern.split("+")}
    for name, adata in mdata.mod.items():
        expected = [f"batch{b + 1}" for b, pattern in enumerate(patterns) if name in pattern.split("+")]
        cells = mdata.obs_names[mdata.obs["batch"].isin(expected)]
        assert list(adata.obs_names) == list(cells)


def test_patterns_are_read_from_strings_and_sets() -> None:
    config = SimulationConfig(mosaic=("ATAC + rna", frozenset({"adt"}), ["adt", "rna"]))
    assert config.mosaic == ("rna+atac", "adt", "rna+adt")
    assert config.patterns == (frozenset({"rna", "atac"}), frozenset({"adt"}), frozenset({"rna", "adt"}))
    assert SimulationConfig(**config.to_dict()) == config


@pytest.mark.parametrize("n_cells", [4, 5, 7, 1001])
@pytest.mark.parametrize("proportions", [None, (1, 1, 1, 1), (0.001, 5, 2, 0.3)])
def test_batch_sizes_follow_the_proportions(n_cells: int, proportions: tuple[float, ...] | None) -> None:
    sizes = SimulationConfig(n_cells=n_cells, batch_proportions=proportions).batch_sizes
    assert sizes.sum() == n_cells
    assert sizes.min() >= 1
    share = np.array(proportions or (1, 1, 1, 1))
    assert np.abs(sizes - n_cells * share / share.sum()).max() < 4


def test_unpaired_cells_lack_one_modality_of_their_batch() -> None:
    config = with_changes(SMALL, n_cells=1200, mosaic=("rna+adt+atac", "rna+adt", "adt"), unpaired_fraction=0.3)
    mdata = mosaic(config, seed=0)
    measured = pd.DataFrame({m: mdata.obs_names.isin(mdata[m].obs_names) for m in MODALITIES}, index=mdata.obs_names)
    number = measured.sum(axis=1).groupby(mdata.obs["batch"], observed=True).value_counts().unstack(fill_value=0)
    assert set(number.columns[number.loc["batch1"] > 0]) == {2, 3}
    assert set(number.columns[number.loc["batch2"] > 0]) == {1, 2}
    assert set(number.columns[number.loc["batch3"] > 0]) == {1}
    assert 0.2 < number.loc["batch1", 2] / 400 < 0.4
    lost = 400 - measured[mdata.obs["batch"] == "batch1"].sum()
    assert (lost > 20).all()


def test_unmeasured_features_are_zero_and_marked() -> None:
    config = with_changes(SMALL, n_proteins=30, unmeasured_proteins=0.4, unmeasured_genes=0.1)
    simulation = mosaic_with_truth(config, seed=0)
    for name, share in (("adt", 0.4), ("rna", 0.1)):
        adata = simulation.mdata[name]
        marks = adata.var.filter(like="measured_")
        assert list(marks) == [
            f"measured_{b}" for b in adata.obs["batch"].cat.categories if b in set(adata.obs["batch"])
        ]
        assert all(dtype.kind == "b" for dtype in marks.dtypes)
        assert marks.any(axis=1).all()
        assert 0.5 * share < 1 - marks.to_numpy().mean() <= share + 1e-9
        full = simulation.full[name][adata.obs_names]
        for batch in set(adata.obs["batch"]):
            rows, measured = (adata.obs["batch"] == batch).to_numpy(), marks[f"measured_{batch}"].to_numpy()
            assert adata.X[rows][:, ~measured].nnz == 0
            assert full.X[rows][:, ~measured].nnz > 0
            assert (adata.X[rows][:, measured] != full.X[rows][:, measured]).nnz == 0
    assert not list(simulation.mdata["atac"].var.filter(like="measured_"))
    assert not list(simulation.full["adt"].var.filter(like="measured_"))


def test_batches_lack_types_but_no_type_is_lost() -> None:
    config = with_changes(SMALL, n_cells=2000, types_missing_per_batch=3)
    obs = mosaic(config, seed=0).obs
    table = pd.crosstab(obs["batch"], obs["cell_type"])
    assert ((table == 0).sum(axis=1) == 3).all()
    assert (table.sum(axis=0) > 0).all()


def test_the_seed_alone_decides() -> None:
    config = with_changes(SMALL, unpaired_fraction=0.2, unmeasured_proteins=0.3)
    first = mosaic(config, seed=5)
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert_equal(first, mosaic(config, seed=5))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    other = mosaic(config, seed=6)
    assert (first.obsm["X_truth"] != other.obsm["X_truth"]).any()


def test_the_mosaic_is_the_visible_part_of_the_truth() -> None:
    config = with_changes(SMALL, unpaired_fraction=0.2, unmeasured_proteins=0.3)
    simulation = mosaic_with_truth(config, seed=2)
    assert_equal(simulation.mdata, mosaic(config, seed=2))
    for name in ("rna", "atac"):
        adata = simulation.mdata[name]
        assert (adata.X != simulation.full[name][adata.obs_names].X).nnz == 0


def test_a_modality_does_not_depend_on_the_others() -> None:
    alone = mosaic(with_changes(SMALL, mosaic=("rna", "rna", "rna", "rna")), seed=0)
    together = mosaic(with_changes(SMALL, mosaic=("rna", "rna+adt", "rna+atac", "rna+adt+atac")), seed=0)
    pd.testing.assert_frame_equal(alone.obs, together.obs)
    assert (alone["rna"].X != together["rna"].X).nnz == 0


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mosaic(SMALL, seed=0)
    monkeypatch.setattr(counting, "BLOCK_ENTRIES", 7 * SMALL.n_peaks)
    blocks = mosaic(SMALL, seed=0)
    for name in MODALITIES:
        # Products of matrices of another height may round differently, and that may tip a single count.
        different = (whole[name].X != blocks[name].X).nnz
        assert different <= 2


def test_memory_grows_with_the_counts_only() -> None:
    config = SimulationConfig(mosaic=("atac",), n_cells=6000, n_peaks=20_000, peak_density=0.01)
    tracemalloc.start()
    try:
        mdata = mosaic(config, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert mdata["atac"].shape == (6000, 20_000)
    assert peak < 0.5 * 4 * 6000 * 20_000
