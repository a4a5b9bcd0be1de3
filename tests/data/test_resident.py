"""Minibatches collected where all counts already are hold what others do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import simulated, tiny
from midas import MIDAS, Mosaic, read_mosaic
from midas.data import Counts, Minibatch, gather
from midas.data.resident import Resident, held_on
from midas.io import read_file
from midas.ranks import ALONE, Ranks

CPU = torch.device("cpu")
INDEX = np.random.default_rng(0).integers(120, size=40)  # some cells twice


def same(found: Minibatch, expected: Minibatch) -> None:
    assert found.index.tolist() == expected.index.tolist()
    assert found.batch.tolist() == expected.batch.tolist()
    assert (found.known is None) == (expected.known is None)
    if found.known is not None and expected.known is not None:
        assert found.known.tolist() == expected.known.tolist()
    assert found.counts.keys() == expected.counts.keys()
    for name, part in found.counts.items():
        other = expected.counts[name]
        assert part.cells.tolist() == other.cells.tolist()
        assert part.n_features == other.n_features
        np.testing.assert_array_equal(entries(part), entries(other))
        assert (part.mask is None) == (other.mask is None)
        if part.mask is not None and other.mask is not None:
            assert torch.equal(part.mask, other.mask)


def entries(counts: Counts) -> np.ndarray:
    found = np.stack([counts.flat.numpy().astype(float), counts.values.numpy()])
    return found[:, np.argsort(found[0], kind="stable")]


def mosaics(folder: Path) -> dict[str, Mosaic]:
    mdata = simulated(unmeasured_genes=0.3, unmeasured_proteins=0.3)
    mdata.write(folder / "cells.h5mu")
    complete = simulated()
    of_batch = {
        str(b): complete["rna"][complete["rna"].obs["batch"] == b].copy() for b in complete["rna"].obs["batch"].unique()
    }
    mosaic = read_mosaic(mdata)
    return {
        "features that batches did not measure": mosaic,
        "on disk": read_mosaic(read_file(folder / "cells.h5mu", backed=True)),
        "several sources": read_mosaic(of_batch),
        "a batch that the model does not know": replace(
            mosaic, known_batch=np.where(np.arange(len(mosaic.batches)) == 1, -1, mosaic.known_batch)
        ),
    }


def test_minibatches_are_those_of_the_loader(tmp_path: Path) -> None:
    for mosaic in mosaics(tmp_path).values():
        resident = Resident(mosaic, CPU)
        for index in (np.minimum(INDEX, mosaic.n_cells - 1), np.arange(mosaic.n_cells), np.array([7])):
            same(resident.gather(index), gather(mosaic, index))


def test_a_run_is_that_of_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> MIDAS:
        return MIDAS(simulated(), config=tiny(epochs=3, validation_fraction=0.2)).fit(progress=False)

    plain = trained()
    monkeypatch.setattr("midas.training.loop.held_on", lambda mosaic, device, _: Resident(mosaic, device))
    held = trained()
    assert held.history["val_total"].tolist() == plain.history["val_total"].tolist()
    np.testing.assert_array_equal(held.latent(), plain.latent())


def test_nothing_is_held_on_a_cpu() -> None:
    assert held_on(read_mosaic(simulated()), CPU, ALONE) is None


@pytest.mark.parametrize("free", [10, 10**9])
def test_counts_are_held_where_a_quarter_of_the_free_memory_is_enough(
    free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**10))
    made: list[torch.device] = []
    monkeypatch.setattr("midas.data.resident.Resident", lambda _, device: made.append(device))
    held_on(read_mosaic(simulated()), torch.device("cuda"), ALONE)
    assert len(made) == int(free == 10**9)


def test_processes_hold_counts_only_where_all_of_them_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 10**10))
    monkeypatch.setattr(Ranks, "all_gather", lambda _, mine: [mine, False])
    assert held_on(read_mosaic(simulated()), torch.device("cuda"), Ranks(0, 2)) is None
