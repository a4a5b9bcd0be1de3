"""Features are told apart, matched by name, and held against those of a trained model."""

from __future__ import annotations

import numpy as np
import pytest
from forms import CELLS, GENES, PEAKS, PROTEINS, schema_of

from helpers import dense, one, table
from midas import Modality, read_mosaic
from midas.data.read import read_for_model


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


def test_a_models_features_are_found_masked_or_left_out() -> None:
    schema = schema_of(("rna", GENES), ("adt", PROTEINS))
    query = one(["q1", "q2"], ["g4", "other", "g0"], ["b2", "new"])
    mosaic = read_for_model({"rna": query}, schema=schema)
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
        assert list(read_for_model(data, schema=schema).modalities) == ["surface"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["GENE1", "GENE2"], r"none is shared\. Rename the features as in the model"),
        (
            ["G0", "G1"],
            r"none is shared\. 2 match when case and punctuation are ignored: another species, or another spelling\?",
        ),
    ],
)
def test_no_shared_feature_is_refused(features: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=r"expected features of the model, such as 'g0', .*found .*" + message):
        read_for_model({"rna": one(CELLS, features)}, schema=schema_of(("rna", GENES)))


def test_modalities_unknown_to_the_model_are_left_out_or_refused() -> None:
    schema = schema_of(("rna", GENES))
    found = read_for_model({"rna": one(CELLS, GENES), "adt": one(CELLS, PROTEINS)}, schema=schema)
    assert list(found.modalities) == ["rna"]
    assert "The model has no adt: left out." in found.notes
    with pytest.raises(ValueError, match=r"Expected some of the model's modalities \(rna\), found adt"):
        read_for_model({"adt": one(CELLS, PROTEINS)}, schema=schema)
