"""Impossible wishes are refused."""

from __future__ import annotations

from typing import Any

import pytest

from midas.simulate import SimulationConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mosaic": ("rna+protein",)}, r"mosaic: expected modalities out of .*found 'rna\+protein'"),
        ({"mosaic": ("rna", "")}, "mosaic: expected modalities"),
        ({"mosaic": "rna+adt"}, "mosaic: expected a tuple with one entry per batch.*found 'rna"),
        ({"mosaic": ()}, "mosaic: expected one entry per batch"),
        ({"n_cells": 3}, "n_cells: expected at least one cell for each of the 4 batches, found 3"),
        ({"n_cells": 200.0}, r"n_cells: expected a whole number of 1 or more, found 200\.0"),
        ({"n_peaks": 0}, "n_peaks: expected a whole number of 1 or more"),
        ({"n_proteins": 2000}, "n_proteins: expected no more than the 1000 genes"),
        ({"n_chromosomes": 1500}, "n_chromosomes: expected no more than the 1000"),
        ({"n_types": 2}, "n_types: expected 3 or more"),
        ({"batch_proportions": (1, 2)}, "batch_proportions: expected 4 numbers above 0"),
        ({"batch_proportions": (1, 1, 1, 0)}, "batch_proportions: expected 4 numbers above 0"),
        ({"batch_strength": -0.1}, "batch_strength: expected from 0 to 5"),
        ({"rna_depth": 0}, "rna_depth: expected a number of counts above 0"),
        ({"peak_density": 0.9}, "peak_density: expected a share above 0"),
        ({"unpaired_fraction": 1.5}, "unpaired_fraction: expected a share from 0 to 1"),
        ({"unmeasured_proteins": 1.0}, "unmeasured_proteins: expected a share"),
        ({"types_missing_per_batch": 5}, "types_missing_per_batch: expected a whole number from 0 to 4"),
        ({"types_missing_per_batch": 1.5}, "types_missing_per_batch: expected a whole number"),
        ({"batch_proportions": (float("inf"), 1, 1, 1)}, "batch_proportions: expected 4 numbers above 0"),
        ({"rna_depth": float("inf")}, "rna_depth: expected a finite number"),
        ({"library_spread": 30}, "library_spread: expected from 0 to 5"),
    ],
)
def test_impossible_wishes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulationConfig(**changes)
