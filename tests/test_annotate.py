"""Results are written where scverse looks."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import joined, tiny
from midas import MIDAS
from networks import values


def test_annotations_are_the_results_by_name(fitted: MIDAS, mdata: md.MuData) -> None:
    shuffled = mdata["adt"][::-1, ::-1].copy()
    mixed = joined({"rna": mdata["rna"], "adt": shuffled, "atac": mdata["atac"]})
    fitted.annotate(mixed, impute=["adt", "rna"], correct=["adt"])
    expected = pd.DataFrame(fitted.latent(), index=mdata.obs_names).loc[mixed.obs_names]
    np.testing.assert_allclose(mixed.obsm["X_midas"], expected, rtol=1e-4, atol=1e-5)
    assert mixed.obsm["X_midas_u"].shape == (120, 2)
    for layer, verb in (("imputed", fitted.impute), ("corrected", fitted.correct)):
        wanted = verb("adt")[shuffled.obs_names, shuffled.var_names]
        np.testing.assert_allclose(mixed["adt"].layers[layer], values(wanted), rtol=1e-4)
    assert set(mixed["rna"].layers) == {"imputed"}
    assert not mixed["atac"].layers


def ten_x(mdata: md.MuData) -> ad.AnnData:
    cells = [name for name in mdata.obs_names if all(name in set(part.obs_names) for part in mdata.mod.values())]
    adata = ad.concat([part[cells] for part in mdata.mod.values()], axis=1)
    adata.obs["batch"] = mdata.obs.loc[cells, "batch"]
    kinds = {"rna": "Gene Expression", "adt": "Antibody Capture", "atac": "Peaks"}
    adata.var["feature_types"] = np.repeat([kinds[name] for name in mdata.mod], [p.n_vars for p in mdata.mod.values()])
    return adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()


def test_an_anndata_of_several_modalities_is_annotated_feature_by_feature(fitted: MIDAS, mdata: md.MuData) -> None:
    adata = ten_x(mdata)
    fitted.annotate(adata, impute=["rna", "atac"])
    expected = pd.DataFrame(fitted.latent(), index=mdata.obs_names).loc[adata.obs_names]
    np.testing.assert_allclose(adata.obsm["X_midas"], expected, rtol=1e-4, atol=1e-5)
    layer = pd.DataFrame(adata.layers["imputed"], index=adata.obs_names, columns=adata.var_names)
    for modality in ("rna", "atac"):
        wanted = fitted.impute(modality)[adata.obs_names]
        np.testing.assert_allclose(layer[wanted.var_names], values(wanted), rtol=1e-4)
    assert layer[mdata["adt"].var_names].isna().to_numpy().all()


def test_rows_of_zeros_that_were_not_measured_are_imputed(fitted: MIDAS, mdata: md.MuData) -> None:
    parts = {name: adata.copy() for name, adata in mdata.mod.items() if name != "atac"}
    hidden = (parts["adt"].obs["batch"] == "batch1").to_numpy()
    parts["adt"].X = sp.csr_matrix(parts["adt"].X.toarray() * ~hidden[:, None])
    data = joined(parts)
    fitted.annotate(data, impute=["adt"])
    layer = pd.DataFrame(data["adt"].layers["imputed"], data["adt"].obs_names)
    imputed = fitted.impute("adt", data)
    some = data["adt"].obs_names.intersection(imputed.obs_names)
    np.testing.assert_allclose(layer.loc[some], values(imputed[some]), rtol=1e-4)
    assert np.isin(data["adt"].obs_names[hidden], some).sum() > 20  # but for those that have nothing else


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_one_name_for_cells_of_two_batches_is_refused(fitted: MIDAS, mdata: md.MuData) -> None:
    """Two modalities of two batches that happen to share a barcode: one row of obs, but two cells."""
    rna, adt = mdata["rna"][:3].copy(), mdata["adt"][:3].copy()
    rna.obs_names, adt.obs_names = ["AAAC", "AAAG", "AAAT"], ["AAAC", "CCCG", "CCCT"]
    adt.obs["batch"] = "batch3"
    mixed = joined({"rna": rna, "adt": adt})
    with pytest.raises(ValueError, match=r"agree on the batch of a cell, found 1 cell with different ones: 'AAAC'"):
        fitted.annotate(mixed)
    found = fitted.read({"rna": rna, "adt": adt})
    assert found.n_cells == 6
    assert any("1 name stands for one batch in one modality and for another" in note for note in found.notes)


def test_layers_of_a_modality_that_the_data_call_otherwise(fitted: MIDAS, mdata: md.MuData) -> None:
    other = joined({"rna": mdata["rna"], "prot": mdata["adt"].copy()})
    fitted.annotate(other, impute=["adt"])
    wanted = fitted.impute("adt", other)[mdata["adt"].obs_names]
    np.testing.assert_allclose(other["prot"].layers["imputed"], values(wanted), rtol=1e-4)


def test_layers_beside_counts_that_are_not_there_are_refused(fitted: MIDAS, mdata: md.MuData) -> None:
    with pytest.raises(ValueError, match=r"Expected data with adt, .* found none\. impute\(\) decodes any"):
        fitted.annotate(joined({"rna": mdata["rna"]}), impute=["adt"])


def test_true_stands_for_all_modalities_of_the_data(fitted: MIDAS, mdata: md.MuData) -> None:
    data = joined({"rna": mdata["rna"].copy(), "adt": mdata["adt"].copy()})
    fitted.annotate(data, impute=True, correct=False)
    assert {name: set(part.layers) for name, part in data.mod.items()} == {"rna": {"imputed"}, "adt": {"imputed"}}


def test_a_dict_has_no_place_for_an_embedding(fitted: MIDAS, mdata: md.MuData) -> None:
    with pytest.raises(
        TypeError, match=r"Expected a MuData or an AnnData to annotate, found dict. Put its modalities into"
    ):
        fitted.annotate(dict(mdata.mod))


def test_a_modality_of_no_cells_has_no_rows_to_fill(mdata: md.MuData) -> None:
    data = joined({"rna": mdata["rna"].copy(), "adt": mdata["adt"][:0].copy()})
    model = MIDAS(data, config=tiny()).fit(progress=False)
    model.annotate(data, impute=True)
    assert data["adt"].layers["imputed"].shape == (0, 6)
    assert model.impute("adt").shape == (mdata["rna"].n_obs, 6)


def test_nothing_is_written_where_a_modality_is_not_known(fitted: MIDAS, mdata: md.MuData) -> None:
    before = set(mdata.obsm)
    with pytest.raises(ValueError, match="protein"):
        fitted.annotate(mdata, impute=["protein"])
    assert set(mdata.obsm) == before


def test_what_another_model_decoded_goes_with_its_embedding(
    fitted: MIDAS, mdata: md.MuData, caplog: pytest.LogCaptureFixture
) -> None:
    for part in mdata.mod.values():
        part.layers["counts"] = part.X.copy()
    fitted.annotate(mdata, impute=True, correct=["adt"])
    fitted.annotate(mdata)  # the same model's stay
    assert "imputed" in mdata["rna"].layers
    other = MIDAS(mdata, config=tiny(), seed=5).fit(progress=False)
    other.annotate(mdata, impute=["rna"])
    assert {name: set(part.layers) for name, part in mdata.mod.items()} == {
        "rna": {"counts", "imputed"},
        "adt": {"counts"},
        "atac": {"counts"},
    }
    expected = values(other.impute("rna")[mdata["rna"].obs_names])
    np.testing.assert_allclose(mdata["rna"].layers["imputed"], expected, rtol=1e-4)
    assert (
        "another model had decoded, as the embedding is now this one's: adt: corrected, adt: imputed, atac: imputed."
        in (caplog.text)
    )
