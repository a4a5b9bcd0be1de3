"""A perfect result has perfect scores; our model fills all; what a method does not give is NaN."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers import simulated, table, tiny
from midas import MIDAS, metrics
from midas.metrics import Result, Values, tasks


def test_our_model_fills_all() -> None:
    mdata = simulated(mosaic=("rna+adt+atac",) * 4, n_cells=160, unpaired_fraction=0.0)
    task = tasks.make(mdata, "paired-abc")
    model = MIDAS(task.mdata, config=tiny()).fit(progress=False)
    result = metrics.midas_result(model, task)
    found = metrics.evaluate(task, result, full=result)
    assert np.isfinite(found[["batch_in_c", "type_in_u", "state_r2", "state_correlation"]]).all()
    assert found[["full_overlap_10", "full_overlap_100", "full_label_f1"]].tolist() == [1, 1, 1]
    assert np.isnan(found["full_overlap_300"])  # of 160 cells
    assert np.isfinite(found[["scmib_overall", "translated_adt+rna_atac_auroc", "imputed_atac_auroc"]]).all()
    assert np.isnan(found["split_foscttm"])


def test_a_perfect_result() -> None:
    mdata = simulated(mosaic=("rna+adt",) * 2, n_cells=120, unpaired_fraction=0.0)
    task = tasks.make(mdata, "split")
    cells = task.truth.obs_names
    z = Values(cells, task.truth.obsm["X_truth"])
    true = {m: Values(a.obs_names, table(a).to_numpy(), a.var_names) for m, a in task.truth.mod.items()}
    routes = {(("rna",), "adt"): true["adt"], (("adt",), "rna"): true["rna"]}
    found = metrics.evaluate(task, Result(z, modality_latents={"rna": z, "adt": z}, imputed=true, translated=routes))
    ones = found[["foscttm_score", "imputed_rna_r_counts_cell", "imputed_adt_r_log1p_feature", "translated_adt"]]
    np.testing.assert_allclose(ones, 1)
    assert found["split_foscttm"] == 0
    np.testing.assert_allclose(found[["state_r2", "state_correlation"]], 1)
    assert np.isnan(found[["type_in_u", "full_label_f1", "full_overlap_10"]]).all()
    assert np.isnan(found["features_nmi"])  # nothing was corrected
    assert np.isnan(found["scmib_overall"])


def test_an_embedding_alone_and_one_that_lacks_cells() -> None:
    task = tasks.make(simulated(mosaic=("rna+adt",) * 2, n_cells=80, unpaired_fraction=0.0), "paired")
    cells = task.truth.obs_names
    z = np.random.default_rng(0).normal(size=(80, 3))
    found = metrics.evaluate(task, Result(Values(cells[::-1], z[::-1])))
    assert found["overall"] == pytest.approx(metrics.evaluate(task, Result(Values(cells, z)))["overall"])
    assert np.isnan(found["modality_asw"])
    with pytest.raises(ValueError, match="Expected an embedding of all 80 cells"):
        metrics.evaluate(task, Result(Values(cells[1:], z[1:])))


def test_a_missing_label_is_no_type_whatever_else_is_none() -> None:
    mdata = simulated(mosaic=("rna+adt",) * 2, n_cells=80, unpaired_fraction=0.0)
    mdata.obs["cell_type"] = mdata.obs["cell_type"].where(np.arange(80) % 3 > 0)
    task = tasks.make(mdata, "paired")
    result = Result(Values(task.truth.obs_names, task.truth.obsm["X_truth"]))
    a, b = (metrics.evaluate(task, result, unlabelled=none) for none in (("unknown",), ("other",)))
    pd.testing.assert_series_equal(a, b)


def test_states_that_hold_what_they_should_not() -> None:
    task = tasks.make(simulated(mosaic=("rna+adt",) * 2, n_cells=200, unpaired_fraction=0.0), "diagonal")
    cells = task.truth.obs_names
    noise = np.random.default_rng(0).normal(size=(200, 3))
    by_batch = noise + 50 * (task.batch == task.batch.iloc[0]).to_numpy()[:, None]
    by_type = noise + 50 * np.unique(task.labels, return_inverse=True)[1][:, None]
    bad = metrics.evaluate(task, Result(Values(cells, by_batch), technical=Values(cells, by_type)))
    assert bad["batch_in_c"] > 0.99
    assert bad["type_in_u"] > 0.8  # types of few cells do not count
    by_type += np.random.default_rng(1).normal(size=(200, 3)) - noise
    full = Result(Values(cells[::-1], by_type[::-1]))
    good = metrics.evaluate(task, Result(Values(cells, noise), technical=Values(cells, noise)), full=full)
    assert good["batch_in_c"] < 0.2
    assert good["type_in_u"] < 0.2
    assert good["state_r2"] < 0.1
    assert good["full_overlap_10"] == pytest.approx(10 / 199, abs=0.05)
    assert good["full_label_f1"] < 0.7
    with pytest.raises(ValueError, match="Expected that the result with all modalities has cells"):
        metrics.evaluate(task, full, full=Result(Values(["x", "y"], noise[:2])))


def test_rows_filled_up_with_nan_are_as_if_left_out() -> None:
    task = tasks.make(simulated(mosaic=("rna+adt",) * 2, n_cells=80, unpaired_fraction=0.0), "paired")
    cells, rng = task.truth.obs_names, np.random.default_rng(0)
    z, kept = Values(cells, task.truth.obsm["X_truth"]), slice(5, 75)
    latents = {name: rng.normal(size=(80, 3)) for name in ("rna", "adt")}
    counts = table(task.truth["adt"])
    route = (("rna",), "adt")

    def scores(latent: Values, counts: Values) -> pd.Series:
        of = {"rna": Values(cells, latents["rna"]), "adt": latent}
        return metrics.evaluate(task, Result(z, modality_latents=of, translated={route: counts}))

    def padded(values: np.ndarray) -> np.ndarray:
        return np.where(np.isin(np.arange(80), np.arange(80)[kept])[:, None], values, np.nan)

    short = scores(
        Values(cells[kept], latents["adt"][kept]), Values(cells[kept], counts.to_numpy()[kept], counts.columns)
    )
    found = scores(Values(cells, padded(latents["adt"])), Values(cells, padded(counts.to_numpy()), counts.columns))
    assert np.isfinite(found[["modality_asw", "foscttm_score", "label_transfer", "translated_adt"]]).all()
    pd.testing.assert_series_equal(found, short)
    nothing = scores(Values(cells, padded(latents["adt"]) * np.nan), Values(cells, counts * np.nan, counts.columns))
    assert np.isnan(nothing[["modality_asw", "foscttm_score", "label_transfer", "translated_adt"]]).all()


def test_a_task_without_any_label() -> None:
    mdata = simulated(mosaic=("rna+adt",) * 2, n_cells=40, unpaired_fraction=0.0)
    mdata.obs["cell_type"] = np.nan
    task = tasks.make(mdata, "paired")
    with pytest.raises(
        ValueError, match="Expected cells with a label, found none among 40: all are missing or 'unknown'"
    ):
        metrics.evaluate(task, Result(Values(task.truth.obs_names, task.truth.obsm["X_truth"])))


def test_cells_taken_apart_without_a_label() -> None:
    """They and the cells seen through each modality alone may lack labels where others have some."""
    task = tasks.make(simulated(mosaic=("rna+adt",) * 2, n_cells=80, unpaired_fraction=0.0), "split")
    apart = task.origin.duplicated(keep=False).to_numpy()
    task.truth.obs["cell_type"] = task.truth.obs["cell_type"].astype(object).where(~apart, None)
    cells = task.truth.obs_names
    z = Values(cells, task.truth.obsm["X_truth"])
    some = Values(cells[apart], task.truth.obsm["X_truth"][apart])
    found = metrics.evaluate(task, Result(z, modality_latents={"rna": some, "adt": some}))
    assert found["split_foscttm"] == 0
    assert np.isnan(found[["split_label_f1", "label_transfer"]]).all()
