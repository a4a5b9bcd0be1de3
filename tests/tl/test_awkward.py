"""Missing values, columns of the whole, dimensions that say nothing, and cells named in several ways."""

from __future__ import annotations

from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from midas import tl
from midas.tl.inputs import panels_of


def test_cells_without_values_have_no_accessibility() -> None:
    peaks = np.ones((6, 10), dtype=np.float32)
    peaks[4:] = np.nan
    peaks[0, :5], peaks[1, :5] = np.nan, 0.0
    found = tl.low_accessibility(ad.AnnData(peaks), cutoff=0.6)
    np.testing.assert_array_equal(found.share, [1.0, 0.5, 1.0, 1.0, np.nan, np.nan])
    assert found.low.tolist() == [False, True, False, False, False, False]
    assert found.groups["cells"].tolist() == [4]


def test_batches_may_stand_in_the_obs_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    rna = ad.AnnData(rng.poisson(3, (40, 3)).astype(np.float32))
    rna.obs_names = [f"c{i}" for i in range(40)]
    rna.var["measured_a"] = [True, True, False]
    mdata = md.MuData({"rna": rna})
    mdata.obs["batch"] = ["a", "b"] * 20
    mdata.obsm["X_midas"] = rng.normal(size=(40, 2))
    found = tl.latent_correlation(mdata, "rna")
    half = np.arange(1, 40, 2)
    expected = np.corrcoef(mdata.obsm["X_midas"][half, 0], np.log1p(rna.X[half, 2]))[0, 1]
    assert found.iloc[0, 2] == pytest.approx(expected)


def test_flags_of_batches_that_are_numbers_count() -> None:
    adata = ad.AnnData(np.ones((4, 2), dtype=np.float32), obs=pd.DataFrame({"batch": [1.0, 2.0, np.nan, 1.0]}))
    adata.var["measured_1"] = [False, True]
    found = panels_of(adata, "batch")
    assert found.measured[found.batch, 0].tolist() == [False, True, True, False]


def test_flags_of_other_batches_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    adata = ad.AnnData(np.ones((4, 2), dtype=np.float32), obs=pd.DataFrame({"batch": "lane1", "donor": list("abab")}))
    adata.var["measured_a"] = [False, True]
    assert panels_of(adata, "donor").measured.tolist() == [[False, True], [True, True]]
    assert not caplog.records
    assert panels_of(adata, "batch").measured.all()
    assert "name no batch in obs['batch'] ('lane1') were not used: 'measured_a'" in caplog.text


def test_negative_values_are_correlated_as_they_are() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    for x in (values, sp.csr_matrix(values)):
        found = tl.latent_correlation(ad.AnnData(x, obsm={"X_midas": values[:, :1]}))
        np.testing.assert_allclose(found.iloc[0], np.corrcoef(values.T)[0])


def test_cells_of_one_name_are_correlated_as_they_stand() -> None:
    adata = ad.AnnData(np.arange(12, dtype=np.float32).reshape(6, 2))
    adata.obs_names = ["c"] * 6
    adata.obsm["X_midas"] = np.arange(6.0)[:, None]
    assert tl.latent_correlation(adata, log1p=False).to_numpy().tolist() == [[1.0, 1.0]]


def test_dimensions_that_say_nothing_are_passed_over() -> None:
    pytest.importorskip("gseapy")
    genes = [f"G{i}" for i in range(60)]
    scores = pd.DataFrame([np.linspace(1, -1, 60), np.full(60, np.nan), np.ones(60)], ["says", "lacks", "alike"], genes)
    found = tl.gene_set_enrichment(scores, {"top": genes[:8]}, min_size=5, permutations=20)
    assert found["score"].unique().tolist() == ["says"]
    with pytest.raises(ValueError, match="Expected scores that differ between genes, found none"):
        tl.gene_set_enrichment(scores.iloc[1:], {"top": genes[:8]}, min_size=5, permutations=20)


@pytest.mark.parametrize("chosen", [pd.Series(np.arange(60) < 50), np.arange(60) < 50, (np.arange(60) < 50).tolist()])
def test_the_cells_of_a_process_may_be_given_in_order(chosen: Any) -> None:
    pytest.importorskip("scanpy")
    line = np.linspace(0, 1, 60)
    adata = ad.AnnData(np.zeros((60, 1), dtype=np.float32))
    adata.obsm["X_midas"] = np.c_[line, line**2]
    time = tl.pseudotime(adata, "0", cells=chosen)
    assert time.isna().to_numpy().nonzero()[0].tolist() == list(range(50, 60))
    with pytest.raises(ValueError, match="Expected cells with one value for each of 60 cells"):
        tl.pseudotime(adata, "0", cells=np.arange(30))
