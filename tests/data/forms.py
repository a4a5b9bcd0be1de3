"""Names for small data, and when two mosaics are the same."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers import dense, names, one
from midas import Mosaic, read_mosaic
from midas.data import MosaicSchema

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


def schema_of(*parts: tuple[str, list[str]]) -> MosaicSchema:
    return read_mosaic({name: one(CELLS, features, ["b1", "b2"] * 4) for name, features in parts}).schema
