"""Time and memory of training steps of one method: ``python benchmarks/cost.py METHOD STORE --steps 30 --seconds 60``.

Runs in the environment of each method, without this package where the method is another. Prints one line of JSON: CPU seconds per
1,000 cells trained on (the first steps, which set things up, left out), and peak memory in MB (10^6 bytes).
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import tempfile
import time
import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

SETTING_UP = 5  # steps that are not counted
sys.path.insert(0, str(Path(__file__).parents[1] / "src" / "midas" / "bench" / "methods"))


class Steps:
    """CPU time at every step; says when it is enough."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds, self.at = most, seconds, list[float]()

    def done(self) -> bool:
        """Note a step; the time runs from the first."""
        if not self.at:
            self.started = time.perf_counter()
        self.at.append(time.process_time())
        late = time.perf_counter() - self.started > self.seconds and len(self.at) > SETTING_UP + 1
        return late or len(self.at) > self.most + SETTING_UP

    def per_thousand(self, cells: int) -> float:
        """CPU seconds per 1,000 cells."""
        counted = self.at[SETTING_UP:]
        return 1000 * (counted[-1] - counted[0]) / (len(counted) - 1) / cells


def midas(store: Path, steps: Steps) -> float:
    """Train this package, from memory."""
    import midas as package
    from midas.io import read_file
    from midas.training import loop

    config = package.Config.from_dict({"training": {"batch_size": 256, "epochs": 1000}})
    model = package.MIDAS(read_file(store), config=config)
    assert model.mosaic is not None
    step = loop.train_step

    def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if steps.done():
            raise KeyboardInterrupt  # as a user ends a run
        return step(*args, **kwargs)

    loop.train_step = timed
    plan = loop.plan_training(model.mosaic, config.training, 0)
    loop.fit(model.vae, model.discriminators, model.mosaic, config, 0, loop.RunOptions(progress=False))
    return plan.batch_size and steps.per_thousand(-(-len(plan.train) // plan.steps_per_epoch))


def ends(steps: Steps) -> Any:  # noqa: ANN401
    """A callback of Lightning that ends the training."""
    import lightning

    class Ends(lightning.pytorch.Callback):
        def on_train_batch_end(self, trainer: Any, *_: object) -> None:  # noqa: ANN401
            trainer.should_stop = steps.done()

    return Ends()


def scmidas(store: Path, steps: Steps) -> float:
    """Train the published package in minibatches of 256 cells, as it advises for real data."""
    import lightning
    import mudata
    import scmidas as package
    from task_file import read

    mods, sizes = {}, {}
    for name, source in read(store).mdata.mod.items():
        chromosome = np.asarray(
            [str(feature).replace("_", ":").split(":")[0].split("-")[0] for feature in source.var_names]
        )
        order = np.argsort(chromosome, kind="stable") if name == "atac" else np.arange(source.n_vars)
        mods[name] = source[:, order].copy()
        mods[name].X = mods[name].X.astype(np.float32)
        runs = [len(list(run)) for _, run in groupby(chromosome[order])]
        sizes[name] = runs if name == "atac" else [source.n_vars]
    mdata = mudata.MuData(mods)
    configs = dict(package.load_config()) | {"num_workers": 0, "persistent_workers": False, "pin_memory": False}
    package.MIDAS.setup_mudata(mdata, batch_key="batch", dims_x=sizes)
    with tempfile.TemporaryDirectory() as folder:
        model = package.MIDAS(mdata, configs=configs, batch_size=256, save_model_path=folder, n_save=10**9)
        lightning.Trainer(
            max_epochs=1000,
            accelerator="cpu",
            devices=1,
            callbacks=[ends(steps)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(model)
    return steps.per_thousand(256)


def scvi(store: Path, steps: Steps, name: str) -> float:
    """Train totalVI or MultiVI at its defaults, but for minibatches of 256 cells."""
    import scvi as package
    from scvi_common import all_cells
    from task_file import read

    task = read(store)
    mdata = all_cells(task)
    layers = {
        layer: modality
        for modality, layer in (("rna", "rna_layer"), ("adt", "protein_layer"), ("atac", "atac_layer"))
        if modality in task.blocks
    }
    model_of = package.model.TOTALVI if name == "totalvi" else package.model.MULTIVI
    model_of.setup_mudata(mdata, batch_key="batch", modalities={**layers, "batch_key": "rna"})
    sizes = {m: len(task.blocks[m].features) if m in task.blocks else 0 for m in ("rna", "atac")}
    wanted = {} if name == "totalvi" else {"n_genes": sizes["rna"], "n_regions": sizes["atac"]}
    model = model_of(mdata, **wanted)
    model.train(max_epochs=1000, accelerator="cpu", batch_size=256, callbacks=[ends(steps)], enable_progress_bar=False)
    return steps.per_thousand(256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=["midas", "scmidas", "totalvi", "multivi"])
    parser.add_argument("store", type=Path)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    steps = Steps(arguments.steps, arguments.seconds)
    if arguments.method in {"totalvi", "multivi"}:
        cost = scvi(arguments.store, steps, arguments.method)
    else:
        cost = {"midas": midas, "scmidas": scmidas}[arguments.method](arguments.store, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"cpu": cost, "peak": peak, "steps": len(steps.at)}))


if __name__ == "__main__":
    main()
