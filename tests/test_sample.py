"""Samples of cells keep rare groups, and come back with the same counts and masks."""

from __future__ import annotations

from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from helpers import dense, names, one
from midas import MIDAS, keys, read_mosaic
from midas.io import read_file, write_mudata
from midas.sample import evenly, read_sampled, representative, sampled


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), n=st.integers(0, 120), seed=st.integers(0, 5))
def test_evenly_takes_as_many_of_each_group_as_it_has(sizes: list[int], n: int, seed: int) -> None:
    group = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    at = evenly(group, n, seed)
    assert len(at) == min(n, len(group))
    assert (np.diff(at) > 0).all()
    taken = np.bincount(group[at], minlength=len(sizes))
    most = taken.max(initial=0)
    for got, there in zip(taken, sizes, strict=True):
        assert got == there or got >= most - 1
    np.testing.assert_array_equal(at, evenly(group, n, seed))


def test_evenly_with_one_rare_group() -> None:
    group = np.array([0] * 990 + [1] * 10)
    assert np.bincount(group[evenly(group, 20, 0)]).tolist() == [10, 10]
    assert np.bincount(group[evenly(group, 100, 0)]).tolist() == [90, 10]


def test_a_rare_region_is_in_a_representative_sample() -> None:
    rng = np.random.default_rng(0)
    c = rng.normal(size=(2000, 3))
    c[:10] += 30
    c[5] = np.nan
    obs = pd.DataFrame({keys.BATCH: ["a"] * 1900 + ["b"] * 100}, index=[f"c{i}" for i in range(2000)])
    cells = AnnData(obs=obs, obsm={keys.LATENT: c})
    at = representative(cells, np.arange(2000), 200, 0)
    assert len(at) == 200
    assert 5 not in at
    assert (at < 10).sum() >= 3  # one in 200 of the cells, at least three in 200 of the sample
    assert (at >= 1900).sum() >= 50  # one in 20, a quarter at least
    rows = np.arange(1999, 1499, -1)  # positions are those in `rows`
    assert representative(cells, rows, 100, 0).max() < 500


@pytest.mark.parametrize("n", [1, 7, 60, 500])
def test_a_sample_comes_back_from_a_file(n: int, fitted: MIDAS, tmp_path: Path) -> None:
    mosaic, rows = fitted.counts()
    write_mudata(tmp_path / "s.h5mu", sampled(mosaic, rows, fitted.cells, n, 0))
    again, at = read_sampled(read_file(tmp_path / "s.h5mu"), fitted.schema)
    assert again.n_cells == len(at) == min(n, 120)
    for name in fitted.modalities:
        expected = dense(mosaic, name).iloc[at]
        np.testing.assert_array_equal(dense(again, name).to_numpy(), expected.to_numpy())
    for name, b in zip(again.batches, again.known_batch, strict=True):
        assert fitted.schema.batches[b] == name


def test_a_sample_says_nothing_of_its_cells_but_counts_and_batch(fitted: MIDAS) -> None:
    sample = sampled(*fitted.counts(), fitted.cells, 20, 0)
    assert set(sample.obs.columns) == {keys.BATCH, keys.SAMPLED_ROW}
    assert not set(sample.obs_names) & set(fitted.cells.obs_names)


def test_masks_of_features_are_kept(mdata: md.MuData) -> None:
    flags = pd.DataFrame(True, index=["batch1", "batch2", "batch3"], columns=mdata["rna"].var_names)
    flags.iloc[1, :7] = False
    mosaic = read_mosaic(mdata, measured={"rna": flags})
    obs = pd.DataFrame({keys.BATCH: np.asarray(mosaic.batches)[mosaic.batch]}, index=mosaic.cells)
    cells = AnnData(obs=obs, obsm={keys.LATENT: np.random.default_rng(0).normal(size=(120, 2))})
    again, at = read_sampled(sampled(mosaic, np.arange(120), cells, 50, 0), mosaic.schema)
    np.testing.assert_array_equal(dense(again, "rna").to_numpy(), dense(mosaic, "rna").iloc[at].to_numpy())


def test_zeros_that_were_measured_are_in_a_sample_without_a_count(caplog: pytest.LogCaptureFixture) -> None:
    """A protein that one cell of a batch shows, which is not in the sample, is measured in the others all the same."""
    batch = np.array(["a"] * 110 + ["b"] * 110)
    adt = one(names("c", 220), names("p", 5), batch)
    adt.X = adt.X.toarray() + 1
    adt.X[:110, 0] = np.arange(110) == 7
    mosaic = read_mosaic({"adt": adt})
    c = np.random.default_rng(0).normal(size=(220, 2))
    c[7] = np.nan  # not to be drawn
    cells = AnnData(obs=pd.DataFrame({keys.BATCH: batch}, index=mosaic.cells), obsm={keys.LATENT: c})
    again, at = read_sampled(sampled(mosaic, np.arange(220), cells, 219, 0), mosaic.schema)
    assert 7 not in at
    assert mosaic.modalities["adt"].measured.all()
    assert again.modalities["adt"].measured.all()
    assert again.schema is mosaic.schema
    assert "not measured" not in caplog.text
