"""Cells of one batch in files that spell barcodes differently, and batches that are the same cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import names, one
from midas.pp.pairing import paired
from midas.pp.samples import Sample

RNG = np.random.default_rng(0)
BARCODES = ["".join(RNG.choice(list("ACGT"), 16)) for _ in range(20)]


def rna(cells: list[str], batch: str = "x") -> Sample:
    return Sample("rna.h5", "h5", batch, "rna", one(cells, ["GENE1", "GENE2"], None))


def adt(cells: list[str], batch: str = "x", source: str = "adt.h5") -> Sample:
    return Sample(source, "h5", batch, "adt", one(cells, ["CD3", "CD56"], None))


@pytest.mark.parametrize(("before", "behind"), [("", ""), ("asap#", "-1"), ("sample_", ""), ("ACGTACGTAC_", "")])
def test_barcodes_are_matched_by_their_bases(before: str, behind: str) -> None:
    own = [f"{name}-1" for name in BARCODES]
    first, second = paired([rna(own), adt([f"{before}{name}{behind}" for name in BARCODES[::-1]])])
    assert second.adata.obs_names.tolist() == own[::-1]
    assert first.adata.obs_names.tolist() == own
    assert "barcodes of rna.h5 and adt.h5 were matched by their bases alone" in second.notes[-1]


def test_barcodes_that_do_not_meet_are_noted() -> None:
    _, second = paired([rna(BARCODES[:10]), adt(BARCODES[10:])])
    assert "have 0 of 10 in common, so their cells are taken as different ones" in second.notes[-1]
    assert second.adata.obs_names.tolist() == BARCODES[10:]


def test_barcodes_of_which_some_meet_as_they_are() -> None:
    half = BARCODES[:8] + [f"{name}-1" for name in BARCODES[8:]]
    _, second = paired([rna(BARCODES), adt(half)])
    assert second.adata.obs_names.tolist() == BARCODES
    assert f"as in {BARCODES[8]} and {half[8]}" in second.notes[-1]
    _, second = paired([rna(BARCODES[:12]), adt(BARCODES[8:])])
    assert second.adata.obs_names.tolist() == BARCODES[8:]
    assert "have 4 of 12 in common, so the others are taken as different ones" in second.notes[-1]


def test_bases_that_occur_twice_match_nothing() -> None:
    lanes = [f"{name}-{lane}" for lane in (1, 2) for name in BARCODES]
    _, second = paired([rna(BARCODES), adt(lanes)])
    assert second.adata.obs_names.tolist() == lanes
    assert "have 0 of 20 in common" in second.notes[-1]


def test_barcodes_without_bases_are_left_as_they_are() -> None:
    _, second = paired([rna(["a", "b"]), adt(["c", "d"])])
    assert second.adata.obs_names.tolist() == ["c", "d"]
    assert "have 0 of 2 in common" in second.notes[-1]


def test_cells_that_meet_are_left_as_they_are() -> None:
    first, second = paired([rna(BARCODES), adt(BARCODES[5:])])
    assert (first.notes, second.notes) == ((), ())
    assert second.adata.obs_names.tolist() == BARCODES[5:]


def test_batches_of_the_same_cells_are_noted() -> None:
    first, _ = paired([rna(BARCODES, "x"), adt(BARCODES[5:], "y")])
    assert "The batches 'x' and 'y' share 15 of 15 barcodes and no modality." in first.notes[0]
    assert "give the files one name: x=rna.h5 x=adt.h5" in first.notes[0]
    first, _ = paired([rna(BARCODES, "x"), adt([f"asap#{name}-1" for name in BARCODES], "y")])
    assert "share 20 of 20 barcodes" in first.notes[0]
    assert paired([rna(BARCODES[:10], "x"), adt(BARCODES[10:], "y")])[0].notes == ()
    assert paired([rna(BARCODES, "x"), rna(BARCODES, "y")])[0].notes == ()


def test_batches_that_a_name_would_not_join_get_other_advice() -> None:
    objects = [replace(rna(BARCODES, "x"), kind="AnnData"), replace(adt(BARCODES, "y"), kind="AnnData")]
    within = [rna(BARCODES, "x"), adt(BARCODES, "y", source="rna.h5")]
    several = [rna(BARCODES, "x"), adt(BARCODES, "y"), adt(names("z", 20), "z")]
    for samples in (objects, within, several):
        assert "give them the same batch in obs, or put their modalities into one MuData" in paired(samples)[0].notes[0]


def test_modalities_of_one_object_are_matched_by_bases_too() -> None:
    own = [f"{name}-1" for name in BARCODES]
    first, second = paired([replace(rna(own), source="x.h5mu"), adt(BARCODES, source="x.h5mu")])
    assert second.adata.obs_names.tolist() == first.adata.obs_names.tolist() == own
    assert "barcodes of rna and adt were matched by their bases alone" in second.notes[-1]
    _, second = paired([replace(rna(own[:10]), source="x.h5mu"), adt(BARCODES[10:], source="x.h5mu")])
    assert not second.notes  # an object says itself which cells have what
