"""Cells are matched by name, within their batch where barcodes repeat."""

from __future__ import annotations

import mudata as md
import pytest
from forms import GENES, PROTEINS

from helpers import names, one
from midas import read_mosaic
from midas.data import MosaicData

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


def test_names_that_differ_between_modalities_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    rna, adt = one(names("c", 5), GENES), one([f"c{i}-1" for i in range(5)], PROTEINS)
    mosaic = read_mosaic({"rna": rna, "adt": adt})
    note = "Batch 'b1': 5 cells have adt and 5 rna, but no name in common"
    assert any(note in text for text in mosaic.notes)
    assert any(note in record.getMessage() for record in caplog.records)
    paired = read_mosaic({"rna": rna, "adt": one(names("c", 5), PROTEINS)})
    assert not any("no name in common" in text for text in paired.notes)


@pytest.mark.parametrize(("named", "expected"), [("y", "y"), ("z", "x")])
def test_a_cell_without_any_modality_is_of_the_batch_that_its_row_names(named: str, expected: str) -> None:
    rna = one(names("c", 4), GENES, ["x", "x", "y", "y"])
    mdata = md.MuData({"rna": rna[:3].copy(), "adt": one(["lonely"], PROTEINS, named)})
    mdata.obs["batch"] = ["x", "x", "y", named]
    del mdata.mod["adt"]
    mosaic = read_mosaic(mdata)
    assert mosaic.batches == ("x", "y")
    assert mosaic.batches[mosaic.batch[mosaic.cells.get_loc("lonely")]] == expected


def test_keys_of_batches_that_are_written_alike_are_refused() -> None:
    rna = one(names("c", 4), GENES)
    with pytest.raises(ValueError, match=r"keys that are written alike: '1'"):
        read_mosaic({1: rna, "1": rna})  # type: ignore[dict-item]
