"""Every form of the input is read alike; few of something, and nothing, are known as such."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from forms import CELLS, GENES, PEAKS, PROTEINS, assert_same, schema_of

from helpers import dense, joined, names, one, simulated, table
from midas import Modality, read_mosaic
from midas.data import MosaicData
from midas.data.read import read_for_model
from midas.io import read_file


def test_cells_and_features_are_matched_by_name() -> None:
    """Unpaired cells, a modality each in its own order, features that are not sorted."""
    rna = one(["c3", "c0", "c1"], ["g2", "g0", "g1"], ["b2", "b1", "b1"])
    adt = one(["c1", "c9", "c3"], ["p1", "p0"], ["b1", "b2", "b2"], seed=1)
    mosaic = read_mosaic(joined({"rna": rna, "adt": adt}))
    assert set(mosaic.cells) == {"c0", "c1", "c3", "c9"}
    assert mosaic.batches == ("b1", "b2")
    for name, adata in (("rna", rna), ("adt", adt)):
        assert mosaic.schema.modalities[name].features.tolist() == sorted(adata.var_names)
        found = dense(mosaic, name)
        expected = table(adata).reindex(index=found.index, columns=found.columns)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    combinations = mosaic.combinations()
    assert dict(zip(mosaic.cells, combinations, strict=True)) == {
        "c0": "rna",
        "c1": "adt+rna",
        "c3": "adt+rna",
        "c9": "adt",
    }


def each(change: Callable[[ad.AnnData], object]) -> Callable[[md.MuData, Path], md.MuData]:
    """Change every modality of a mosaic."""

    def changed(mdata: md.MuData, _: Path) -> md.MuData:
        for adata in mdata.mod.values():
            change(adata)
        return mdata

    return changed


def matrix(change: Callable[[Any], Any]) -> Callable[[ad.AnnData], object]:
    return lambda adata: setattr(adata, "X", change(adata.X))


def into_layer(adata: ad.AnnData) -> None:
    adata.layers["counts"] = adata.X
    adata.X = np.log1p(adata.X)


def through_file(change: Callable[[Any], Any], *, backed: bool) -> Callable[[md.MuData, Path], md.MuData | ad.AnnData]:
    def written(mdata: md.MuData, folder: Path) -> md.MuData | ad.AnnData:
        each(matrix(change))(mdata, folder)
        with md.set_options(pull_on_update=False):
            mdata.write_h5mu(folder / "x.h5mu")
        return read_file(folder / "x.h5mu", backed=backed)

    return written


def without_own_batch(mdata: md.MuData, _: Path) -> md.MuData:
    mdata.obs = mdata.obs.drop(columns="batch")
    return mdata


def by_batch(mdata: md.MuData, _: Path) -> dict[str, md.MuData]:
    return {batch: mdata[(mdata.obs["batch"] == batch).to_numpy()].copy() for batch in mdata.obs["batch"].unique()}


FORMS: dict[str, Callable[[md.MuData, Path], MosaicData]] = {
    "global batch": each(lambda adata: adata.obs.pop("batch")),
    "batch in modalities": without_own_batch,
    "csc": each(matrix(sp.csc_matrix)),
    "dense": each(matrix(lambda x: x.toarray())),
    "int32": each(matrix(lambda x: x.astype(np.int32))),
    "float64": each(matrix(lambda x: x.astype(np.float64))),
    "layer": each(into_layer),
    "view": lambda mdata, _: mdata[np.arange(mdata.n_obs)],
    "dict by modality": lambda mdata, _: dict(mdata.mod),
    "dict by batch": by_batch,
    "h5mu": through_file(sp.csr_matrix, backed=False),
    "backed h5mu": through_file(sp.csr_matrix, backed=True),
    "backed csc h5mu": through_file(sp.csc_matrix, backed=True),
    "backed dense h5mu": through_file(lambda x: x.toarray(), backed=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mosaic_is_read_alike(form: str, tmp_path: Path) -> None:
    expected = read_mosaic(simulated(unmeasured_genes=0.2))
    data = FORMS[form](simulated(unmeasured_genes=0.2), tmp_path)
    found = read_mosaic(data, layer="counts" if form == "layer" else None)
    assert_same(found, expected, cells="dict" not in form)
    assert found.schema.to_dict() == expected.schema.to_dict()


def test_batches_may_be_numbers() -> None:
    adata = one(CELLS, GENES)
    adata.obs["batch"] = [10, 2] * 4
    mosaic = read_mosaic(adata)
    assert mosaic.batches == ("10", "2")
    assert mosaic.batch.tolist() == [0, 1] * 4


def test_whole_numbers_and_the_same_with_a_point_are_one_batch() -> None:
    rna, adt = one(CELLS, GENES), one(CELLS, PROTEINS)
    rna.obs["batch"], adt.obs["batch"] = [10, 2] * 4, [10.0, 2.0] * 4
    for data in ({"rna": rna, "adt": adt}, joined({"rna": rna, "adt": adt}, batch=[10.0, 2.0] * 4)):
        mosaic = read_mosaic(data)
        assert mosaic.batches == ("10", "2")
        assert set(mosaic.combinations()) == {"adt+rna"}


def test_a_cell_of_two_batches_is_refused_or_taken_apart_and_noted() -> None:
    rna, adt = one(CELLS, GENES), one(CELLS, PROTEINS)
    adt.obs["batch"] = ["b2", *["b1"] * 7]
    with pytest.raises(ValueError, match="agree on the batch of a cell, found 1 cell with different ones: 'c0'"):
        read_mosaic(joined({"rna": rna, "adt": adt}))
    mosaic = read_mosaic({"rna": rna, "adt": adt})
    assert mosaic.n_cells == 9
    assert any("1 name stands for one batch in one modality" in note for note in mosaic.notes)


def test_a_batch_of_zeros_was_not_measured_however_it_comes() -> None:
    rna, adt = one(CELLS, GENES, ["b1", "b2"] * 4), one(CELLS, PROTEINS, ["b1", "b2"] * 4)
    adt.X = sp.csr_matrix(adt.X.toarray() * (adt.obs["batch"] == "b1").to_numpy()[:, None])
    by_batch = {
        b: joined({name: a[(a.obs["batch"] == b).to_numpy()].copy() for name, a in (("rna", rna), ("adt", adt))})
        for b in ("b1", "b2")
    }
    for data in (joined({"rna": rna, "adt": adt}), by_batch):
        mosaic = read_mosaic(data)
        assert sorted(mosaic.combinations()) == ["adt+rna"] * 4 + ["rna"] * 4
        assert [note for note in mosaic.notes if "no cell of b2 has any count" in note]


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
def test_an_h5ad_file(form: Callable[[Any], Any], backed: bool, tmp_path: Path) -> None:
    adata = one(CELLS, GENES, ["b1", "b2"] * 4)
    expected = table(adata)
    adata.X = form(adata.X.toarray())
    adata.write_h5ad(tmp_path / "x.h5ad")
    mosaic = read_mosaic(read_file(tmp_path / "x.h5ad", backed=backed))
    pd.testing.assert_frame_equal(dense(mosaic, "rna"), expected, check_dtype=False)
    assert mosaic.batches == ("b1", "b2")


def ten_x() -> ad.AnnData:
    """As 10x Genomics files come: all features in one AnnData, told apart by var["feature_types"]."""
    parts = [one(CELLS, features, seed=i) for i, features in enumerate((GENES, PROTEINS, PEAKS))]
    adata = ad.concat(parts, axis=1)
    adata.obs["batch"] = "b1"
    kinds = ["Gene Expression"] * 5 + ["Antibody Capture"] * 3 + ["Peaks"] * len(PEAKS)
    adata.var["feature_types"] = pd.Categorical(kinds)
    return adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()


@pytest.mark.parametrize("backed", [False, True])
def test_an_anndata_with_feature_types_is_several_modalities(backed: bool, tmp_path: Path) -> None:
    adata = ten_x()
    expected = table(adata)
    if backed:
        adata.write_h5ad(tmp_path / "x.h5ad")
        adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    mosaic = read_mosaic(adata)
    assert mosaic.on_disk == backed
    assert {name: part.n_features for name, part in mosaic.schema.modalities.items()} == {
        "adt": 3,
        "atac": 50,
        "rna": 5,
    }
    for name in mosaic.modalities:
        found = dense(mosaic, name)
        pd.testing.assert_frame_equal(found, expected[found.columns], check_dtype=False)


def test_a_modality_of_such_an_anndata_may_be_another_kind() -> None:
    mosaic = read_mosaic(ten_x(), modalities={"adt": Modality("negative_binomial", "log1p")})
    assert {name: kind.likelihood for name, kind in mosaic.schema.kinds.items()} == {
        "adt": "negative_binomial",
        "atac": "bernoulli",
        "rna": "poisson",
    }
    assert mosaic.schema.modalities["adt"].n_features == 3


def test_a_panel_of_antibodies_is_no_rna() -> None:
    panel = one(names("d", 4), ["CD3_TotalSeqB", "CD56", "IgG1_control", "HLA-DR", "CD45RA"], None)
    mosaic = read_mosaic({"x": one(CELLS, GENES, None), "y": panel})
    assert list(mosaic.modalities) == ["adt", "rna"]
    assert any("batch 'y': modality 'adt' (guessed): told from the names of its 5 features" in n for n in mosaic.notes)


def test_batches_without_features_in_common_are_noted() -> None:
    parts = {"x": one(CELLS, GENES, None), "y": one(CELLS, names("ENSG", 5), None)}
    assert any("0 of 5 features are in other batches, too" in note for note in read_mosaic(parts).notes)


def test_counts_may_lie_in_another_layer_of_each_modality() -> None:
    mdata = joined({"rna": one(CELLS, GENES), "adt": one(CELLS, PROTEINS)})
    expected = read_mosaic(mdata)
    mdata["rna"].layers["counts"] = mdata["rna"].X.copy()
    mdata["rna"].X = mdata["rna"].X * 0.5
    assert_same(read_mosaic(mdata, layer={"rna": "counts"}), expected)
    with pytest.raises(KeyError, match=r"Expected layer= by modality \(adt, rna\), found gex"):
        read_mosaic(mdata, layer={"gex": "counts"})
    without = read_for_model({"adt": mdata["adt"]}, layer={"rna": "counts"}, like=expected.schema)
    assert without.n_cells == 8


def test_decoded_values_of_a_result_are_no_modality() -> None:
    parts = {"rna": one(CELLS, GENES), "adt": one(CELLS[:4], PROTEINS), "adt_imputed": one(CELLS, PROTEINS)}
    parts["adt_imputed"].X = parts["adt_imputed"].X * 0.5
    mosaic = read_mosaic(joined(parts, batch=["b1"] * 8))
    assert list(mosaic.modalities) == ["adt", "rna"]
    assert any("adt_imputed: decoded values of an earlier result" in note for note in mosaic.notes)


def test_a_dict_whose_cells_are_nearly_all_of_two_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="agree on the batch of a cell, found 8 cells"):
        read_mosaic({"rna": one(CELLS, GENES, "x"), "adt": one(CELLS, PROTEINS, "y")})


def test_a_plain_anndata_is_what_its_names_or_the_user_say() -> None:
    assert list(read_mosaic(one(CELLS, GENES)).modalities) == ["rna"]
    peaks = read_mosaic(one(CELLS, PEAKS))
    assert list(peaks.modalities) == ["atac"]
    assert peaks.schema.modalities["atac"].blocks == (25, 25)
    assert list(read_mosaic(one(CELLS, [*PEAKS, "spike"])).modalities) == ["atac"]
    told = read_mosaic(one(CELLS, PROTEINS), modalities={"surface": Modality("negative_binomial", "log1p")})
    assert told.schema.modalities["surface"].modality.likelihood == "negative_binomial"


def test_aliases_are_known_and_names_kept() -> None:
    mosaic = read_mosaic({"GEX": one(CELLS, GENES), "prot": one(CELLS, PROTEINS), "peaks": one(CELLS, PEAKS)})
    kinds = {name: (kind.likelihood, kind.transform) for name, kind in mosaic.schema.kinds.items()}
    assert kinds == {"GEX": ("poisson", "log1p"), "prot": ("poisson", "log1p"), "peaks": ("bernoulli", "binarize")}


def test_a_batch_may_have_the_name_of_a_modality() -> None:
    parts = {"CITE": joined({"rna": one(["a"], GENES, None)}), "multiome": joined({"rna": one(["b"], GENES, None)})}
    assert read_mosaic(parts).batches == ("CITE", "multiome")


def test_a_dict_by_batch_of_anndata_may_have_any_keys() -> None:
    parts = {1: one(["a"], GENES, None), 2: one(["a", "b"], GENES, "ignored")}
    mosaic = read_mosaic(parts)  # type: ignore[arg-type]
    assert mosaic.batches == ("1", "2")
    assert mosaic.cells.tolist() == ["a", "a", "b"]
    assert mosaic.batch.tolist() == [0, 1, 1]


# --- few of something -------------------------------------------------------------------------------------------------


def test_one_batch_needs_no_column() -> None:
    mosaic = read_mosaic(one(CELLS, GENES, None), batch_key=None)
    assert mosaic.batches == ("all",)
    assert mosaic.batch.tolist() == [0] * 8


def test_a_missing_modality_is_known_per_cell_not_per_batch() -> None:
    mdata = joined({"rna": one(CELLS[:6], GENES), "adt": one(CELLS[3:], PROTEINS)}, batch=["b1"] * 8)
    mosaic = read_mosaic(mdata)
    assert mosaic.modalities["rna"].present.tolist() == [True] * 6 + [False] * 2
    assert mosaic.modalities["adt"].present.tolist() == [False] * 3 + [True] * 5
    assert mosaic.schema.batches_with == {"adt": (True,), "rna": (True,)}


def test_a_cell_without_counts_is_a_measured_zero_and_is_noted() -> None:
    adata = one(CELLS, GENES)
    adata.X = sp.csr_matrix(adata.X.toarray() * (np.arange(8) != 2)[:, None])
    mosaic = read_mosaic(adata)
    assert dense(mosaic, "rna").loc["c2"].tolist() == [0] * 5
    assert any("1 cell has no counts at all and is taken as measured zeros" in note for note in mosaic.notes)


def test_a_cell_in_no_modality_keeps_its_place_and_is_noted() -> None:
    mdata = joined({"rna": one(CELLS[2:], GENES), "adt": one(CELLS, PROTEINS)})[CELLS]
    mosaic = read_for_model(mdata, schema=schema_of(("rna", GENES)))
    assert mosaic.cells.tolist() == CELLS
    assert mosaic.combinations().tolist() == ["", "", *["rna"] * 6]
    assert any("2 cells have none of the modalities and get no result: 'c0', 'c1'" in n for n in mosaic.notes)


def test_explicit_zeros_are_zeros() -> None:
    adata = one(CELLS, GENES)
    with_zeros = adata.copy()
    with_zeros.X = sp.csr_matrix(
        (adata.X.toarray().ravel(), np.tile(np.arange(5), 8), np.arange(0, 41, 5)), shape=(8, 5)
    )
    assert with_zeros.X.nnz == 40
    with_zeros.X.data[5 * 5 : 6 * 5] = 0
    found = read_mosaic(with_zeros)
    assert any("1 cell has no counts" in note for note in found.notes)
    adata.X = sp.csr_matrix(with_zeros.X.toarray())
    assert_same(found, read_mosaic(adata))


def test_a_batch_may_be_called_like_a_modality_beside_a_mudata() -> None:
    both = joined({"rna": one(CELLS, GENES, None), "adt": one(CELLS, PROTEINS, None)}, batch=None)
    mosaic = read_mosaic({"tea": both, "cite": one(names("d", 5), GENES, None)}, batch_key=None)
    assert mosaic.batches == ("cite", "tea")
    assert mosaic.modalities["rna"].present.all()
