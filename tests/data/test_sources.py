"""Rows come out the same, in the order asked for, whatever holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from helpers import counts
from midas.data.sources import BackedSource, MemorySource, Source, open_source

VALUES = counts(12, 7, rate=0.8).toarray()
INDEX = np.array([11, 0, 5, 5, 2])


def on_disk(matrix: object, folder: Path) -> Source:
    ad.AnnData(matrix).write_h5ad(folder / "x.h5ad")
    return open_source(ad.read_h5ad(folder / "x.h5ad", backed="r").X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array])
def test_rows_of_matrices_in_memory(form: Callable[[Any], Any], dtype: type) -> None:
    source = open_source(form(VALUES.astype(dtype)))
    assert isinstance(source, MemorySource)
    assert source.shape == VALUES.shape
    np.testing.assert_array_equal(source.rows(INDEX).toarray(), VALUES[INDEX])


@pytest.mark.parametrize(
    ("form", "kind"), [(np.asarray, BackedSource), (sp.csr_matrix, BackedSource), (sp.csc_matrix, MemorySource)]
)
def test_rows_of_matrices_on_disk(form: Callable[[Any], Any], kind: type, tmp_path: Path) -> None:
    source = on_disk(form(VALUES), tmp_path)
    assert isinstance(source, kind)
    assert source.shape == VALUES.shape
    for index in (INDEX, np.arange(12), np.array([3])):
        np.testing.assert_array_equal(source.rows(index).toarray(), VALUES[index])


def test_entries_that_are_listed_twice_are_added_and_the_input_stays_as_it_was() -> None:
    matrix = sp.csr_matrix((np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    found = open_source(matrix).rows(np.array([0, 1]))
    assert found.toarray().tolist() == [[0, 3], [4, 0]]
    assert found.nnz == 2
    assert matrix.nnz == 3


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected counts as a sparse or dense matrix, found list"):
        open_source([[1, 2]])


@pytest.mark.parametrize("kinds", [(np.int32, np.int64), (np.int64, np.int32), (np.int64, np.int64)])
def test_index_arrays_of_two_types_are_made_one(kinds: tuple[type, type]) -> None:
    matrix = sp.csr_matrix(VALUES)
    matrix.indices, matrix.indptr = matrix.indices.astype(kinds[0]), matrix.indptr.astype(kinds[1])
    source = MemorySource(matrix)
    held = source._matrix
    assert held.indices.dtype == held.indptr.dtype
    assert np.shares_memory(held.data, matrix.data)
    assert (matrix.indices.dtype, matrix.indptr.dtype) == kinds  # the user's own is left alone
    np.testing.assert_array_equal(source.rows(INDEX).toarray(), VALUES[INDEX])


def test_stored_numbers_are_known_to_be_positive_only_when_all_are() -> None:
    assert MemorySource(sp.csr_matrix(np.eye(3))).positive
    assert not MemorySource(np.eye(3)).positive  # dense: zeros are stored
    for stored in (0.0, -1.0):
        matrix = sp.csr_matrix(np.eye(3))
        matrix.data[1] = stored
        assert not MemorySource(matrix).positive


def test_an_entry_that_a_file_lists_twice_counts_as_one_sum(tmp_path: Path) -> None:
    matrix = sp.csr_matrix(
        (np.array([2.0, 3.0, 1.0], np.float32), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 3)
    )
    ad.AnnData(matrix).write_h5ad(tmp_path / "twice.h5ad")
    with h5py.File(tmp_path / "twice.h5ad", "r+") as file:  # as other programs may write it
        for key, kept in (("data", [2, 3, 1]), ("indices", [1, 1, 0]), ("indptr", [0, 2, 3])):
            del file["X"][key]
            file["X"][key] = np.array(kept, dtype=np.float32 if key == "data" else np.int32)
    backed = ad.read_h5ad(tmp_path / "twice.h5ad", backed="r")
    assert BackedSource(backed.X).rows(np.arange(2)).toarray().tolist() == [[0, 5, 0], [1, 0, 0]]


def test_sums_of_narrow_entries_do_not_wrap_around() -> None:
    twice = sp.csr_matrix((np.array([200, 100], dtype=np.uint8), [1, 1], [0, 2]), shape=(1, 3))
    assert MemorySource(twice).rows(np.array([0])).toarray().tolist() == [[0, 300, 0]]


def test_half_precision_is_widened(tmp_path: Path) -> None:
    matrix = np.array([[1, 0], [2, 3]], dtype=np.float16)
    for source in (MemorySource(matrix), on_disk(matrix, tmp_path)):
        np.testing.assert_array_equal(source.rows(np.array([1, 0])).toarray(), matrix[::-1])
