"""Known answers of the functions downstream of the model."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from midas import MIDAS, Config, simulate, tl
from midas.tl.differential import _table


def typed(counts: np.ndarray, kinds: list[str], **obs: object) -> ad.AnnData:
    index = [f"cell{i}" for i in range(len(counts))]
    return ad.AnnData(counts.astype(np.float32), obs=pd.DataFrame({"type": kinds, **obs}, index=index))


def test_contributions_of_equal_spaces_are_equal() -> None:
    z = np.random.default_rng(0).normal(size=(90, 3))
    z[:3] = np.nan  # cells without any modality
    groups = pd.Series(["a"] * 50 + ["b"] * 40, index=[f"c{i}" for i in range(90)])
    frame = pd.DataFrame(z, index=groups.index)
    found = tl.modality_contributions({"rna": frame, "adt": frame, "joint": frame}, groups[::-1], n_neighbors=5)
    assert (found.share == 0.5).all(axis=None)
    assert (found.recovered == 1).all(axis=None)
    assert found.cells.to_dict() == {"a": 47, "b": 40}


def test_contributions_want_cells_with_every_modality() -> None:
    z = np.ones((10, 2))
    gone = np.full_like(z, np.nan)
    with pytest.raises(ValueError, match="cells that have every modality, found 0"):
        tl.modality_contributions({"rna": z, "adt": gone, "joint": z}, ["a"] * 10)


def test_contributions_match_tables_by_name() -> None:
    rng = np.random.default_rng(0)
    z = pd.DataFrame(rng.normal(size=(60, 3)), index=[f"c{i}" for i in range(60)])
    mixed = z.sample(frac=1, random_state=0)
    groups = pd.Series(["a"] * 20 + ["b"] * 40, index=z.index)
    for joint in (z, z.iloc[5:]):  # a table may have more cells than the joint one
        found = tl.modality_contributions({"rna": mixed, "adt": z, "joint": joint}, groups, n_neighbors=5)
        assert (found.recovered == 1).all(axis=None)
    by_place = tl.modality_contributions({"rna": mixed, "adt": mixed, "joint": mixed.to_numpy()}, groups, n_neighbors=5)
    assert (by_place.recovered == 1).all(axis=None)
    with pytest.raises(
        KeyError, match="latents of 'rna' with all 60 cells of those of 'joint', found no row for 1: 'c7'"
    ):
        tl.modality_contributions({"rna": mixed.drop(index="c7"), "joint": z}, groups)
    with pytest.raises(ValueError, match="found names that occur twice: 'c1'"):
        tl.modality_contributions({"rna": mixed.rename(index={"c0": "c1"}), "joint": z}, groups)


def test_contributions_take_a_column_of_obs_beside_arrays() -> None:
    z = np.random.default_rng(0).normal(size=(40, 3))
    groups = pd.Series(pd.Categorical([True] * 30 + [False] * 10), index=[f"c{i}" for i in range(40)])
    assert tl.modality_contributions({"rna": z, "joint": z}, groups, n_neighbors=5).cells.to_dict() == {
        "False": 10,
        "True": 30,
    }


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
    adata.var["measured_y"] = False  # a group of which nothing was measured
    adata.obs["type"] = ["T", "T", "B", "B"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(tl.low_accessibility(adata, "type").groups.loc["B", "low"])


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


def test_a_gene_that_is_named_twice_counts_once_by_the_strongest() -> None:
    weak = pd.Series({f"G{i}": 1 - 0.01 * i for i in range(100)})
    scores = pd.concat([pd.Series({"g99": 0.001, "G98": 0.02}), weak, pd.Series({"G99": -9.0, "G98": -8.0})])
    once = weak.copy()
    once[["G99", "G98"]] = [-9.0, -8.0]
    sets = {"set": ["G97", "G98", "G99"]}
    a, b = (tl.gene_set_enrichment(s, sets, min_size=2, permutations=20) for s in (scores, once))
    pd.testing.assert_frame_equal(a, b)


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
    adata.obs["cluster"] = [0] * 5 + [1] * 115
    np.testing.assert_array_equal(time, tl.pseudotime(adata, 0, groupby="cluster", cells=cells))
    adata.obs["cluster"] = pd.Series([np.nan] * 5 + ["late"] * 115, index=adata.obs_names)
    with pytest.raises(KeyError, match=r"takes part \(late\), found 'nan'"):
        tl.pseudotime(adata, "nan", groupby="cluster")


SIZE = simulate.SimulationConfig(
    mosaic=("rna", "rna"), n_cells=600, n_genes=60, n_proteins=3, n_peaks=3, n_chromosomes=3, n_types=2, branch=False
)
WORLD = replace(SIZE, n_latent=6, cell_noise=0.1, batch_strength=0.2, rna_depth=600)
SETTINGS = {
    "network": {"dim_c": 8, "encoder": [32], "decoder": [32], "discriminator": [16], "dropout": 0.0},
    "objective": {"adversarial": 1.0},
    "training": {"epochs": 40, "batch_size": 32, "learning_rate": 0.01},
}


@pytest.fixture(scope="module")
def world() -> tuple[md.MuData, MIDAS]:
    mdata = simulate.mosaic(WORLD)
    return mdata, MIDAS(mdata, config=Config.from_dict(SETTINGS)).fit(progress=False)


@pytest.fixture(scope="module")
def true_change() -> pd.Series:
    """Log2 fold changes of many cells of the same types, without batch effects."""
    many = simulate.mosaic(replace(WORLD, n_cells=8000, batch_strength=0, depth_shift=0))["rna"]
    x, mine = many.to_df(), (many.obs["cell_type"] == "type1").to_numpy()
    return np.log2((x[mine].mean() + 0.1) / (x[~mine].mean() + 0.1))


def test_features_that_change_are_found(world: tuple[md.MuData, MIDAS], true_change: pd.Series) -> None:
    mdata, model = world
    kinds = mdata.obs["cell_type"].sample(frac=1, random_state=0)  # in another order
    found = tl.differential_features(model, "rna", kinds, report_groups=["type1"], config=tl.Comparison(draws=25))
    true = true_change[found["feature"]].to_numpy()
    assert np.corrcoef(found["lfc"], true)[0, 1] > 0.9
    called = found["differential"].to_numpy()
    assert called.sum() >= 10
    assert (np.abs(true[called]) <= 0.5).mean() <= 0.15
    assert ((found["low"] <= true) & (true <= found["high"])).mean() > 0.85
    assert found["expected_fdr"].is_monotonic_increasing


def test_without_the_models_error_intervals_are_too_short(
    world: tuple[md.MuData, MIDAS], true_change: pd.Series
) -> None:
    mdata, model = world
    config = tl.Comparison(draws=25, model_error=False)
    found = tl.differential_features(model, "rna", mdata.obs["cell_type"], report_groups=["type1"], config=config)
    true = true_change[found["feature"]].to_numpy()
    assert ((found["low"] <= true) & (true <= found["high"])).mean() < 0.7


def test_random_groups_do_not_differ(world: tuple[md.MuData, MIDAS]) -> None:
    _, model = world
    for seed in range(3):
        groups = np.random.default_rng(seed).permutation(["a", "b"] * 300)
        found = tl.differential_features(model, "rna", groups, config=tl.Comparison(draws=20, delta=0.25))
        assert not found["differential"].any()
        assert ((found["low"] > 0) | (found["high"] < 0)).mean() <= 0.05


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_few_cells_of_a_type_do_not_differ_from_it(
    n: int, world: tuple[md.MuData, MIDAS], caplog: pytest.LogCaptureFixture
) -> None:
    """The change of few cells may be anything, which is no change in a direction."""
    mdata, model = world
    kinds = mdata.obs["cell_type"].astype(str)
    mine = np.flatnonzero(kinds == "type1")
    for seed in range(2):
        groups = kinds.where(kinds == "type1", None)
        groups.iloc[np.random.default_rng(seed).choice(mine, n, replace=False)] = "few"
        found = tl.differential_features(
            model, "rna", groups, report_groups=["few"], config=tl.Comparison(draws=20, delta=0.1)
        )
        assert found["differential"].sum() <= 1
        assert (found["probability"] <= 1).all()
    assert (f"Groups of fewer than 5 cells: 'few ({n})'" in caplog.text) == (n < 5)


def test_a_wide_change_is_sure_of_no_direction() -> None:
    rng = np.random.default_rng(0)
    mean, rest = rng.lognormal(0, 0.1, (2, 50, 4)).astype(np.float32)
    mean[:, 0] *= 16
    error = np.array([0.5, 0.01, 5.0, 100.0])
    found = _table("a", pd.Index(list("wxyz")), mean, rest, error, tl.Comparison()).set_index("feature")
    assert found["differential"].to_dict() == {"w": True, "x": False, "y": False, "z": False}
    assert found.loc["z", "probability"] == pytest.approx(0.5, abs=0.01)


def test_a_group_that_was_not_measured_can_be_compared(mdata: md.MuData, fitted: MIDAS) -> None:
    """Its counts are imputed, and its error is the largest of the others."""
    inside = mdata.obs_names.isin(mdata["adt"].obs_names)
    groups = np.where(inside, np.where(np.arange(len(inside)) % 2, "a", "b"), "imputed")
    found = tl.differential_features(fitted, "adt", groups, config=tl.Comparison(draws=5))
    assert np.isfinite(found[["lfc", "low", "high", "probability"]]).all(axis=None)


def test_groups_are_matched_by_name(world: tuple[md.MuData, MIDAS]) -> None:
    mdata, model = world
    kinds, config = mdata.obs["cell_type"], tl.Comparison(draws=5)
    a, *others = (tl.differential_features(model, "rna", g, config=config) for g in (kinds, kinds[::-1], "cell_type"))
    for other in others:
        pd.testing.assert_frame_equal(a, other)
    of_new = tl.differential_features(model, "rna", "cell_type", data=mdata[::-1].copy(), config=config)
    assert set(of_new["group"]) == set(a["group"])
    some = pd.Series(np.arange(500) % 2, index=mdata.obs_names[:500])  # numbers that not all cells have
    assert set(tl.differential_features(model, "rna", some, report_groups=["1"], config=config)["group"]) == {"1"}
    with pytest.raises(
        KeyError, match=r"Expected a column 'celltype' in obs, found: .*cell_type.*mdata.obs\['celltype'\]"
    ):
        tl.differential_features(model, "rna", "celltype")
    with pytest.raises(ValueError, match=r"Comparison\.draws"):
        tl.Comparison(draws=1)
    with pytest.raises(ValueError, match="two groups"):
        tl.differential_features(model, "rna", ["a"] * 600)


def test_latents_are_missing_where_a_modality_is(mdata: md.MuData, fitted: MIDAS) -> None:
    found = tl.latents(fitted)
    assert list(found) == ["adt", "atac", "rna", "joint"]
    without = ~mdata.obs_names.isin(mdata["adt"].obs_names)
    assert found["adt"].loc[mdata.obs_names[without]].isna().all(axis=None)
    assert found["joint"].notna().all(axis=None)
