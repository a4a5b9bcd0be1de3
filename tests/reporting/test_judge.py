"""``midas.diagnose``: the findings as a table, of own cells and of new ones."""

from __future__ import annotations

import mudata as md
import pytest

import midas
from helpers import joined, names, one, tiny
from midas import MIDAS

KEYS = ["batch", "structure", "alignment", "bridges", "technical", "training"]


def test_findings_are_a_table(fitted: MIDAS, mdata: md.MuData, query: md.MuData) -> None:
    own = midas.diagnose(fitted)
    assert own.index.tolist() == KEYS
    assert set(own["level"]) <= {"good", "look", "poor", "none"}
    assert own.attrs["advice"]
    assert "types" in own.loc["structure", "sentence"]
    given = midas.diagnose(fitted, mdata, label="cell_type")
    assert given["sentence"].tolist() == own["sentence"].tolist()
    assert midas.diagnose(fitted, query).index.tolist() == KEYS
    with pytest.raises(KeyError, match="nope"):
        midas.diagnose(fitted, mdata, label="nope")


def test_few_cells_of_one_modality_are_not_judged() -> None:
    model = MIDAS(joined({"rna": one(names("c", 5), names("g", 8))}), config=tiny()).fit(progress=False)
    found = midas.diagnose(model)
    assert found.loc[["batch", "structure", "alignment"], "level"].tolist() == ["none", "none", "none"]


def test_a_label_is_missed_where_there_are_no_columns() -> None:
    data = one(names("c", 20), names("g", 8), None)
    model = MIDAS(data, batch_key=None, config=tiny()).fit(progress=False)
    assert midas.diagnose(model, data).index.tolist() == KEYS
    for given in (None, data):
        with pytest.raises(KeyError, match=r"none called 'nonsense'\. There are: none"):
            midas.diagnose(model, given, label="nonsense")


def test_a_model_without_data_asks_for_them(saved: str) -> None:
    with pytest.raises(ValueError, match="Expected data, as this model was loaded without"):
        midas.diagnose(MIDAS.load(saved))
