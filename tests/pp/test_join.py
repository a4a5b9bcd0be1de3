"""Batches put into one mosaic: cells by name, features masked, zeros where not measured."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from helpers import dense, names, one, table
from midas import pp, read_mosaic
from midas.io import read_file, write_mudata


def test_shared_barcodes_stay_two_cells_and_modalities_meet() -> None:
    a, b = one(["x", "y"], ["g", "h"], None), one(["x"], ["h", "i"], None, seed=1)
    protein = one(["y"], ["CD3"], None, seed=2)
    mdata = pp.join_batches({"rna": {"a": a, "b": b}, "adt": {"a": protein}})
    assert mdata.obs_names.tolist() == ["a_x", "a_y", "b_x"]
    assert mdata.obs["batch"].tolist() == ["a", "a", "b"]
    assert mdata.obs["barcode"].tolist() == ["x", "y", "x"]
    assert mdata["adt"].obs_names.tolist() == ["a_y"]
    assert mdata["rna"].var["measured_a"].tolist() == [True, True, False]
    assert mdata["rna"].var["measured_b"].tolist() == [False, True, True]
    assert (mdata["rna"].X.format, mdata["rna"].X.dtype) == ("csr", np.float32)
    found = dense(read_mosaic(mdata), "rna")
    np.testing.assert_array_equal(found.loc["a_x", ["g", "h"]], table(a).loc["x"])
    np.testing.assert_array_equal(found.loc["b_x", ["h", "i"]], table(b).loc["x"])
    assert found.isna().sum().tolist() == [1, 0, 2]


def test_unique_names_are_kept_and_features_ordered() -> None:
    mdata = pp.join_batches(
        {"rna": {"a": one(["x"], ["g", "h"], None), "b": one(["z"], ["h"], None)}},
        features={"rna": pd.Index(["h", "g", "none"])},
        batch_key="donor",
    )
    assert mdata.obs_names.tolist() == ["x", "z"]
    assert mdata["rna"].var_names.tolist() == ["h", "g"]
    assert mdata.obs["donor"].tolist() == ["a", "b"]


def test_columns_of_cells_are_joined() -> None:
    a, b, protein = one(["x"], ["g"], None), one(["y"], ["g"], None), one(["y", "z"], ["CD3"], None)
    a.obs["type"] = pd.Categorical(["T"])
    protein.obs["type"] = pd.Categorical(["B", "NK"])
    mdata = pp.join_batches({"rna": {"a": a, "b": b}, "adt": {"b": protein}})
    assert mdata.obs["type"].tolist() == ["T", "B", "NK"]


def test_columns_that_a_batch_lacks_can_be_written(tmp_path: Path) -> None:
    a, b = one(["x"], ["g"], None), one(["y"], ["g"], None)
    a.obs["doublet"], a.obs["age"], a.obs["text"], a.obs["odd"] = True, 3, "t", 5
    b.obs["odd"] = ["text"]
    mdata = pp.join_batches({"rna": {"a": a, "b": b}})
    write_mudata(tmp_path / "m.h5mu", mdata)
    obs = read_file(tmp_path / "m.h5mu").obs
    assert obs["doublet"].tolist()[0] is True
    assert obs["doublet"].isna().tolist() == [False, True]
    assert obs["age"].tolist()[0] == 3
    assert obs["text"].tolist()[0] == "t"
    assert obs["odd"].tolist() == ["5", "text"]


def test_inputs_are_left_as_they_were() -> None:
    a = one(["x"], ["g", "h"], None)
    before = a.copy()
    pp.join_batches({"rna": {"a": a}}, features={"rna": pd.Index(["h"])})
    assert isinstance(a, ad.AnnData)
    assert a.shape == before.shape
    assert a.obs.columns.tolist() == before.obs.columns.tolist()


def test_categories_keep_their_order() -> None:
    stages = pd.CategoricalDtype(["young", "old", "dead"], ordered=True)
    batches = {batch: one(names(batch, 4), ["g1", "g2"], None) for batch in "ab"}
    for adata in batches.values():
        adata.obs["stage"] = pd.Categorical(["old", "young"] * 2, dtype=stages)
    batches["a"].obs["site"] = pd.Categorical(["lung"] * 4)
    mdata = pp.join_batches({"rna": batches})
    for obs in (mdata.obs, mdata["rna"].obs):
        assert obs["stage"].cat.ordered
        assert obs["stage"].cat.categories.tolist() == ["young", "old"]
        assert obs["site"].isna().sum() == 4
