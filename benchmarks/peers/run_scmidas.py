"""Train the authors' package scmidas 0.3.0 on a mosaic and save its embedding at chosen epochs.

Runs in the environment that ``setup_env.sh scmidas`` makes. Only the public API of scmidas is called
(``setup_mudata``, ``MIDAS``, ``get_latent_representation``); one ``lightning.Trainer.fit`` does the whole training, and
a callback reads the embedding at the checkpoints, so the optimisers are never reset. The clocks stop while the
embedding is computed and saved, and all random states are put back afterwards, so that the run is the same as one
without checkpoints.

What differs from ``scmidas.integrate``, each in favour of the speed of scmidas: no worker processes for the data, and
no progress bar, log files or model files during training.

Set OMP_NUM_THREADS=1 where other processes share the cores: with two threads and two busy cores the busy waiting of
OpenMP made an epoch of 16 steps take 18 CPU seconds in place of 0.9.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import mudata as mu
import numpy as np
import scmidas
import torch


class Clock:
    """Wall and process CPU seconds, with pauses."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0
        self._start: tuple[float, float] | None = None

    def start(self) -> None:
        """Start or go on."""
        self._start = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """Pause, adding what passed since the last start."""
        if self._start is not None:
            self.wall += time.perf_counter() - self._start[0]
            self.cpu += time.process_time() - self._start[1]
            self._start = None

    def running_wall(self) -> float:
        """Wall seconds up to now."""
        return self.wall + (0.0 if self._start is None else time.perf_counter() - self._start[0])


def peak_rss_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class Checkpoints(lightning.Callback):
    """Save the embedding at given epochs and stop when the time is up.

    Parameters
    ----------
    model
        The scmidas model in training.
    names
        Cell names in the order of the rows of the embedding.
    epochs
        Epochs (counted from 1) after which the embedding is saved; the last epoch of a run is always saved.
    out
        Folder for ``epoch<NNNN>.npz`` and ``run.json``.
    info
        What is known of the run, written into ``run.json`` as it is.
    clock
        The clock of the training, running.
    max_seconds
        Training wall seconds after which the run ends with the current epoch.
    """

    def __init__(
        self,
        model: scmidas.MIDAS,
        names: np.ndarray,
        epochs: set[int],
        out: Path,
        info: dict[str, Any],
        clock: Clock,
        max_seconds: float | None,
    ) -> None:
        self.model = model
        self.names = names
        self.epochs = epochs
        self.out = out
        self.info = info
        self.clock = clock
        self.max_seconds = max_seconds
        self.records: list[dict[str, Any]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save if this epoch is a checkpoint or the last one."""
        epoch = trainer.current_epoch + 1
        timeout = self.max_seconds is not None and self.clock.running_wall() >= self.max_seconds
        if timeout:
            trainer.should_stop = True
        if not (timeout or epoch in self.epochs or epoch == trainer.max_epochs):
            return
        self.clock.stop()
        states = (torch.get_rng_state(), np.random.get_state(), random.getstate())
        z = self.model.get_latent_representation(kind="joint")
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        # Predicting leaves the network in evaluation mode. Not pl_module.train(): scmidas redefines that method of
        # torch modules, and it would start a second training, of 1,000 epochs, inside this one.
        self.model.net.train()
        dim_c = int(self.model.configs["dim_c"])
        path = self.out / f"epoch{epoch:04d}.npz"
        np.savez_compressed(
            path, names=self.names, X=z[:, :dim_c].astype(np.float32), U=z[:, dim_c:].astype(np.float32)
        )
        self.records.append(
            {
                "epoch": epoch,
                "file": path.name,
                "wall_s": round(self.clock.wall, 2),
                "cpu_s": round(self.clock.cpu, 2),
                "steps": epoch * int(trainer.num_training_batches),
                "peak_rss_mb": round(peak_rss_mb(), 1),
                "load_average": round(os.getloadavg()[0], 2),
                "finite": bool(np.isfinite(z).all()),
            }
        )
        (self.out / "run.json").write_text(json.dumps({**self.info, "checkpoints": self.records}, indent=1) + "\n")
        r = self.records[-1]
        print(
            f"epoch {epoch}: wall {r['wall_s']:.1f} s, CPU {r['cpu_s']:.1f} s, RSS {r['peak_rss_mb']:.0f} MB",
            flush=True,
        )
        self.clock.start()


def read_mosaic(path: Path) -> mu.MuData:
    """Read a mosaic and set the feature masks that scmidas looks for.

    A modality's boolean columns ``var["measured_<batch>"]`` become ``uns["mask_<batch>"]``; a batch without such a
    column measured everything.
    """
    mdata = mu.read_h5mu(path)
    for mod in mdata.mod.values():
        for batch in mod.obs["batch"].astype(str).unique():
            column = f"measured_{batch}"
            if column in mod.var:
                mod.uns[f"mask_{batch}"] = mod.var[column].to_numpy().astype(np.float32)
    return mdata


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path, help="mosaic, .h5mu with obs['batch'] in every modality")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("--checkpoints", default="", help="epochs to save at, comma-separated; the last one always is")
    parser.add_argument("--every", type=int, default=0, help="save at every so many epochs too")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate of the network and the discriminators")
    parser.add_argument("--max-seconds", type=float, default=None, help="end the training after so many wall seconds")
    args = parser.parse_args()

    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)

    args.out.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(args.seed, verbose=False)
    mdata = read_mosaic(args.data)
    configs = dict(scmidas.load_config())
    configs.update(lr_net=args.lr, lr_dsc=args.lr, num_workers=0, persistent_workers=False, pin_memory=False)
    scmidas.MIDAS.setup_mudata(mdata, batch_key="batch")

    epochs = {int(e) for e in args.checkpoints.split(",") if e}
    if args.every:
        epochs |= set(range(args.every, args.epochs + 1, args.every))
    with tempfile.TemporaryDirectory() as models:
        model = scmidas.MIDAS(
            mdata, configs=configs, batch_size=args.batch_size, save_model_path=models, n_save=args.epochs + 1
        )
        info = {
            "tool": f"scmidas {version('scmidas')}",
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "data": args.data.name,
            "cells": int(mdata.n_obs),
            "seed": args.seed,
            "batch_size": args.batch_size,
            "lr": args.lr,
            "max_epochs": args.epochs,
            "max_seconds": args.max_seconds,
            "parameters": int(sum(p.numel() for p in model.parameters())),
            "process_cpu_s_before_training": round(time.process_time(), 2),
        }
        clock = Clock()
        saver = Checkpoints(
            model, mdata.obs_names.to_numpy().astype(str), epochs, args.out, info, clock, args.max_seconds
        )
        clock.start()
        # Lightning's Trainer directly rather than model.train(), which does the same with keyword arguments.
        trainer = lightning.Trainer(
            max_epochs=args.epochs,
            accelerator="cpu",
            devices=1,
            callbacks=[saver],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model)
        clock.stop()


if __name__ == "__main__":
    main()
