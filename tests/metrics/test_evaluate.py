"""A perfect result has perfect scores; our model fills all; what a method does not give is NaN."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import simulated, table, tiny
from midas import MIDAS, metrics
from midas.metrics import Result, Values, tasks


def test_our_model_fills_all() -> None:
    mdata = simulated(mosaic=("rna+adt+atac",) * 4, n_cells=160, unpaired_fraction=0.0)
    task = tasks.make(mdata, "paired-abc")
    model = MIDAS(task.mdata, config=tiny()).fit(progress=False)
    found = metrics.evaluate(task, metrics.midas_result(model, task))
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
