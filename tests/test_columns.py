"""Any column of obs can be written and read again."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from midas.columns import alike, writable

COLUMNS = {
    "day": (
        pd.to_datetime(["2024-02-29 00:00", None, "2024-03-01 12:00"]),
        ["2024-02-29", None, "2024-03-01 12:00:00"],
    ),
    "took": (pd.to_timedelta([1, 2, None], unit="h"), ["0 days 01:00:00", "0 days 02:00:00", None]),
    "month": (pd.PeriodIndex(["2024-01", "2024-02", "2024-03"], freq="M"), ["2024-01", "2024-02", "2024-03"]),
    "days": (pd.Categorical(pd.to_datetime(["2024-02-29"] * 3)), ["2024-02-29"] * 3),
    "mixed": ([1, "a", None], ["1", "a", None]),
    "yes": ([True, None, False], [True, None, False]),
    "number": ([1, None, 2.5], [1.0, None, 2.5]),
    "text": (["a", None, "b"], ["a", None, "b"]),
    "none": ([None, None, None], [None, None, None]),
    "_index": ([1, 2, 3], [1, 2, 3]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_from_a_file(name: str, tmp_path: Path) -> None:
    given, expected = COLUMNS[name]
    table = pd.DataFrame({name: pd.Series(given).array}, index=["a", "b", "c"])
    before = table.copy()
    ad.AnnData(np.ones((3, 1)), obs=writable(table)).write_h5ad(tmp_path / "x.h5ad")
    found = ad.read_h5ad(tmp_path / "x.h5ad").obs[name.strip("_")]
    assert [None if pd.isna(value) else value for value in found] == expected
    pd.testing.assert_frame_equal(table, before)


def test_categories_of_mixed_kinds_become_text(tmp_path: Path) -> None:
    for values, expected in (([1, "a", 1], ["1", "a", "1"]), ([1, "1", None], ["1", "1", None])):
        table = pd.DataFrame({"v": pd.Categorical(values)}, index=["x", "y", "z"])
        ad.AnnData(obs=writable(table)).write_h5ad(tmp_path / "a.h5ad")
        found = ad.read_h5ad(tmp_path / "a.h5ad").obs["v"]
        assert found.astype(object).where(found.notna(), None).tolist() == expected


def test_columns_that_are_joined_keep_what_they_say() -> None:
    one, other = alike(pd.Series([1, 2]), pd.Series([3.0, np.nan]))
    assert pd.concat([one, other]).astype(str).tolist() == ["1", "2", "3", "<NA>"]
    one, other = alike(pd.Series(pd.Categorical([1, 2])), pd.Series(pd.Categorical(["s", None])))
    assert pd.concat([one, other]).tolist()[:3] == ["1", "2", "s"]
    day = pd.Series(pd.to_datetime(["2020-01-01"]))
    assert alike(day, pd.Series(["x"]))[0].tolist() == ["2020-01-01"]
    assert alike(one, other)[0] is one


def test_nullable_fractions_are_written(tmp_path: Path) -> None:
    one, other = alike(pd.Series([1.5, np.nan]), pd.Series([1]))
    table = pd.DataFrame({"v": pd.concat([one, other]).array}, index=["x", "y", "z"])
    ad.AnnData(obs=writable(table)).write_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(ad.read_h5ad(tmp_path / "a.h5ad").obs["v"], [1.5, np.nan, 1.0])


def test_names_that_files_cannot_hold_are_given_others(tmp_path: Path) -> None:
    table = pd.DataFrame([[1, 2, 3, 4, 5]], columns=["", ".", 5, "5", "_index"], index=["c"])
    found = writable(table)
    assert found.columns.tolist() == ["unnamed", "unnamed_", "5", "5_", "index"]
    ad.AnnData(np.ones((1, 1)), obs=found).write_h5ad(tmp_path / "x.h5ad")
    assert ad.read_h5ad(tmp_path / "x.h5ad").obs.columns.tolist() == found.columns.tolist()
    assert table.columns.tolist()[0] == ""
