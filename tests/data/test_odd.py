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
        mosaic = read_mosaic(data, schema=schema)
        assert set(mosaic.cells) == {*names("c", 5), "x"}
        assert mosaic.modalities["rna"].present.sum() == 5
    assert read_mosaic({"adt": adt, "rna": rna}, schema=schema).cells.tolist() == ["x", "c1", "c0", "c2", "c3", "c4"]


def test_categories_keep_their_order() -> None:
    stages = pd.CategoricalDtype(["young", "old", "dead"], ordered=True)
    rna = one(names("c", 4), GENES)
    rna.obs["stage"] = pd.Categorical(["old", "young"] * 2, dtype=stages)
    assert read_mosaic({"rna": rna}).obs["stage"].cat.categories.tolist() == ["young", "old"]
