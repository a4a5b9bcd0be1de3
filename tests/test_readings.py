"""Cells read by fewer modalities than they have."""

from __future__ import annotations

import numpy as np

from midas import MIDAS
from midas.readings import Readings, read_by_combination


def test_cells_are_read_by_each_combination_that_enough_have(fitted: MIDAS) -> None:
    assert fitted.mosaic is not None
    found = read_by_combination(fitted.vae, fitted.mosaic, seed=0)
    present = {name: part.present[found.rows] for name, part in fitted.mosaic.modalities.items()}
    assert found.c
    for key, c in found.c.items():
        having = np.logical_and.reduce([present[name] for name in key.split("+")])
        assert having.sum() >= 100
        np.testing.assert_array_equal(np.isfinite(c).all(1), having)
    whole = fitted.latent()[found.rows]
    assert not np.allclose(found.c["rna"], whole, equal_nan=True)


def test_modalities_that_the_model_has_not_are_left_out() -> None:
    c = np.zeros((100, 2), dtype=np.float32)
    found = Readings(np.arange(100), {"adt": c, "adt+rna": c + 1, "rna": c[:50]})
    assert found.get("adt+methylation+rna") is found.c["adt+rna"]
    assert found.get("rna") is None
    assert found.get("methylation") is None
