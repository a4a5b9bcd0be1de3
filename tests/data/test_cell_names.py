"""Names of cells come back as they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from midas.data.names import CellNames

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(TEXT, max_size=20), st.data())
def test_chosen_names_are_those_of_an_index(names: list[str], data: st.DataObject) -> None:
    index = pd.Index(names, dtype=object)
    held = CellNames.of(index)
    assert len(held) == len(index)
    assert held.index().equals(index)
    rows = np.asarray(data.draw(st.lists(st.integers(0, len(names) - 1), max_size=30)) if names else [], dtype=np.int64)
    assert held.take(rows).index().tolist() == index[rows].tolist()
    assert held.append(held.take(rows)).index().tolist() == [*names, *index[rows]]


def test_names_that_are_no_text_are_written_out() -> None:
    assert CellNames.of(pd.Index([3, 1])).index().tolist() == ["3", "1"]


def test_many_names() -> None:
    names = pd.Index([f"cell-{i}" for i in range(250_001)])
    assert CellNames.of(names).index().equals(names)
