"""The published package scmidas 0.3.0, through its public interface.

Its documentation uses 65 epochs of 128 cells at a learning rate of 3e-4 for an example with 1,600 cells, and 2,000 epochs of 256
cells at 1e-4 for real data; `--epochs` chooses. Deviations from its one-call pipeline favour speed: no worker processes for data,
and no progress bar, logs or model files during training.
"""

from __future__ import annotations

import logging
import tempfile
from itertools import groupby
from typing import Any

import lightning
import mudata
import numpy as np
import scmidas
from task_file import MEASURED, Clock, Task, aligned, arguments, read, write

ADVISED_EPOCHS = 2000
EXAMPLE_EPOCHS = 65  # its example's epochs come with that example's learning rate and minibatch


class Stop(lightning.Callback):
    """Ends the training when the time is up."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.epochs = clock, 0

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count, and stop."""
        self.epochs += 1
        trainer.should_stop = self.clock.over


def prepared(task: Task, seen: Task) -> tuple[mudata.MuData, dict[str, list[int]]]:
    """Data in the form scmidas requires: all cells of a batch with the same modalities, blocks by chromosome, masks in uns.

    A batch whose cells differ in their modalities (in the task, `seen`) is split into several.
    """
    part = np.empty(len(seen.cells), dtype=object)
    for names, rows in seen.combinations().items():
        part[rows] = "+".join(names)
    several = {b for b in np.unique(seen.batch) if len(set(part[seen.batch == b])) > 1}
    of = {cell: f"{b}|{p}" if b in several else b for cell, b, p in zip(seen.cells, seen.batch, part, strict=True)}
    mods, sizes = {}, {}
    for name, source in task.mdata.mod.items():
        chromosomes = [str(f).replace("_", ":").split(":")[0].split("-")[0] for f in source.var_names]
        if "chrom" in source.var:
            chromosomes = source.var["chrom"].astype(str).tolist()
        order = np.argsort(chromosomes, kind="stable") if name == "atac" else np.arange(source.n_vars)
        mod = source[:, order].copy()
        sizes[name] = (
            [len(list(run)) for _, run in groupby(np.asarray(chromosomes)[order])] if name == "atac" else [mod.n_vars]
        )
        old = mod.obs["batch"].astype(str).to_numpy()
        new = np.asarray([of[str(cell)] for cell in mod.obs_names])
        mod.obs["batch"] = new
        for b, own in set(zip(new.tolist(), old.tolist(), strict=True)):
            if f"{MEASURED}{own}" in mod.var:
                mod.uns[f"mask_{b}"] = mod.var[f"{MEASURED}{own}"].to_numpy().astype(np.float32)
        mods[name] = mod
    return mudata.MuData(mods), sizes


def built(mdata: mudata.MuData, sizes: dict[str, list[int]], folder: str) -> Any:
    """An untrained model of the data."""
    configs = dict(scmidas.load_config())
    rate = 3e-4 if args.epochs == EXAMPLE_EPOCHS else 1e-4
    configs.update(lr_net=rate, lr_dsc=rate, num_workers=0, persistent_workers=False, pin_memory=False)
    scmidas.MIDAS.setup_mudata(mdata, batch_key="batch", dims_x=sizes)
    size = 128 if args.epochs == EXAMPLE_EPOCHS else 256
    return scmidas.MIDAS(mdata, configs=configs, batch_size=size, save_model_path=folder, n_save=10**9)


def gathered(predicted: dict[str, Any], key: str, name: str, mdata: mudata.MuData, task: Task) -> Any:
    """Rows of all batches in the order of the task's cells; None if no batch has them."""
    found, cells = [], []
    for batch, parts in predicted.items():
        if name in parts.get(key, {}):
            found.append(np.asarray(parts[key][name]))
            cells.append(cells_of(mdata, batch))
    if not found:
        return None
    return aligned(np.concatenate(found), cells[0].append(cells[1:]), task.cells)


def cells_of(mdata: mudata.MuData, batch: str) -> Any:
    """Names of a batch's cells, in the order of its first modality; they must be the same in all."""
    orders = [m.obs_names[(m.obs["batch"].astype(str) == batch).to_numpy()].astype(str) for m in mdata.mod.values()]
    orders = [order for order in orders if len(order)]
    if any(not order.equals(orders[0]) for order in orders):
        msg = f"Expected the cells of {batch} in one order in all modalities, found several."
        raise ValueError(msg)
    return orders[0]


args = arguments()
for logger in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
    logging.getLogger(logger).setLevel(logging.ERROR)
lightning.seed_everything(args.seed, verbose=False)
task = read(args.task)
truth = read(args.truth, list(task.blocks))
mdata, sizes = prepared(task, task)
with tempfile.TemporaryDirectory() as folder:
    model = built(mdata, sizes, folder)
    clock = Clock(args.seconds)
    stop = Stop(clock)
    lightning.Trainer(
        max_epochs=args.epochs or ADVISED_EPOCHS,
        accelerator="cpu",
        devices=1,
        callbacks=[stop],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model)
    trained = clock.seconds
    predicted = model.predict(impute=True, batch_correct=True, verbose=False)
    arrays: dict[str, Any] = {"embedding": gathered(predicted, "z_c", "joint", mdata, task)}
    arrays["technical"] = gathered(predicted, "z_u", "joint", mdata, task)
    for name, mod in mdata.mod.items():
        arrays[f"imputed/{name}"] = gathered(predicted, "x_impt", name, mdata, task)
        arrays[f"corrected/{name}"] = gathered(predicted, "x_bc", name, mdata, task)
        arrays[f"features/{name}"] = mod.var_names.to_numpy(dtype=str)
    whole, _ = prepared(truth, task)
    full = built(whole, sizes, folder)
    # Weights are matched to batches by position.
    if list(full.batch_names) != list(model.batch_names):
        raise ValueError("Expected the same batches in the task and in its truth, found others.")
    full.net.load_state_dict(model.net.state_dict())
    predicted = full.predict(mod_latent=True, translate=True, verbose=False)
    for name in mdata.mod:
        latent = gathered(predicted, "z_c", name, whole, task)
        if latent is not None:
            has = np.isfinite(latent).all(1)
            arrays[f"latent/{name}"] = latent[has]
            arrays[f"latent_cells/{name}"] = task.cells[has].to_numpy(dtype=str)
    for key in {key for parts in predicted.values() for key in parts.get("x_trans", {})}:
        sources, target = key.split("_to_")
        arrays[f"translated/{sources.replace('_', '+')}/{target}"] = gathered(predicted, "x_trans", key, whole, task)
write(args.out, task, arrays, package="scmidas", train_cpu_s=trained, epochs=stop.epochs)
