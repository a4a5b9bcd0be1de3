"""The simulated truth can be found again in the counts, and what a mosaic hides is hidden."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from midas.simulate import MODALITIES, Simulation, SimulationConfig, mosaic, mosaic_with_truth
from midas.simulate import counts as counting

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CONFIG = SimulationConfig(n_cells=2000)
SMALL = SimulationConfig(n_cells=120, n_genes=60, n_proteins=8, n_peaks=90, n_chromosomes=5)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return mosaic_with_truth(CONFIG, seed=1)


def with_changes(config: SimulationConfig, **changes: object) -> SimulationConfig:
    values: dict[str, Any] = {**config.to_dict(), **changes}
    return SimulationConfig(**values)


def log_normalised(counts: sp.csr_matrix) -> NDArray[np.float64]:
    dense = counts.toarray().astype(np.float64)
    return np.log1p(1000 * dense / dense.sum(1, keepdims=True))


def knn_accuracy(embedding: NDArray[np.floating], labels: pd.Series) -> float:
    return float(cross_val_score(KNeighborsClassifier(15), embedding, labels.astype(str), cv=4).mean())


def assert_equal(a: md.MuData, b: md.MuData) -> None:
    pd.testing.assert_frame_equal(a.obs, b.obs)
    np.testing.assert_array_equal(a.obsm["X_truth"], b.obsm["X_truth"])
    assert list(a.mod) == list(b.mod)
    for name in a.mod:
        pd.testing.assert_frame_equal(a[name].obs, b[name].obs)
        pd.testing.assert_frame_equal(a[name].var, b[name].var)
        assert (a[name].X != b[name].X).nnz == 0


# --- form -------------------------------------------------------------------------------------------------------------


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


# --- the mosaic -------------------------------------------------------------------------------------------------------


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


# --- truth ------------------------------------------------------------------------------------------------------------


def test_types_are_found_by_neighbours_but_not_perfectly(simulation: Simulation) -> None:
    full, kind = simulation.full, simulation.full.obs["cell_type"]
    truth = knn_accuracy(full.obsm["X_truth"], kind)
    assert 0.9 < truth < 1
    one = (full.obs["batch"] == "batch1").to_numpy()
    rna = PCA(20, random_state=0).fit_transform(log_normalised(full["rna"].X[one]))
    adt = PCA(20, random_state=0).fit_transform(np.log1p(full["adt"].X[one].toarray()))
    most_common = kind[one].value_counts(normalize=True).iloc[0]
    assert most_common < 0.4
    assert 0.8 < knn_accuracy(rna, kind[one]) < 1
    assert 0.75 < knn_accuracy(adt, kind[one]) < 1
    atac = PCA(20, random_state=0).fit_transform(full["atac"].X.toarray())
    assert 0.55 < knn_accuracy(atac, kind) < 0.98


def test_types_of_a_lineage_are_closer(simulation: Simulation) -> None:
    obs = simulation.full.obs
    centres = pd.DataFrame(simulation.full.obsm["X_truth"], index=obs.index).groupby(obs["cell_type"], observed=True)
    positions = centres.mean().to_numpy()
    lineage = obs.groupby("cell_type", observed=True)["lineage"].first().to_numpy()
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    same = lineage[:, None] == lineage[None]
    off_diagonal = ~np.eye(len(lineage), dtype=bool)
    assert len(set(lineage)) == 2
    assert distance[same & off_diagonal].mean() < 0.9 * distance[~same].mean()


def test_the_branch_runs_from_progenitor_to_two_ends(simulation: Simulation) -> None:
    obs, state = simulation.full.obs, simulation.full.obsm["X_truth"]
    position = obs["branch_position"]
    on_branch = obs["cell_type"].isin(["progenitor", "mature_a", "mature_b"])
    assert (position.notna() == on_branch).all()
    assert position.min() >= 0
    assert position.max() <= 1
    assert position[obs["cell_type"] == "progenitor"].max() < position[obs["cell_type"] == "mature_a"].min() + 0.01
    # No gap: neighbours along each arm are close.
    assert np.diff(np.sort(position[on_branch])).max() < 0.03
    start = state[(position < 0.05).to_numpy()].mean(0)
    ends = {}
    for end in ("mature_a", "mature_b"):
        arm = (obs["cell_type"].isin(["progenitor", end])).to_numpy()
        ends[end] = state[((obs["cell_type"] == end) & (position > 0.9)).to_numpy()].mean(0)
        along = (state[arm] - start) @ (ends[end] - start)
        assert stats.spearmanr(along, position[arm]).statistic > 0.85
    apart = np.linalg.norm(ends["mature_a"] - ends["mature_b"])
    assert apart > 0.5 * np.linalg.norm(ends["mature_a"] - start)


def test_no_branch_when_not_asked_for() -> None:
    mdata = mosaic(with_changes(SMALL, branch=False, n_types=2), seed=0)
    assert mdata.obs["branch_position"].isna().all()
    assert list(mdata.obs["cell_type"].cat.categories) == ["type1", "type2"]


def test_a_branch_alone_is_one_lineage() -> None:
    obs = mosaic(with_changes(SMALL, n_types=3), seed=0).obs
    assert set(obs["cell_type"]) == {"progenitor", "mature_a", "mature_b"}
    assert set(obs["lineage"]) == {"lineage1"}
    assert obs["branch_position"].notna().all()


@pytest.mark.parametrize(("name", "least"), [("adt", 0.5), ("atac", 0.3)])
def test_linked_features_follow_their_genes(simulation: Simulation, name: str, least: float) -> None:
    full = simulation.full
    batch = full.obs["batch"].astype(str)
    groups = full.obs["cell_type"].astype(str) + (full.obs["branch_position"] > 0.7).astype(str)

    def profiles(modality: str) -> pd.DataFrame:
        """Mean share of each well covered feature in each group of cells, without the batches' effects."""
        counts = pd.DataFrame(full[modality].X.toarray(), index=full.obs_names, columns=full[modality].var_names)
        counts = counts.loc[:, counts.mean() > 0.1 * counts.mean().mean()]
        shares = np.log(counts.div(counts.sum(axis=1), axis=0).groupby([batch, groups]).mean() + 1e-5)
        return shares - shares.groupby("batch").transform("mean")

    genes, features = profiles("rna"), profiles(name)
    link = full[name].var["gene"].loc[features.columns]
    markers = genes.columns[genes.std() > genes.std().quantile(0.7)]  # others do not vary, whatever is linked
    link = link[link.isin(markers)]
    a, b = features[link.index].to_numpy(), genes[link].to_numpy()
    correlation = np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])
    shuffled = np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, np.roll(b, 3, axis=1).T, strict=True)])
    assert correlation.mean() > least
    assert abs(shuffled.mean()) < 0.5 * correlation.mean()


# --- counts -----------------------------------------------------------------------------------------------------------


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


# --- seeds, blocks, memory --------------------------------------------------------------------------------------------


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


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mosaic": ("rna+protein",)}, r"mosaic: expected modalities out of .*found 'rna\+protein'"),
        ({"mosaic": ("rna", "")}, "mosaic: expected modalities"),
        ({"mosaic": "rna+adt"}, "mosaic: expected a tuple with one entry per batch.*found 'rna"),
        ({"mosaic": ()}, "mosaic: expected one entry per batch"),
        ({"n_cells": 3}, "n_cells: expected at least one cell for each of the 4 batches, found 3"),
        ({"n_cells": 200.0}, r"n_cells: expected a whole number of 1 or more, found 200\.0"),
        ({"n_peaks": 0}, "n_peaks: expected a whole number of 1 or more"),
        ({"n_proteins": 2000}, "n_proteins: expected no more than the 1000 genes"),
        ({"n_chromosomes": 1500}, "n_chromosomes: expected no more than the 1000"),
        ({"n_types": 2}, "n_types: expected 3 or more"),
        ({"batch_proportions": (1, 2)}, "batch_proportions: expected 4 numbers above 0"),
        ({"batch_proportions": (1, 1, 1, 0)}, "batch_proportions: expected 4 numbers above 0"),
        ({"batch_strength": -0.1}, "batch_strength: expected 0 or more"),
        ({"rna_depth": 0}, "rna_depth: expected a number of counts above 0"),
        ({"peak_density": 0.9}, "peak_density: expected a share above 0"),
        ({"unpaired_fraction": 1.5}, "unpaired_fraction: expected a share from 0 to 1"),
        ({"unmeasured_proteins": 1.0}, "unmeasured_proteins: expected a share"),
        ({"types_missing_per_batch": 5}, "types_missing_per_batch: expected 0 to 4"),
    ],
)
def test_impossible_wishes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulationConfig(**changes)
