"""Known answers of the functions downstream of the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from midas import MIDAS, Config, simulate, tl


def typed(counts: np.ndarray, kinds: list[str], **obs: object) -> ad.AnnData:
    index = [f"cell{i}" for i in range(len(counts))]
    return ad.AnnData(counts.astype(np.float32), obs=pd.DataFrame({"type": kinds, **obs}, index=index))


def test_contributions_of_equal_spaces_are_equal() -> None:
    z = np.random.default_rng(0).normal(size=(90, 3))
    z[:3] = np.nan  # cells without any modality
    groups = pd.Series(["a"] * 50 + ["b"] * 40, index=[f"c{i}" for i in range(90)])
    frame = pd.DataFrame(z, index=groups.index)
    found = tl.modality_contributions({"rna": frame, "adt": frame, "joint": frame}, groups[::-1], k=5)
    assert (found.share == 0.5).all(axis=None)
    assert (found.recovered == 1).all(axis=None)
    assert found.cells.to_dict() == {"a": 47, "b": 40}


def test_contributions_want_cells_with_every_modality() -> None:
    z = np.ones((10, 2))
    gone = np.full_like(z, np.nan)
    with pytest.raises(ValueError, match="cells that have every modality, found 0"):
        tl.modality_contributions({"rna": z, "adt": gone, "joint": z}, ["a"] * 10)


def test_fold_changes_are_those_of_the_means_and_heed_panels() -> None:
    counts = np.array([[8, 0, 1], [8, 4, 1]] * 10 + [[2, 0, 1], [2, 4, 1]] * 10)
    adata = typed(counts, ["a"] * 20 + ["b"] * 20, batch=["x", "y"] * 20)
    adata.var["measured_x"] = [True, False, True]  # the second feature counts in batch y alone
    adata.layers["corrected"] = sp.csc_matrix(adata.X)
    found = tl.fold_change_consistency(adata, "type", pseudocount=1e-9)
    np.testing.assert_allclose(found.raw.loc["a"], [2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found.raw.loc["b"], [-2, 0, 0], atol=1e-6)
    assert found.overall == pytest.approx(1)


def test_fold_changes_leave_small_groups_and_unknown_features_out() -> None:
    counts = np.random.default_rng(0).poisson(3, (25, 3))
    adata = typed(counts, ["a"] * 12 + ["b"] * 12 + ["c"])
    after = counts.astype(float)
    after[:, 2] = np.nan
    adata.layers["corrected"] = after
    found = tl.fold_change_consistency(adata, "type")
    assert list(found.raw.index) == ["a", "b"]
    assert found.raw.shape == (2, 2)
    with pytest.raises(KeyError, match="annotate"):
        tl.fold_change_consistency(adata, "type", layer="none")


def test_low_accessibility_counts_measured_peaks_alone() -> None:
    peaks = np.zeros((4, 100))
    peaks[0, :1], peaks[1, :30], peaks[2, :1] = 1, 5, 1
    adata = typed(peaks, ["T"] * 4, batch=["x", "x", "y", "y"])
    adata.var["measured_y"] = np.arange(100) < 10
    found = tl.low_accessibility(adata, "type")
    assert found.share.tolist() == pytest.approx([0.01, 0.3, 0.1, 0])
    assert found.low.tolist() == [True, False, False, True]
    assert not found.groups.loc["T", "bimodal"]


def test_correlation_is_numpys_over_the_cells_that_measured() -> None:
    rng = np.random.default_rng(0)
    adata = typed(rng.poisson(4, (60, 3)), ["a"] * 60, batch=["x", "y"] * 30)
    z = rng.normal(size=(60, 2))
    z[0] = np.nan
    adata.obsm["X_midas"] = z
    adata.var["measured_x"] = [True, False, True]
    for values in (adata.X, sp.csr_matrix(adata.X)):
        adata.X = values
        r = tl.latent_correlation(adata)
        x = np.log1p(np.asarray(sp.csr_matrix(values).todense()))
        assert r.iloc[1, 0] == pytest.approx(np.corrcoef(z[1:, 1], x[1:, 0])[0, 1])
        odd = np.arange(1, 60, 2)
        assert r.iloc[0, 1] == pytest.approx(np.corrcoef(z[odd, 0], x[odd, 1])[0, 1])


def test_gmt_says_which_line_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "sets.gmt"
    file.write_text("A\tx\tG1\nB\n")
    with pytest.raises(ValueError, match="line 2"):
        tl.read_gmt(file)


def test_enrichment_says_when_names_do_not_meet() -> None:
    with pytest.raises(ValueError, match="0 shared genes at most"):
        tl.gene_set_enrichment(pd.Series({"ENSG1": 1.0, "ENSG2": 0.0}), {"set": ["CD4", "CD8A"]}, min_size=1)


def test_pseudotime_leaves_other_cells_out() -> None:
    line = np.linspace(0, 1, 120)
    adata = typed(np.ones((120, 1)), ["start"] * 5 + ["later"] * 115)
    adata.obsm["X_midas"] = np.c_[line, line**2]
    cells = np.arange(120) < 100
    time = tl.pseudotime(adata, "start", groupby="type", cells=cells)
    assert time.iloc[2] == 0
    assert np.isnan(time.to_numpy()[100:]).all()
    assert np.corrcoef(time[:100], line[:100])[0, 1] > 0.9
    with pytest.raises(KeyError, match="start"):
        tl.pseudotime(adata, "none", groupby="type")


@pytest.fixture(scope="module")
def world() -> tuple[simulate.Simulation, MIDAS]:
    size = simulate.SimulationConfig(
        mosaic=("rna+adt", "rna"), n_cells=400, n_genes=80, n_proteins=10, n_peaks=30, n_types=2, branch=False
    )
    truth = simulate.mosaic_with_truth(replace(size, batch_strength=0.2, n_chromosomes=3))
    config = Config.from_dict({"network": {"encoder": [64, 32], "decoder": [32, 64]}, "training": {"epochs": 40}})
    return truth, MIDAS(truth.mdata, config=config).fit(progress=False)


def test_features_that_change_come_first(world: tuple[simulate.Simulation, MIDAS]) -> None:
    truth, model = world
    kinds = truth.mdata.obs["cell_type"]
    found = tl.differential_features(model, "rna", kinds.sample(frac=1, random_state=0), only=["type1"])
    x = pd.DataFrame(truth.full["rna"].X.toarray(), columns=truth.full["rna"].var_names)
    mine = (kinds == "type1").to_numpy()
    true = np.log2((x[mine].mean() + 0.01) / (x[~mine].mean() + 0.01))
    table = found.set_index("feature")
    frequent = x.columns[x.mean() > 1]
    assert np.corrcoef(table.loc[frequent, "lfc"], true[frequent])[0, 1] > 0.95
    assert np.abs(true[found["feature"][:10]]).mean() > 3 * np.abs(true[found["feature"][-10:]]).mean()
    assert (found["low"] <= found["lfc"]).all()
    assert (found["lfc"] <= found["high"]).all()
    assert found["expected_fdr"].is_monotonic_increasing
    assert found["differential"].any()


def test_random_groups_do_not_differ(world: tuple[simulate.Simulation, MIDAS]) -> None:
    _, model = world
    groups = np.random.default_rng(0).permutation(["a", "b"] * 200)
    found = tl.differential_features(model, "rna", groups, test=tl.Comparison(delta=1))
    assert found["differential"].mean() < 0.05


def test_groups_are_matched_by_name(world: tuple[simulate.Simulation, MIDAS]) -> None:
    truth, model = world
    kinds, test = truth.mdata.obs["cell_type"], tl.Comparison(draws=5)
    a, b = (tl.differential_features(model, "rna", g, test=test) for g in (kinds, kinds[::-1]))
    pd.testing.assert_frame_equal(a, b)
    with pytest.raises(ValueError, match=r"Comparison\.draws"):
        tl.Comparison(draws=1)
    with pytest.raises(ValueError, match="two groups"):
        tl.differential_features(model, "rna", ["a"] * 400)


def test_latents_are_missing_where_a_modality_is(mdata: md.MuData, fitted: MIDAS) -> None:
    found = tl.latents(fitted)
    assert list(found) == ["adt", "atac", "rna", "joint"]
    without = ~mdata.obs_names.isin(mdata["adt"].obs_names)
    assert found["adt"].loc[mdata.obs_names[without]].isna().all(axis=None)
    assert found["joint"].notna().all(axis=None)
