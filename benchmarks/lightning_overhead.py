"""What a step costs under Lightning's Trainer and in a bare loop, the step being the same.

``python benchmarks/lightning_overhead.py DATA.h5mu``: the reason why training runs on a loop of its own.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch

import midas
from common import machine, markdown
from midas.data import Minibatch, gather, read_mosaic
from midas.io import read_file
from midas.nn import VAE, Discriminators, Noise
from midas.training.loop import learner_for
from midas.training.step import Learner, train_step


class Plan(lightning.LightningModule):
    """The same step as a LightningModule with manual optimisation."""

    def __init__(self, learner: Learner, noise: Noise) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.learner, self.noise = learner, noise
        self.vae, self.discriminators = learner.vae, learner.discriminators

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.learner.vae_optimizer, self.learner.discriminator_optimizer]

    def training_step(self, batch: list[Minibatch], _: int) -> None:
        train_step(self.learner, batch[0], self.noise, with_batch=True)


class Opaque(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Minibatches that Lightning must not look into."""

    def __init__(self, minibatches: list[Minibatch]) -> None:
        self.minibatches = minibatches

    def __len__(self) -> int:
        return len(self.minibatches)

    def __getitem__(self, index: int) -> Minibatch:
        return self.minibatches[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    mosaic = read_mosaic(read_file(arguments.data))
    config = midas.Config()
    config = replace(config, training=replace(config.training, precision="32", accelerator="cpu"))
    rng = np.random.default_rng(0)
    minibatches = [gather(mosaic, rng.choice(mosaic.n_cells, 128, replace=False)) for _ in range(arguments.steps)]

    def learner() -> Learner:
        return learner_for(
            VAE(mosaic.schema, config.network), Discriminators(mosaic.schema, config.network), mosaic, config
        )

    def bare() -> None:
        mine, noise = learner(), Noise(0, torch.device("cpu"))
        for minibatch in minibatches:
            train_step(mine, minibatch, noise, with_batch=True)

    def trainer() -> None:
        plan = Plan(learner(), Noise(0, torch.device("cpu")))
        loader = torch.utils.data.DataLoader(Opaque(minibatches), batch_size=1, collate_fn=list)
        lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
            enable_progress_bar=False,
        ).fit(plan, loader)  # fmt: skip

    rows = []
    for name, run in (("own loop", bare), ("Trainer, manual optimisation", trainer)):
        run()
        cpu = []
        for _ in range(3):
            started = time.process_time()
            run()
            cpu.append((time.process_time() - started) / arguments.steps * 1e3)
        rows.append([name, f"{np.median(cpu):.2f}"])
    print(machine(), markdown(["loop", "CPU ms per step"], rows), sep="\n\n")


if __name__ == "__main__":
    main()
