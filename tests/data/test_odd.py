"""What looks odd in data that can be read is said: barcodes, antibodies among genes, batches in a column."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from forms import GENES, PROTEINS

from helpers import joined, names, one
from midas import read_mosaic
from midas.data import MosaicData
from midas.data.read import read_for_model

RNG = np.random.default_rng(0)
BARCODES = ["".join(RNG.choice(list("ACGT"), 16)) for _ in range(20)]
TAGGED = ["CD3_TotalSeqB", "CD4_TotalSeqB", "CD8a_TotalSeqB", "CD56_TotalSeqB", "IgG1_control_TotalSeqB"]


def said(data: MosaicData, text: str, **options: object) -> list[str]:
    return [note for note in read_mosaic(data, **options).notes if text in note]  # type: ignore[arg-type]


def test_barcodes_of_one_cell_in_two_spellings_are_noted_whatever_their_number() -> None:
    rna = one([f"d1_{name}-1" for name in BARCODES], GENES)
    notes = said({"rna": rna, "adt": one(BARCODES[:15], PROTEINS)}, "by their bases alone")
    assert len(notes) == 1
    assert notes[0].startswith(
        "Batch 'b1': 15 cells have adt and 20 rna, with no names in common, but 15 by their bases"
    )
    assert f"as {BARCODES[0]} and d1_{BARCODES[0]}-1. Give them the same obs_names" in notes[0]


def test_batches_with_the_same_to_tell_share_a_note() -> None:
    batches = ["b1"] * 5 + ["b2"] * 5 + ["b3"] * 10
    rna = one([f"d1_{name}-1" for name in BARCODES], GENES, batches)
    notes = said({"rna": rna, "adt": one(BARCODES, PROTEINS, batches)}, "in common")
    assert len(notes) == 1
    assert notes[0].startswith("Batch 'b1': 5 cells have adt and 5 rna, ")
    assert notes[0].endswith("Likewise 'b2', 'b3'.")


@pytest.mark.parametrize("first", [0, 5, 15])
def test_cells_that_are_truly_unpaired_are_no_cause_for_a_note(first: int) -> None:
    rna, adt = one(BARCODES[:15], GENES), one(BARCODES[first:], PROTEINS)
    assert not said({"rna": rna, "adt": adt}, "in common")


def test_a_column_that_names_more_batches_than_the_dict_is_noted() -> None:
    two = one(names("c", 6), GENES, ["x", "y"] * 3)
    plain = one(names("d", 6), GENES)
    notes = said({"first": two, "second": plain}, "names 2")
    assert len(notes) == 1
    assert notes[0].startswith(
        "Batch 'first': the key in the dict is the batch of all of its cells, though their column 'batch'"
    )
    mdata = joined({"rna": one(names("c", 6), GENES, None), "adt": one(names("c", 6), PROTEINS, None)})
    mdata.obs["donor"] = ["x", "y"] * 3
    assert len(said({"first": mdata}, "column 'donor' names 2", batch_key="donor")) == 1
    assert not said({"first": mdata}, "names 2", batch_key=None)


@pytest.mark.parametrize(("n", "noted"), [(4, False), (5, True)])
def test_antibodies_among_genes_are_noted(n: int, noted: bool) -> None:
    adata = one(names("c", 6), [*names("GENE", 30), *TAGGED[:n]])
    assert bool(said(adata, "look like antibodies, and are read as genes: 'CD3_TotalSeqB'")) == noted


def test_the_older_column_of_types_is_read() -> None:
    adata = one(names("c", 6), [*names("GENE", 30), *TAGGED])
    adata.var["feature_type"] = ["Gene Expression"] * 30 + ["Antibody Capture"] * 5
    mosaic = read_mosaic(adata)
    assert {name: len(part.features) for name, part in mosaic.schema.modalities.items()} == {"adt": 5, "rna": 30}
    assert not any("antibodies" in note for note in mosaic.notes)


def test_batches_given_apart_may_number_their_cells_alike() -> None:
    data = {"a": one(names("", 8), GENES, None), "b": ad.AnnData(one(names("", 8), TAGGED, None))}
    mosaic = read_mosaic(data)
    assert mosaic.n_cells == 16
    assert any("8 names stand for one batch in one modality and for another" in note for note in mosaic.notes)


def test_cells_of_what_a_model_lacks_keep_their_places_in_a_dict() -> None:
    rna, adt = one(names("c", 5), GENES), one(["x", "c1"], PROTEINS)
    schema = read_mosaic({"rna": rna}).schema
    for data in ({"adt": adt, "rna": rna}, joined({"adt": adt, "rna": rna})):
        mosaic = read_for_model(data, schema=schema)
        assert set(mosaic.cells) == {*names("c", 5), "x"}
        assert mosaic.modalities["rna"].present.sum() == 5
    assert read_for_model({"adt": adt, "rna": rna}, schema=schema).cells.tolist() == ["x", "c1", "c0", "c2", "c3", "c4"]


def test_categories_keep_their_order() -> None:
    stages = pd.CategoricalDtype(["young", "old", "dead"], ordered=True)
    rna = one(names("c", 4), GENES)
    rna.obs["stage"] = pd.Categorical(["old", "young"] * 2, dtype=stages)
    assert read_mosaic({"rna": rna}).obs["stage"].cat.categories.tolist() == ["young", "old"]


def test_features_spelt_otherwise_in_another_batch_are_noted() -> None:
    genes = ["HLA-DRA", "CD3E", *names("GENE", 30)]
    a, b = one(names("a", 6), genes, "a"), one(names("b", 6), ["HLA.DRA", "Cd3e", *genes[2:]], "b")
    notes = said({"a": a, "b": b}, "but for case or punctuation")
    assert len(notes) == 1
    assert "'a'" not in notes[0]
    assert (
        "2 features are in other batches but for case or punctuation, as 'HLA.DRA' is 'HLA-DRA': read as two"
        in notes[0]
    )
    assert not said({"a": a, "b": a.copy()}, "but for case or punctuation")
    two = one(names("c", 6), ["NKX2-1", "NKX2.1", *genes], "c")
    assert not said({"a": two, "b": two.copy()}, "but for case or punctuation")  # two genes in each


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (["d1", "d1 "] * 15, "The batches 'd1' and 'd1 ' differ in case or blanks alone"),
        (["A", "a"] * 15, "The batches 'A' and 'a' differ in case or blanks alone"),
        (["nan", "d1"] * 15, "A batch is called 'nan', as a missing value written as text"),
        (names("cell", 30), "30 cells are in 30 batches: does the column name cells rather than batches?"),
    ],
)
def test_batches_that_are_hardly_meant_are_noted(batch: list[str], text: str) -> None:
    assert said(one(names("c", 30), GENES, batch), text)
    assert not said(one(names("c", 30), GENES, ["d1", "d2"] * 15), "batch")


def test_modalities_may_have_the_names_of_10x_files_and_stand_under_a_batch() -> None:
    rna, adt = one(names("c", 6), GENES), one(names("c", 6), PROTEINS)
    for data in (
        {"Gene Expression": rna, "Antibody Capture": adt},
        joined({"Gene Expression": rna, "Antibody Capture": adt}),
    ):
        assert set(read_mosaic(data).modalities) == {"rna", "adt"}
    nested = read_mosaic({"first": {"rna": rna, "adt": adt}, "second": {"rna": rna.copy()}})  # type: ignore[dict-item]
    assert nested.batches == ("first", "second")
    assert nested.n_cells == 12


def test_columns_of_older_files_name_batches() -> None:
    mdata = joined({"rna": one(names("c", 6), GENES, None), "adt": one(names("c", 6), PROTEINS, None)})
    mdata.obs["rna:batch"] = mdata.obs["adt:batch"] = ["x", "y"] * 3
    assert read_mosaic(mdata).batches == ("x", "y")


def test_x_is_a_layer_and_raw_is_none() -> None:
    adata = one(names("c", 6), GENES)
    assert read_mosaic(adata, layer="X").n_cells == 6
    with pytest.raises(
        KeyError, match=r"found the layers: none. raw is none of them: midas.pp.prepare\(\) takes counts"
    ):
        read_mosaic(adata, layer="raw")


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_barcodes_that_repeat_between_batches_are_told_apart_under_the_names_of_10x_files() -> None:
    cells, batch = [*BARCODES[:5], *BARCODES[:5]], ["a"] * 5 + ["b"] * 5
    parts = {"Gene Expression": one(cells, GENES, batch), "Antibody Capture": one(cells, PROTEINS, batch)}
    assert read_mosaic(joined(parts)).n_cells == 10
