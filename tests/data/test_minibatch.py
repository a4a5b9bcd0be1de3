"""A minibatch holds the counts of its cells and nothing that was not measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from helpers import dense, names, one, simulated
from midas import Modality, Mosaic, read_mosaic
from midas.data import Counts, gather
from midas.data.read import read_for_model

INDEX = np.random.default_rng(0).integers(120, size=40)  # some cells twice


def filled(counts: Counts) -> np.ndarray:
    """Counts as a dense array, NaN where the feature was not measured."""
    values = counts.dense("identity").numpy().astype(float)
    if counts.mask is not None:
        values[counts.mask.numpy() == 0] = np.nan
    return values


@pytest.fixture(scope="module")
def mosaic() -> Mosaic:
    return read_mosaic(simulated(unmeasured_genes=0.3, unmeasured_proteins=0.3))


def test_counts_are_those_of_the_cells_in_their_order(mosaic: Mosaic) -> None:
    minibatch = gather(mosaic, INDEX)
    assert minibatch.n_cells == len(INDEX)
    assert minibatch.batch.tolist() == mosaic.batch[INDEX].tolist()
    for name, counts in minibatch.counts.items():
        expected = dense(mosaic, name).to_numpy()[INDEX]
        has = mosaic.modalities[name].present[INDEX]
        assert 0 < has.sum() < len(INDEX)
        assert counts.cells.tolist() == np.flatnonzero(has).tolist()
        expected = expected[has]
        if name == "atac":
            expected = np.where(np.isnan(expected), expected, expected > 0)
        np.testing.assert_array_equal(filled(counts), expected)


def test_what_no_cell_has_and_what_was_not_asked_for_is_left_out(mosaic: Mosaic) -> None:
    only_rna = np.flatnonzero((mosaic.combinations() == "rna").to_numpy())[:2]
    assert set(gather(mosaic, only_rna).counts) == {"rna"}
    assert set(gather(mosaic, INDEX, frozenset({"adt", "atac"})).counts) == {"adt", "atac"}


def test_there_is_a_mask_only_where_something_is_missing() -> None:
    assert gather(read_mosaic(simulated()), INDEX).counts["rna"].mask is None


def test_counts_of_features_that_were_not_measured_reach_nobody() -> None:
    """A table says that a batch did not measure a feature, though the matrix holds a number."""
    adata = one(names("c", 4), ["g0", "g1"], ["b1", "b1", "b2", "b2"])
    adata.X = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], dtype=np.float32)
    table = pd.DataFrame({"g1": [False]}, index=["b2"])
    counts = gather(read_mosaic(adata, measured={"rna": table}), np.array([3, 0])).counts["rna"]
    assert counts.dense("identity").tolist() == [[7, 0], [1, 2]]
    assert counts.mask is not None
    assert counts.mask.tolist() == [[1, 0], [1, 1]]


def test_objects_with_other_features_in_another_order_are_put_together() -> None:
    first = one(["a", "b"], ["g2", "g0"], None)
    second = one(["c"], ["g1", "g2"], None, seed=1)
    first.X = np.array([[1, 2], [0, 3]], dtype=np.float32)
    second.X = sp.csr_matrix(np.array([[4, 5]], dtype=np.int64))
    mosaic = read_mosaic({"b1": first, "b2": second})
    counts = gather(mosaic, np.array([2, 1, 0])).counts["rna"]
    np.testing.assert_array_equal(filled(counts), [[np.nan, 4, 5], [3, np.nan, 0], [2, np.nan, 1]])


@pytest.mark.parametrize(
    ("transform", "expected"), [("identity", [[0, 3]]), ("log1p", [[0, np.log(4)]]), ("binarize", [[0, 1]])]
)
def test_transforms(transform: str, expected: list[list[float]]) -> None:
    adata = one(["a"], ["g0", "g1"])
    adata.X = sp.csr_matrix((np.array([0.0, 3.0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 2))
    kind = Modality("poisson", transform)  # type: ignore[arg-type]
    counts = gather(read_mosaic({"rna": adata}, modalities={"rna": kind}), np.array([0])).counts["rna"]
    assert counts.values.tolist() == [1.0] if transform == "binarize" else [3.0]  # no entry for the stored zero
    np.testing.assert_allclose(counts.dense(transform).numpy(), expected, rtol=1e-6)  # type: ignore[arg-type]


def test_cells_of_an_unknown_batch_are_marked() -> None:
    schema = read_mosaic(one(names("c", 4), ["g0"], ["b1", "b1", "b2", "b2"])).schema
    query = read_for_model(one(["q", "r"], ["g0"], ["b2", "b0"]), schema=schema)
    assert gather(query, np.array([0, 1])).batch.tolist() == [1, -1]


def test_a_minibatch_travels_whole(mosaic: Mosaic) -> None:
    minibatch = gather(mosaic, INDEX)
    there = minibatch.to(torch.device("meta"))
    assert there.batch.device.type == "meta"
    for name, counts in there.counts.items():
        tensors = [counts.cells, counts.flat, counts.values, *([] if counts.mask is None else [counts.mask])]
        assert {tensor.device.type for tensor in tensors} == {"meta"}
        assert (counts.mask is None) == (minibatch.counts[name].mask is None)
