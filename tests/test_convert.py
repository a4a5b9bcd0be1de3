"""A converted file holds the same data by name, is read in portions, and is whole or not there."""

from __future__ import annotations

from pathlib import Path

import h5py
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import files_under, names, one, table
from midas import convert as module
from midas.convert import convert
from midas.io import DataFileError, read_file, write_mudata


def test_data_stay_the_same_in_a_smaller_type(
    mdata: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    mdata["adt"].X[3, 2] = 40_000
    mdata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(120, 3))
    mdata["rna"].layers["raw"] = mdata["rna"].X.copy()
    write_mudata(tmp_path / "in.h5mu", mdata)
    convert(tmp_path / "in.h5mu", tmp_path / "out.h5mu")
    assert files_under(tmp_path) == ["in.h5mu", "out.h5mu"]
    before, after = read_file(tmp_path / "in.h5mu"), read_file(tmp_path / "out.h5mu")
    assert list(after.mod) == list(before.mod)
    pd.testing.assert_frame_equal(after.obs, before.obs)
    np.testing.assert_array_equal(after.obsm["X_pca"], before.obsm["X_pca"])
    np.testing.assert_array_equal(after["rna"].layers["raw"].toarray(), before["rna"].layers["raw"].toarray())
    for name in before.mod:
        pd.testing.assert_frame_equal(table(after[name]), table(before[name]), check_dtype=False)
        pd.testing.assert_frame_equal(after[name].var, before[name].var)
    assert after["adt"].X.dtype == np.uint16
    assert after["atac"].X.dtype == np.uint8


@pytest.mark.parametrize("kind", ["csc", "dense", "not counts", "stored zeros", "no cells with counts"])
def test_any_matrix_becomes_csr(kind: str, tmp_path: Path) -> None:
    adata = one(names("c", 50), names("g", 6))
    if kind == "csc":
        adata.X = sp.csc_matrix(adata.X)
    elif kind == "dense":
        adata.X = adata.X.toarray()
    elif kind == "not counts":
        adata.X.data[5] = 0.5
    elif kind == "stored zeros":
        adata.X.data[:] = np.arange(len(adata.X.data)) % 3
    else:
        adata.X = sp.csr_matrix((50, 6), dtype=np.float32)
    adata.write_h5ad(tmp_path / "in.h5ad")
    convert(tmp_path / "in.h5ad", tmp_path / "out.h5ad")
    found = read_file(tmp_path / "out.h5ad")
    pd.testing.assert_frame_equal(table(found), table(adata), check_dtype=False)
    assert found.X.dtype == (np.float32 if kind == "not counts" else np.uint8)
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert file["X"].attrs["encoding-type"] == "csr_matrix"
        assert kind != "stored zeros" or (file["X/data"][:] != 0).all()


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("gone.h5ad", "out.h5ad", "expected a file, found none"),
        ("in.h5ad", "out.h5mu", r"expected the name to end in \.h5ad as the input, found '\.h5mu'"),
        ("in.h5ad", "in.h5ad", "found the same file"),
        ("in.h5ad", "in.h5ad/out.h5ad", "no folder"),
        ("text.h5ad", "out.h5ad", "expected a file that can be copied"),
    ],
)
def test_what_cannot_be_converted_is_refused(source: str, target: str, message: str, tmp_path: Path) -> None:
    one(names("c", 5), ["g"]).write_h5ad(tmp_path / "in.h5ad")
    (tmp_path / "text.h5ad").write_text("no")
    with pytest.raises(DataFileError, match=message):
        convert(tmp_path / source, tmp_path / target)
    assert files_under(tmp_path) == ["in.h5ad", "text.h5ad"]
