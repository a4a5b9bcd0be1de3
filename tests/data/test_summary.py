"""A mosaic in numbers, and what makes it hard to integrate."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pytest

from helpers import joined, names, one
from midas import read_mosaic
from midas.data.summary import MosaicSummary, summarise

FEATURES = {"rna": names("g", 4), "adt": names("p", 3), "atac": names("k", 2)}


def summary(parts: Mapping[str, tuple[int, int]], *, per_batch: int = 60) -> MosaicSummary:
    """Modalities by the range of cells that they have; batches of consecutive cells."""
    cells = names("c", max(stop for _, stop in parts.values()))
    batch = pd.Series([f"b{i // per_batch}" for i in range(len(cells))], index=cells)
    mods = {name: one(cells[a:b], FEATURES[name], batch.iloc[a:b].tolist()) for name, (a, b) in parts.items()}
    return summarise(read_mosaic(joined(mods)))


def test_counts() -> None:
    found = summary({"rna": (0, 120), "adt": (60, 180)})
    assert found.cells.loc[["b0", "b1", "b2"]].to_dict("list") == {
        "rna": [60, 60, 0],
        "adt": [0, 60, 60],
        "all": [60, 60, 60],
    }
    assert found.features.loc["b0"].to_dict() == {"adt": 0, "rna": 4}
    assert found.features.loc["b1"].to_dict() == {"adt": 3, "rna": 4}
    assert found.combinations.loc["b0", "rna"] == found.combinations.loc["b2", "adt"] == 60
    assert found.combinations.loc["b1", "adt+rna"] == 60
    assert found.bridges == {("adt", "rna"): 60}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        ({"rna": (0, 60), "adt": (60, 120)}, r"No cell bridges adt \| rna: only genes"),
        (
            {"rna": (0, 60), "adt": (0, 60), "atac": (60, 120)},
            r"No cell bridges adt\+rna \| atac",
        ),
        ({"rna": (0, 70), "adt": (60, 120)}, "Only 10 cells have both adt and rna: a weak bridge"),
        ({"rna": (0, 70), "adt": (60, 120)}, r"Fewer than 20 cells bridge adt \| rna: only genes"),
        ({"rna": (0, 80), "adt": (60, 120)}, "Only 20 cells have both adt and rna: a weak bridge"),
        ({"rna": (0, 65)}, "Batch 'b1' has only 5 cells"),
        ({"rna": (0, 60)}, "There is one batch: nothing to correct"),
    ],
)
def test_what_is_hard_is_said(parts: Mapping[str, tuple[int, int]], warning: str) -> None:
    assert pd.Series(summary(parts).warnings).str.contains(warning).any()


def test_many_small_batches_are_one_warning() -> None:
    rna = one(names("c", 60), FEATURES["rna"], [f"b{i % 30:02}" for i in range(60)])
    found = [text for text in summarise(read_mosaic(rna)).warnings if "hard to learn" in text]
    assert len(found) == 1
    assert found[0].startswith("30 batches have fewer than 50 cells ('b00', 'b01', 'b02', 'b03', 'b04' and 25 more): ")


def test_bridges_may_lead_through_a_third_modality() -> None:
    found = summary({"rna": (0, 120), "adt": (0, 60), "atac": (60, 120)})
    assert found.bridges == {("adt", "atac"): 0, ("adt", "rna"): 60, ("atac", "rna"): 60}
    assert not any("No cell bridges" in warning for warning in found.warnings)


def test_notes_of_the_reading_come_first() -> None:
    rna = one(names("c", 60), FEATURES["rna"])
    adt = one(names("d", 60), FEATURES["adt"])
    assert "no name in common" in summarise(read_mosaic({"rna": rna, "adt": adt})).warnings[0]
