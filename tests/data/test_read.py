"""Any form of the same mosaic is read alike, by name; what cannot be read is refused with what to do."""

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

from helpers import dense, joined, names, one, simulated, table
from midas import MIDAS, Modality, Mosaic, read_mosaic
from midas.data import MosaicData, MosaicSchema
from midas.io import read_file

CELLS, GENES, PROTEINS = names("c", 8), names("g", 5), names("p", 3)
PEAKS = [f"chr{c}:{100 * i}-{100 * i + 50}" for c in (1, 2) for i in range(25)]


def assert_same(found: Mosaic, expected: Mosaic, *, cells: bool = True) -> None:
    """The same cells with the same batches and counts, whatever the order."""
    if cells:
        assert found.cells.tolist() == expected.cells.tolist()
    assert list(found.modalities) == list(expected.modalities)
    batch = [pd.Series(np.asarray(m.batches)[m.batch], index=m.cells).sort_index() for m in (found, expected)]
    pd.testing.assert_series_equal(*batch)
    for name in expected.modalities:
        pd.testing.assert_frame_equal(dense(found, name).sort_index(), dense(expected, name).sort_index())


# --- forms of the input -----------------------------------------------------------------------------------------------


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
    assert combinations.to_dict() == {"c0": "rna", "c1": "adt+rna", "c3": "adt+rna", "c9": "adt"}


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


def test_a_plain_anndata_is_what_its_names_or_the_user_say() -> None:
    assert list(read_mosaic(one(CELLS, GENES)).modalities) == ["rna"]
    peaks = read_mosaic(one(CELLS, PEAKS))
    assert list(peaks.modalities) == ["atac"]
    assert peaks.schema.modalities["atac"].blocks == (25, 25)
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
    assert any("1 cells have no counts at all and are taken as measured zeros" in note for note in mosaic.notes)


def test_a_cell_in_no_modality_keeps_its_place_and_is_noted() -> None:
    mdata = joined({"rna": one(CELLS[2:], GENES), "adt": one(CELLS, PROTEINS)})[CELLS]
    mosaic = read_mosaic(mdata, schema=schema_of(("rna", GENES)))
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
    assert any("1 cells have no counts" in note for note in found.notes)
    adata.X = sp.csr_matrix(with_zeros.X.toarray())
    assert_same(found, read_mosaic(adata))


# --- names ------------------------------------------------------------------------------------------------------------

BARCODES, BATCHES = ["x", "y", "x", "z"], ["b1", "b1", "b2", "b2"]


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize("place", ["anndata", "modality", "global", "10x"])
def test_barcodes_that_several_batches_use_are_different_cells(place: str) -> None:
    rna = one(BARCODES, GENES, BATCHES if place != "global" else None)
    data: MosaicData = rna
    if place in {"modality", "global"}:
        adt = one(BARCODES, PROTEINS, BATCHES if place == "modality" else None, seed=1)
        data = md.MuData({"rna": rna, "adt": adt})
        if place == "global":
            data.obs["batch"] = BATCHES
    elif place == "10x":
        data = one(BARCODES, [*GENES, *PROTEINS], BATCHES)
        data.var["feature_types"] = ["Gene Expression"] * 5 + ["Antibody Capture"] * 3
    mosaic = read_mosaic(data)
    assert mosaic.cells.tolist() == BARCODES
    assert [mosaic.batches[b] for b in mosaic.batch] == BATCHES
    for name, rows in mosaic.modalities.items():
        assert rows.row.tolist() == [0, 1, 2, 3], name


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_such_barcodes_are_matched_within_their_batch() -> None:
    rna = one(BARCODES, GENES, BATCHES)
    adt = one(["x", "x"], PROTEINS, ["b2", "b1"], seed=1)
    mosaic = read_mosaic({"rna": rna, "adt": adt})
    assert mosaic.cells.tolist() == BARCODES
    assert mosaic.modalities["adt"].row.tolist() == [1, -1, 0, -1]


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_a_global_batch_of_one_modality_with_repeated_names_is_taken_row_by_row() -> None:
    mdata = md.MuData({"rna": one(BARCODES, GENES, None)})
    mdata.obs["batch"] = BATCHES
    assert read_mosaic(mdata).batch.tolist() == [0, 0, 1, 1]


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_names_that_repeat_within_a_batch_are_fine_as_long_as_nothing_is_matched() -> None:
    rna = one(["x", "x", "x"], GENES)
    mosaic = read_mosaic(rna)
    assert mosaic.cells.tolist() == ["x", "x", "x"]
    assert mosaic.modalities["rna"].row.tolist() == [0, 1, 2]
    with pytest.raises(
        ValueError, match=r"Expected each cell once in a batch of modality 'rna'.*found repeated names: 'x'"
    ):
        read_mosaic({"rna": rna, "adt": one(["x"], PROTEINS)})


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_feature_names_that_repeat_get_numbers() -> None:
    adata = one(CELLS, ["A", "B", "A", "A-1", "A"])
    values = adata.X.toarray()
    mosaic = read_mosaic(adata)
    found = dense(mosaic, "rna")
    assert found.columns.tolist() == ["A", "A-1", "A-2", "A-3", "B"]
    np.testing.assert_array_equal(found[["A", "B", "A-2", "A-1", "A-3"]].to_numpy(), values)
    assert any("1 feature names occur more than once ('A')" in note for note in mosaic.notes)
    assert mosaic.modalities["rna"].input_names.is_unique


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_peaks_that_repeat_still_have_their_chromosomes() -> None:
    mosaic = read_mosaic(one(CELLS, [*PEAKS, PEAKS[0]]))
    assert mosaic.schema.modalities["atac"].blocks == (26, 25)


def test_peaks_are_matched_by_place_in_any_notation() -> None:
    other = [name.replace(":", "-") for name in PEAKS]
    mosaic = read_mosaic({"b1": one(["a"], PEAKS, None), "b2": one(["b"], other, None)})
    assert mosaic.schema.modalities["atac"].n_features == len(PEAKS)
    assert mosaic.modalities["atac"].measured.all()
    assert mosaic.modalities["atac"].input_names.tolist() == PEAKS


def test_names_that_differ_between_modalities_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    rna, adt = one(names("c", 5), GENES), one([f"c{i}-1" for i in range(5)], PROTEINS)
    mosaic = read_mosaic({"rna": rna, "adt": adt})
    note = "Batch 'b1' has 5 cells with adt and as many with rna, but no name in common"
    assert any(note in text for text in mosaic.notes)
    assert any(note in record.getMessage() for record in caplog.records)
    paired = read_mosaic({"rna": rna, "adt": one(names("c", 5), PROTEINS)})
    assert not any("no name in common" in text for text in paired.notes)


# --- for a trained model ----------------------------------------------------------------------------------------------


def schema_of(*parts: tuple[str, list[str]]) -> MosaicSchema:
    return read_mosaic({name: one(CELLS, features, ["b1", "b2"] * 4) for name, features in parts}).schema


def test_a_models_features_are_found_masked_or_left_out() -> None:
    schema = schema_of(("rna", GENES), ("adt", PROTEINS))
    query = one(["q1", "q2"], ["g4", "other", "g0"], ["b2", "new"])
    mosaic = read_mosaic({"rna": query}, schema=schema)
    assert mosaic.schema is schema
    assert mosaic.known_batch.tolist() == [1, -1]
    assert mosaic.modalities["rna"].measured.tolist() == [[True, False, False, False, True]] * 2
    np.testing.assert_array_equal(dense(mosaic, "rna")[["g0", "g4"]], table(query)[["g0", "g4"]])
    assert not mosaic.modalities["adt"].present.any()
    assert any("2 of the model's 5 features found, 3 are missing (masked) and 1 are unknown" in n for n in mosaic.notes)


def test_data_of_one_modality_are_read_as_a_models_only_one() -> None:
    kinds = {"surface": Modality("negative_binomial", "log1p")}
    schema = read_mosaic(one(CELLS, PROTEINS), modalities=kinds).schema
    for data in (one(CELLS, PROTEINS), {"surface": one(CELLS, PROTEINS)}):
        assert list(read_mosaic(data, schema=schema).modalities) == ["surface"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["GENE1", "GENE2"], r"none is shared\. Rename the features as in the model"),
        (["G0", "G1"], r"none is shared\. 2 match when case is ignored: another species, or another spelling\?"),
    ],
)
def test_no_shared_feature_is_refused(features: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=r"expected features of the model, such as 'g0', .*found .*" + message):
        read_mosaic({"rna": one(CELLS, features)}, schema=schema_of(("rna", GENES)))


def test_modalities_unknown_to_the_model_are_left_out_or_refused() -> None:
    schema = schema_of(("rna", GENES))
    found = read_mosaic({"rna": one(CELLS, GENES), "adt": one(CELLS, PROTEINS)}, schema=schema)
    assert list(found.modalities) == ["rna"]
    assert "The model has no adt: left out." in found.notes
    with pytest.raises(ValueError, match=r"Expected some of the model's modalities \(rna\), found adt"):
        read_mosaic({"adt": one(CELLS, PROTEINS)}, schema=schema)


# --- refused ----------------------------------------------------------------------------------------------------------


def without(adata: ad.AnnData, what: str) -> ad.AnnData:
    match what:
        case "nan batch":
            adata.obs["batch"] = pd.Categorical(["b1"] * 7 + [np.nan])
        case "blank batch":
            adata.obs["batch"] = ["b1"] * 7 + [""]
        case "x":
            adata.X = None
    return adata


REFUSED: list[tuple[Callable[[], Any], dict[str, Any], str]] = [
    (
        lambda: one(CELLS, GENES, None),
        {},
        r"modality 'rna'.*: expected a column 'batch' that names each cell's batch, found the columns: none\. Name the column",
    ),
    (lambda: one(CELLS, GENES), {"batch_key": "donor"}, "expected a column 'donor'.*found the columns: batch"),
    (
        lambda: joined({"rna": one(CELLS, GENES, None)}),
        {},
        "modality 'rna': expected a column 'batch'",
    ),
    (
        lambda: without(one(CELLS, GENES), "nan batch"),
        {},
        "expected a batch for every cell, found none in 'batch' for 'c7'",
    ),
    (
        lambda: without(one(CELLS, GENES), "blank batch"),
        {},
        "expected a batch for every cell, found none in 'batch' for 'c7'",
    ),
    (
        lambda: joined({"rna": one(CELLS, GENES, "b1")}, batch=["b1"] * 7 + ["b2"]),
        {},
        "the global obs and the modality's obs disagree on 'batch' for 'c7'. Make them agree",
    ),
    (
        lambda: joined({"rna": one(CELLS, GENES), "metabolites": one(CELLS, PROTEINS)}),
        {},
        r"Expected modalities called rna, adt, atac, found 'metabolites'. Say what it is, for example modalities=",
    ),
    (
        lambda: one(CELLS, GENES),
        {"modalities": {"rna": Modality("poisson", "log1p"), "adt": Modality("poisson", "log1p")}},
        "Expected the modalities adt, rna, found rna: adt missing",
    ),
    (lambda: one(CELLS, GENES), {"layer": "counts"}, "expected a layer 'counts', found the layers: none"),
    (lambda: without(one(CELLS, GENES), "x"), {}, "expected counts in X, found nothing there. Choose a layer"),
    (lambda: one([], GENES), {}, "Expected cells, found none"),
    (lambda: {"rna": one(CELLS, [])}, {}, "Expected features in modality 'rna', found none"),
    (lambda: md.MuData({}), {}, "Expected a MuData with at least one modality, found none"),
    (
        lambda: {"rna": one(CELLS, GENES), "donor2": one(CELLS, GENES)},
        {},
        "either by modality .* or by batch, found both: rna are modalities, the rest of rna, donor2 are not",
    ),
    (
        lambda: np.ones((3, 3)),
        {},
        "Expected a MuData, an AnnData, or a dict of them by modality or by batch, found ndarray",
    ),
    (lambda: {"rna": np.ones((3, 3))}, {}, r"found dict of \['ndarray'\]"),
    (dict, {}, r"found dict of \[\]"),
]


@pytest.mark.parametrize(("data", "options", "message"), REFUSED)
def test_what_cannot_be_read_is_refused_with_what_to_do(
    data: Callable[[], Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, KeyError, TypeError), match=message):
        read_mosaic(data(), **options)


def test_a_model_refuses_what_cannot_be_read_before_it_starts() -> None:
    with pytest.raises(KeyError, match="expected a column 'batch'"):
        MIDAS(one(CELLS, GENES, None))
