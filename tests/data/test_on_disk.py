"""Cells left on disk: read in runs of neighbours, drawn from a bounded buffer, with the result of cells in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import counts, dense, names, one, tiny
from midas import MIDAS, read_mosaic
from midas.data import gather, loader
from midas.data.sources import BackedSource
from midas.io import read_file, write_mudata


class Noted:
    """A dataset that notes which rows were asked for."""

    def __init__(self, matrix: Any) -> None:
        self.matrix, self.asked = matrix, []

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    def __getitem__(self, rows: slice) -> Any:
        self.asked.append((rows.start, rows.stop))
        return self.matrix[rows]


@pytest.fixture
def store(mdata: md.MuData, tmp_path: Path) -> Path:
    write_mudata(tmp_path / "in.h5mu", mdata)
    return tmp_path / "in.h5mu"


def test_neighbours_are_read_together() -> None:
    dataset = Noted(counts(200, 5))
    index = np.array([3, 150, 4, 6, 3, 100])
    found = BackedSource(dataset).rows(index)
    np.testing.assert_array_equal(found.toarray(), dataset.matrix[index].toarray())
    assert dataset.asked == [(3, 7), (100, 101), (150, 151)]


def test_an_epoch_sees_each_cell_once_and_holds_few(
    store: Path, mdata: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_CHUNK", 8)
    monkeypatch.setattr(loader, "_ENTRIES_AT_ONCE", 2000)
    mosaic, memory = read_mosaic(read_file(store, backed=True)), read_mosaic(mdata)
    assert mosaic.on_disk
    assert not memory.on_disk
    assert 8 <= loader.cells_at_once(mosaic) < 80
    cells = mosaic.canonical_order()
    rng = np.random.default_rng(0)
    indices = loader.epoch_indices(cells, mosaic.batch, 16, tiny().training, rng, mosaic, order="stored")
    assert sorted(np.concatenate(indices)) == list(range(120))
    assert max(map(len, indices)) - min(map(len, indices)) <= 1
    held = []
    original = type(mosaic).load
    monkeypatch.setattr(
        type(mosaic), "load", lambda self, index, only: held.append(len(index)) or original(self, index, only)
    )
    for minibatch, index in zip(loader.collect(mosaic, indices), indices, strict=True):
        expected = gather(memory, index)
        np.testing.assert_array_equal(minibatch.index, index)
        np.testing.assert_array_equal(minibatch.batch, expected.batch)
        assert set(minibatch.counts) == set(expected.counts)
        for name, part in expected.counts.items():
            np.testing.assert_array_equal(minibatch.counts[name].cells, part.cells)
            np.testing.assert_array_equal(minibatch.counts[name].dense("identity"), part.dense("identity"))
    assert len(held) >= 2
    assert max(held) <= max(loader.cells_at_once(mosaic), 16)


def test_epochs_differ_and_repeat_with_their_seed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_CHUNK", 8)
    monkeypatch.setattr(loader, "_ENTRIES_AT_ONCE", 2000)
    mosaic = read_mosaic(read_file(store, backed=True))
    cells = mosaic.canonical_order()
    draws = [
        np.concatenate(
            loader.epoch_indices(
                cells, mosaic.batch, 16, tiny().training, np.random.default_rng(seed), mosaic, order="stored"
            )
        )
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_training_from_disk_ends_where_training_in_memory_does(
    store: Path, mdata: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_CHUNK", 8)
    monkeypatch.setattr(loader, "_ENTRIES_AT_ONCE", 4000)
    losses = {}
    for kind, seed in (("memory", 0), ("memory again", 1), ("disk", 0)):
        data = read_file(store, backed=True) if kind == "disk" else mdata
        config = tiny(epochs=15, batch_size=16, network={"dropout": 0.0})
        losses[kind] = MIDAS(data, config=config, seed=seed).fit(progress=False).history["total"].to_numpy()
    assert losses["disk"][-1] < losses["disk"][0]
    spread = abs(losses["memory"][-1] - losses["memory again"][-1]) + 0.02 * losses["memory"][-1]
    assert abs(losses["disk"][-1] - losses["memory"][-1]) < 3 * spread


def test_what_is_not_counts_is_found_on_disk(tmp_path: Path) -> None:
    adata = one(names("c", 50), names("g", 4))
    adata.X.data[77] = 0.5
    adata.write_h5ad(tmp_path / "x.h5ad")
    cell = adata.obs_names[np.searchsorted(adata.X.indptr, 77, side="right") - 1]
    with pytest.raises(ValueError, match=f"values that are not whole, first 0.5 at cell '{cell}'"):
        read_mosaic(ad.read_h5ad(tmp_path / "x.h5ad", backed="r"))


def test_a_file_that_shrinks_is_named_with_the_place(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("data", data=np.ones((500, 300), dtype=np.float32), chunks=(10, 300))
    with h5py.File(tmp_path / "x.h5") as file:
        source = BackedSource(file["data"])
        source.rows(np.arange(3))
        with (tmp_path / "x.h5").open("r+b") as raw:
            raw.truncate(100_000)
        with pytest.raises(OSError, match=r"x\.h5/data: expected to read rows 400 to 409, found a damaged or changed"):
            source.rows(np.arange(400, 410))


def test_some_rows_of_several_modalities_in_one_file_are_read(tmp_path: Path) -> None:
    adata = one(names("c", 40), names("g", 6), ["b1", "b2"] * 20)
    adata.var["feature_types"] = np.array(["Gene Expression", "Antibody Capture"])[np.arange(6) % 2]
    adata.write_h5ad(tmp_path / "x.h5ad")
    stored = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    for found, expected in ((stored[::2], adata[::2]), (stored[:, 1:], adata[:, 1:])):
        mosaic = read_mosaic(found)
        for name in ("rna", "adt"):
            pd.testing.assert_frame_equal(dense(mosaic, name), dense(read_mosaic(expected.copy()), name))
