"""The package of this benchmark, at its defaults."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from task_file import Clock, aligned, arguments, read, subsets, write

import midas

args = arguments()
task = read(args.task)
truth = read(args.truth, list(task.blocks))
config = midas.Config() if args.epochs is None else midas.Config.from_dict({"training": {"epochs": args.epochs}})
clock = Clock(None)
model = midas.MIDAS(task.mdata, config=config, seed=args.seed).fit(progress=False)
trained = clock.seconds

arrays: dict[str, Any] = {"embedding": model.latent(), "technical": model.latent(part="u")}
for name in model.modalities:
    decoded = {"imputed": model.impute(name), "corrected": model.correct(name)}
    for key, found in decoded.items():
        arrays[f"{key}/{name}"] = aligned(found.X, found.obs_names, task.cells)
    arrays[f"features/{name}"] = decoded["imputed"].var_names.to_numpy(dtype=str)

# The trained model is given the modalities that were hidden in training, one set at a time.
known = model.read(truth.mdata)
for names in subsets(model.modalities):
    with contextlib.suppress(ValueError):  # no cell has them together
        if len(names) == 1:
            latent = model.latent(known, modalities=names)
            has = np.isfinite(latent).all(1)
            arrays[f"latent/{names[0]}"] = latent[has]
            arrays[f"latent_cells/{names[0]}"] = truth.cells[has].to_numpy(dtype=str)
        for target in set(model.modalities) - set(names):
            found = model.translate(names, target, known)
            arrays[f"translated/{'+'.join(names)}/{target}"] = aligned(found.X, found.obs_names, task.cells)
write(args.out, task, arrays, package="midas-mosaic", train_cpu_s=trained, epochs=len(model.history))
