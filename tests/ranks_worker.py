"""One of the processes of `test_ranks.py`: ``python ranks_worker.py TASK RANK SIZE FOLDER``."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from helpers import simulated, tiny
from midas import MIDAS
from midas.data import gather
from midas.nn import Noise
from midas.ranks import is_first, ranks
from midas.training.loop import learner_for
from midas.training.step import train_step

SETTINGS = {"epochs": 12, "batch_size": 64, "validation_fraction": 0.2, "patience": 3}


def fit(folder: Path, rank: int, size: int) -> None:
    """A whole run."""
    model = MIDAS(simulated(n_cells=520), config=tiny(**SETTINGS)).fit(
        progress=False, checkpoint=folder / f"{rank}.ckpt"
    )
    total = model.history["val_total"].to_numpy()
    np.savez(folder / f"fit-{rank}-{size}.npz", c=model.latent(), total=total, first=is_first())


def resume(folder: Path, rank: int, size: int) -> None:
    """A file that only the first process finds."""
    model = MIDAS(simulated(n_cells=520), config=tiny(**SETTINGS))
    try:
        model.fit(progress=False, checkpoint=folder / f"{rank}.ckpt", resume=True)
    except ValueError as error:
        (folder / f"resume-{rank}-{size}.txt").write_text(str(error))


def differ(folder: Path, rank: int, size: int) -> None:
    """Each process has data of its own."""
    try:
        MIDAS(simulated(n_cells=120 + 10 * rank), config=tiny()).fit(progress=False)
    except ValueError as error:
        (folder / f"differ-{rank}-{size}.txt").write_text(str(error))


def graphs(folder: Path, rank: int, size: int) -> None:
    """Steps in which the first process has cells with RNA alone, and the others cells without RNA."""
    model = MIDAS(simulated(n_cells=240), config=tiny())
    mosaic = model.mosaic
    assert mosaic is not None
    learner = learner_for(model.vae, model.discriminators, mosaic, model.config)
    learner = replace(learner, config=tiny(), compute=replace(learner.compute, ranks=ranks()))
    kind = mosaic.combinations().to_numpy()
    mine = np.flatnonzero(kind == ("rna" if rank == 0 else "adt"))[:9]
    for step in range(3):
        train_step(learner, gather(mosaic, mine), Noise(step, torch.device("cpu")), with_batch=step != 1)
    weights = torch.cat([p.detach().reshape(-1) for p in [*model.vae.parameters(), *model.discriminators.parameters()]])
    np.save(folder / f"graphs-{rank}-{size}.npy", weights.numpy())


def killed(folder: Path, rank: int, size: int) -> None:
    """The last process dies in the middle of the training."""

    class Sink:
        def log_metrics(self, metrics: object, step: int | None = None) -> None:
            (folder / "under way").touch()

    if rank == size - 1:
        from midas.training import loop  # noqa: PLC0415 - one task alone needs it

        step, done = loop.train_step, []

        def fatal(*args: object, **kwargs: object) -> object:
            done.append(1)
            if len(done) == 20:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*args, **kwargs)  # type: ignore[arg-type]

        loop.train_step = fatal  # type: ignore[assignment]
    MIDAS(simulated(n_cells=520), config=tiny(**SETTINGS)).fit(progress=False, loggers=[Sink()])


if __name__ == "__main__":
    tasks, rank, size, folder = sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    if size > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    for task in tasks:
        globals()[task](folder, rank, size)
    if size > 1:
        distributed.destroy_process_group()
        # One that is left aborts the process on its way out, now and then.
        left = [name.read_text() for name in Path("/proc/self/task").glob("*/comm") if "gloo" in name.read_text()]
        assert not left, left
