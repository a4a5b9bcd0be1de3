"""Several processes: the model of one process, no hang when they hold different modalities, an end when one is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ranks_worker
from helpers import simulated
from midas import TrainingConfig
from midas.data.loader import epoch_indices
from midas.io import read_file, write_mudata
from midas.ranks import ALONE, Ranks, init_processes

HERE = Path(__file__).parent


def start(tasks: str, size: int, folder: Path) -> list[subprocess.Popen[str]]:
    command = [sys.executable, str(HERE / "ranks_worker.py"), tasks]
    return [
        subprocess.Popen([*command, str(rank), str(size), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(size)
    ]


def ends(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit codes and messages; all are ended if they do not end by themselves."""
    try:
        messages = [process.communicate(timeout=150)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, message) for process, message in zip(processes, messages, strict=True)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote."""
    folder = tmp_path_factory.mktemp("two")
    for code, message in ends(start("fit,graphs,differ,resume", 2, folder)):
        assert code == 0, message
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    ranks_worker.fit(folder, 0, 1)
    return folder


def test_two_processes_learn_what_one_does(one: Path, two: Path) -> None:
    alone, together = np.load(one / "fit-0-1.npz"), np.load(two / "fit-0-2.npz")
    assert len(together["total"]) == len(alone["total"])
    fallen = alone["total"][0] - alone["total"][-1]
    np.testing.assert_allclose(together["total"][-1], alone["total"][-1], atol=0.1 * fallen)
    # Distances between cells, as the axes of c are free.
    far = [np.linalg.norm(c[:, None] - c[None], axis=2).reshape(-1) for c in (alone["c"], together["c"])]
    assert np.corrcoef(*far)[0, 1] > 0.9


def test_all_processes_end_with_the_same_in_the_order_of_the_cells(two: Path) -> None:
    first, second = (np.load(two / f"fit-{rank}-2.npz") for rank in range(2))
    np.testing.assert_array_equal(first["c"], second["c"])
    np.testing.assert_array_equal(first["total"], second["total"])
    assert np.isfinite(first["c"]).all()


def test_one_process_is_the_first(one: Path, two: Path) -> None:
    found = [bool(np.load(file)["first"]) for file in (one / "fit-0-1.npz", two / "fit-0-2.npz", two / "fit-1-2.npz")]
    assert found == [True, True, False]


def test_only_the_first_process_writes_a_checkpoint(two: Path) -> None:
    assert (two / "0.ckpt").exists()
    assert not (two / "1.ckpt").exists()


def test_processes_with_different_modalities_keep_the_same_weights(two: Path) -> None:
    first, second = (np.load(two / f"graphs-{rank}-2.npy") for rank in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("name", "what"), [("differ", "cells"), ("resume", "checkpoint")])
def test_what_must_be_the_same_is_refused_in_all_processes(name: str, what: str, two: Path) -> None:
    for rank in range(2):
        assert f"found different {what}" in (two / f"{name}-{rank}-2.txt").read_text()


def test_a_killed_process_ends_the_job_with_a_message(tmp_path: Path) -> None:
    (code, message), (killed, _) = ends(start("killed", 2, tmp_path))
    assert (tmp_path / "under way").exists()
    assert killed == -9
    assert code != 0
    assert "Expected 2 processes to train together, lost contact with another one" in message


def test_the_command_starts_its_processes(tmp_path: Path) -> None:
    write_mudata(tmp_path / "in.h5mu", simulated(n_cells=60))
    (tmp_path / "run.toml").write_text('[training]\nepochs = 2\nbatch_size = 16\naccelerator = "cpu"\n')
    command = [sys.executable, "-m", "midas.cli", "integrate", "in.h5mu", "-o", "out.h5mu", "--config", "run.toml"]
    done = subprocess.run(
        [*command, "--devices", "2"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Result: out.h5mu") == 1
    assert np.isfinite(read_file(tmp_path / "out.h5mu").obsm["X_midas"]).all()


@pytest.mark.parametrize("sampling", ["mixed", "by_batch"])
@pytest.mark.parametrize("n_cells", [3, 101])
def test_shares_of_an_epoch_are_its_minibatches(sampling: str, n_cells: int) -> None:
    cells, batch = np.arange(n_cells), np.arange(n_cells) % 3
    training = TrainingConfig(sampling=sampling)  # type: ignore[arg-type]

    def drawn(rank: int, size: int) -> list[np.ndarray]:
        return epoch_indices(cells, batch, 10, training, np.random.default_rng(0), None, (rank, size))

    parts = [drawn(rank, 3) for rank in range(3)]
    assert {len(part) for part in parts} == {len(drawn(0, 1))}
    assert all(len(index) for part in parts for index in part)
    together = np.concatenate([np.concatenate(part) for part in parts])
    assert set(together) == set(range(n_cells))
    if sampling == "mixed" and n_cells == 101:
        assert len(together) == n_cells


def test_one_process_changes_nothing() -> None:
    layer = torch.nn.Linear(2, 2)
    ALONE.average_gradients(layer, 5)
    assert layer.weight.grad is None
    assert ALONE.all_reduce_sum({"a": 1.0}) == {"a": 1.0}
    assert init_processes(TrainingConfig(), "cpu") == ALONE


def test_a_share_is_never_empty() -> None:
    assert Ranks(1, 2).share(np.array([7])).tolist() == [7]
    assert Ranks(1, 2).share(np.array([7, 8, 9])).tolist() == [8]


def test_a_device_that_the_processes_do_not_exchange_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"is_initialized": True, "get_world_size": 2, "get_rank": 0, "get_backend": "nccl"}
    for name, value in there.items():
        monkeypatch.setattr(f"torch.distributed.{name}", lambda value=value: value)
    with pytest.raises(ValueError, match="exchange by NCCL, found 'cpu'"):
        init_processes(TrainingConfig(), "cpu")
    assert init_processes(TrainingConfig(), "cuda").size == 2


def test_a_device_without_exchange_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected cpu or cuda to train on 2 devices, found 'mps'"):
        init_processes(TrainingConfig(devices=2), "mps")
