"""Any column of obs can be written and read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

from helpers import joined, names, one
from midas import read_mosaic
from midas.columns import alike, all_columns, as_text, writable

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
    "whole": ([1, None, 2], [1, None, 2]),
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


def two() -> MuData:
    """A MuData of RNA of six cells, and of proteins of the first three."""
    rna, adt = one(names("c", 6), names("g", 4), None), one(names("c", 3), names("p", 4), None)
    rna.obs["total_counts"], adt.obs["total_counts"] = [100] * 6, [5000] * 3
    rna.obs["cluster"], adt.obs["cluster"] = range(6), range(3)
    adt.obs["dead"] = [True, False, True]
    return joined({"rna": rna, "adt": adt})


@pytest.mark.parametrize("gathered", [all_columns, lambda mdata: read_mosaic(mdata, batch_key=None).obs])
def test_columns_of_two_modalities_are_one_where_they_agree(gathered: Callable[[MuData], pd.DataFrame]) -> None:
    table = gathered(two())
    assert set(table.columns) == {"rna:total_counts", "adt:total_counts", "cluster", "dead"}
    assert table["cluster"].tolist() == list(range(6))
    assert as_text(table["adt:total_counts"]).tolist() == ["5000"] * 3 + [None] * 3
    assert as_text(table["dead"]).tolist() == ["True", "False", "True", None, None, None]


def test_what_holds_for_all_cells_is_filled_from_the_modalities() -> None:
    mdata = two()
    mdata.obs["cluster"] = [7, None, None, None, None, None]
    for table in (all_columns(mdata), read_mosaic(mdata, batch_key=None).obs):
        assert as_text(table["cluster"]).tolist() == ["7", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("gathered", [all_columns, lambda mdata: read_mosaic(mdata, batch_key=None).obs])
def test_a_copy_that_was_edited_is_what_its_name_says(gathered: Callable[[MuData], pd.DataFrame]) -> None:
    mdata = two()
    mdata.obs["rna:total_counts"] = [100, 100, 100, 100, 100, 7]
    mdata.obs["adt:dead"] = ["no", "no", "yes", None, None, None]
    table = gathered(mdata)
    assert table["rna:total_counts"].tolist() == [100] * 5 + [7]
    assert as_text(table["adt:total_counts"]).tolist() == ["5000"] * 3 + [None] * 3
    assert as_text(table["adt:dead"]).tolist() == ["no", "no", "yes", None, None, None]


def test_copies_of_columns_go_by_the_names_of_the_data() -> None:
    mdata = two()
    mdata.mod["prot"] = mdata.mod.pop("adt")
    mdata.obs["prot:dead"] = [True, False, True, None, None, None]
    obs = read_mosaic(mdata, batch_key=None).obs
    assert "prot:dead" not in obs
    assert "dead" in obs


@pytest.mark.parametrize("name", ["day", "took", "month", "days", "whole", "text"])
def test_groups_are_called_the_same_in_files(name: str) -> None:
    table = pd.DataFrame({name: pd.Series(COLUMNS[name][0]).array})
    assert as_text(table[name]).tolist() == as_text(writable(table)[name]).tolist()


def test_whole_numbers_beside_missing_ones_name_groups_as_they_are_written() -> None:
    assert as_text(pd.Series([1.0, 0.5, np.nan])).tolist() == ["1", "0.5", None]
    assert as_text(pd.Series([1, None], dtype="Int64")).tolist() == ["1", None]
    assert as_text(pd.Series(pd.Categorical([2.0, None]))).tolist() == ["2", None]
