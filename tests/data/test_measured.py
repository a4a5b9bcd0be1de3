"""What a batch did not measure is known from every place that may say so, and is never taken for a zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import joined, names, one
from midas import Mosaic, read_mosaic
from midas.data import MosaicData
from midas.data.measured import flags_in

N = 120
CELLS, BATCH = names("c", 2 * N), ["b1"] * N + ["b2"] * N
GENES, PROTEINS = names("g", 4), names("p", 4)


def with_zeros(adata: ad.AnnData, batch: str, features: list[str]) -> ad.AnnData:
    values = adata.X.toarray()
    values[np.ix_((adata.obs["batch"] == batch).to_numpy(), adata.var_names.isin(features))] = 0
    adata.X = sp.csr_matrix(values)
    return adata


def mask(mosaic: Mosaic, modality: str = "adt") -> dict[str, list[str]]:
    """Features that each batch did not measure."""
    features = mosaic.schema.modalities[modality].features
    return {
        batch: features[~mosaic.modalities[modality].measured[b]].tolist() for b, batch in enumerate(mosaic.batches)
    }


def of_columns() -> MosaicData:
    adata = one(CELLS, PROTEINS, BATCH)
    adata.var["measured_b2"] = [True, False, True, False]
    return {"adt": adata}


def of_objects() -> MosaicData:
    first, second = one(CELLS[:N], ["p3", "p2", "p1", "p0"], None), one(CELLS[N:], ["p0", "p2"], None, seed=1)
    return {"b1": joined({"adt": first}), "b2": joined({"adt": second})}


def of_silence() -> MosaicData:
    return {"adt": with_zeros(one(CELLS, PROTEINS, BATCH), "b2", ["p1", "p3"])}


@pytest.mark.parametrize("source", [of_columns, of_objects, of_silence])
def test_a_mask_is_found(source: Callable[[], MosaicData]) -> None:
    mosaic = read_mosaic(source())
    assert mask(mosaic) == {"b1": [], "b2": ["p1", "p3"]}


def test_proteins_that_fall_silent_are_noted() -> None:
    notes = read_mosaic(of_silence()).notes
    assert "Batch 'b2': 'p1', 'p3' are zero in all cells, but not in other batches; taken as not measured." in notes


def test_silence_says_nothing_of_genes_of_small_batches_or_of_all_batches() -> None:
    genes = with_zeros(one(CELLS, GENES, BATCH), "b2", ["g1"])
    assert mask(read_mosaic({"rna": genes}), "rna") == {"b1": [], "b2": []}
    small = with_zeros(one(CELLS[: N + 99], PROTEINS, BATCH[: N + 99]), "b2", ["p1"])
    assert mask(read_mosaic({"adt": small})) == {"b1": [], "b2": []}
    everywhere = with_zeros(with_zeros(one(CELLS, PROTEINS, BATCH), "b1", ["p1"]), "b2", ["p1"])
    assert mask(read_mosaic({"adt": everywhere})) == {"b1": [], "b2": []}


def test_a_given_table_overrides_the_columns() -> None:
    table = pd.DataFrame({"p1": [True], "p0": [False]}, index=["b2"])
    mosaic = read_mosaic(of_columns(), measured={"adt": table})
    assert mask(mosaic) == {"b1": [], "b2": ["p0", "p3"]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"p1": [True]}, index=["b7"]), r"Expected rows of measured= to be batches \(b1, b2\), found b7"),
        (pd.DataFrame({"x": [True]}, index=["b1"]), "Expected columns of measured= to be features, found 'x'"),
    ],
)
def test_a_table_of_other_names_is_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_mosaic(of_columns(), measured={"adt": table})


def test_columns_that_name_no_batch_are_noted() -> None:
    adata = one(CELLS, PROTEINS, BATCH)
    adata.var["measured_B2"] = False
    mosaic = read_mosaic({"adt": adata})
    assert mask(mosaic) == {"b1": [], "b2": []}
    assert any("name no batch of the data ('b1', 'b2') were not used: 'measured_B2'" in note for note in mosaic.notes)


@pytest.mark.parametrize("modality", ["rna", "atac"])
def test_a_batch_of_zeros_in_a_modality_was_not_measured(modality: str) -> None:
    padded = with_zeros(one(CELLS, PROTEINS, BATCH), "b2", PROTEINS)
    mosaic = read_mosaic({modality: padded, "adt": one(CELLS, PROTEINS, BATCH)})
    assert mosaic.modalities[modality].present.tolist() == [True] * N + [False] * N
    assert mosaic.schema.batches_with == {modality: (True, False), "adt": (True, True)}
    assert any("no cell of b2 has any count; taken as not measured there" in note for note in mosaic.notes)


@pytest.mark.parametrize(
    "column",
    [
        ["True", "False", "True"],
        [1, 0, 1],
        [1.0, 0.0, 1.0],
        pd.array([True, False, True], dtype="boolean"),
        [True, False, True],
    ],
)
def test_flags_are_read_in_whatever_way_a_file_keeps_them(column: Any) -> None:
    assert flags_in(pd.Series(column, index=list("abc")), "x").tolist() == [True, False, True]
    assert flags_in(pd.Series(column, index=list("abc")).astype("category"), "x").tolist() == [True, False, True]


@pytest.mark.parametrize("strange", [None, np.nan, "yes", 2])
def test_flags_that_must_be_guessed_are_refused(strange: Any) -> None:
    with pytest.raises(ValueError, match=r"here: expected True or False everywhere, found .* at 'b'\. Fill it in"):
        flags_in(pd.Series([True, strange, False], index=list("abc"), dtype=object), "here")


def test_masks_of_a_modality_that_is_not_there_are_refused() -> None:
    adata = one(names("c", 6), names("g", 3))
    table = pd.DataFrame(False, index=["b1"], columns=["g0"])
    with pytest.raises(ValueError, match=r"Expected measured= by modality \(rna\), found RNA\."):
        read_mosaic({"rna": adata}, measured={"RNA": table})
