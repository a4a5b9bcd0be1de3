"""Loader, step, encoding and imputation on small simulated data, so that a slower commit shows.

``pytest benchmarks/speed.py --benchmark-autosave`` notes the times of a commit, ``--benchmark-compare`` sets the present ones
against them, ``--benchmark-compare-fail=median:20%`` fails where one is slower. Times are CPU seconds of this process.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import midas
from midas.convert import convert
from midas.data import gather, read_mosaic
from midas.data.loader import collect, epoch_indices
from midas.inference import encode
from midas.io import read_file, write_mudata
from midas.nn import Noise
from midas.training import train_step
from midas.training.loop import learner_for

CELLS = 128
pytestmark = pytest.mark.benchmark(timer=time.process_time, min_rounds=10, warmup=True, disable_gc=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speed")
    mdata = midas.simulate.mosaic(
        midas.simulate.SimulationConfig(n_cells=1500, n_genes=1000, n_proteins=100, n_peaks=2000)
    )
    write_mudata(folder / "in.h5mu", mdata)
    convert(folder / "in.h5mu", folder / "store.h5mu")
    return folder / "store.h5mu"


@pytest.fixture(scope="module")
def model(store: Path) -> midas.MIDAS:
    config = midas.Config.from_dict({"training": {"epochs": 1, "batch_size": CELLS, "accelerator": "cpu"}})
    return midas.MIDAS(read_file(store), config=config).fit(progress=False)


def drawn(mosaic: midas.Mosaic, config: midas.Config) -> list[np.ndarray]:
    cells = np.arange(mosaic.n_cells)
    return epoch_indices(cells, mosaic.batch, CELLS, config.training, np.random.default_rng(0), mosaic)


@pytest.mark.parametrize("backed", [False, True], ids=["memory", "disk"])
def test_loader(benchmark: BenchmarkFixture, store: Path, backed: bool) -> None:  # noqa: FBT001 - a parameter
    """One epoch of minibatches."""
    mosaic = read_mosaic(read_file(store, backed=backed))
    indices = drawn(mosaic, midas.Config())
    assert sum(benchmark(lambda: [minibatch.n_cells for minibatch in collect(mosaic, indices)])) == mosaic.n_cells


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_step(benchmark: BenchmarkFixture, store: Path, precision: str) -> None:
    """Steps of an epoch, as each minibatch has another number of cells with a modality."""
    config = midas.Config.from_dict({"training": {"precision": precision, "accelerator": "cpu"}})
    model = midas.MIDAS(read_file(store), config=config)
    mosaic = model.mosaic
    assert mosaic is not None
    learner, noise = learner_for(model.vae, model.discriminators, mosaic, config), Noise(0, torch.device("cpu"))
    minibatches = [gather(mosaic, index) for index in drawn(mosaic, config)]
    benchmark(lambda: [train_step(learner, minibatch, noise, with_batch=True) for minibatch in minibatches])


def test_encode(benchmark: BenchmarkFixture, model: midas.MIDAS) -> None:
    """All cells."""
    mosaic = model.mosaic
    assert mosaic is not None
    assert np.isfinite(benchmark(lambda: encode(model.vae, mosaic, model.modalities)).mean).all()


def test_impute(benchmark: BenchmarkFixture, model: midas.MIDAS) -> None:
    """The widest modality of all cells."""
    assert benchmark(lambda: model.impute("atac")).n_vars == 2000
