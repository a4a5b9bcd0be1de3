"""Shared by the two models of scvi-tools: data conversion, and a time limit on training."""

from __future__ import annotations

import logging

import lightning
import mudata
import numpy as np
import scvi
from task_file import Arguments, Clock, Task, padded

ORDER = ("rna", "atac", "adt")


class Stop(lightning.pytorch.Callback):
    """Ends the training when the time is up."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.epochs = clock, 0

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count, and stop."""
        self.epochs += 1
        trainer.should_stop = trainer.should_stop or self.clock.over


def seeded(args: Arguments) -> None:
    """Seed the library, and quieten it."""
    scvi.settings.seed = args.seed
    scvi.settings.verbosity = logging.ERROR
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def all_cells(task: Task) -> mudata.MuData:
    """All modalities with all cells, with zeros where a cell lacks one, as these models require."""
    # Modalities in the order that MultiVI requires; proteins dense.
    mods = {name: padded(task.mdata[name], task.cells, task.batch) for name in ORDER if name in task.blocks}
    if "adt" in mods:
        mods["adt"].X = mods["adt"].X.toarray()
    with mudata.set_options(pull_on_update=False):
        mdata = mudata.MuData(mods)
    mdata.obs["batch"] = task.batch
    return mdata


def depths(task: Task) -> np.ndarray:
    """Total RNA counts of each cell; the median if it has none."""
    total = np.full(len(task.cells), np.nan)
    total[task.rows("rna")] = np.asarray(task.blocks["rna"].counts.sum(1)).ravel()
    return np.where(np.isfinite(total), total, np.nanmedian(total))[:, None]
