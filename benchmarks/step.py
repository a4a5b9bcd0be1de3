"""CPU time of one training step against that of its own matrix products in float32.

``python benchmarks/step.py DATA.h5mu --cells 256`` records the shape of every matrix product of one step, runs these products
alone on random numbers, and prints both times. The products are the floor: what no bookkeeping can undercut without a cheaper
number format.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import midas
from common import machine, markdown
from midas.data import gather, read_mosaic
from midas.io import read_file
from midas.nn import VAE, Discriminators, Noise
from midas.training.loop import learner_for
from midas.training.step import train_step

_PRODUCTS = {
    torch.ops.aten.mm.default: (0, 1),
    torch.ops.aten.addmm.default: (1, 2),
    torch.ops.aten.bmm.default: (0, 1),
    torch.ops.aten.baddbmm.default: (1, 2),
}


class Products(TorchDispatchMode):
    """Records the operands' shapes and strides of every matrix product, as random numbers of one kind, or their own."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.operands: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.dtype = dtype

    def _random(self, like: torch.Tensor) -> torch.Tensor:
        kind = like.dtype if self.dtype is None else self.dtype
        if 0 in like.stride():  # one number stands for many
            return torch.empty(like.shape, dtype=kind, device=like.device).normal_()
        return torch.empty_strided(like.shape, like.stride(), dtype=kind, device=like.device).normal_()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func in _PRODUCTS:
            a, b = (args[i] for i in _PRODUCTS[func])
            self.operands.append((self._random(a), self._random(b)))
        return func(*args, **(kwargs or {}))


def cpu_ms(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median CPU and wall milliseconds of a call, after a warm-up."""
    for _ in range(3):
        run()
    cpu, wall = [], []
    for _ in range(repeats):
        c, w = time.process_time(), time.perf_counter()
        run()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    return 1e3 * float(np.median(cpu)), 1e3 * float(np.median(wall))


def measure(path: Path, cells: int, precision: str, repeats: int) -> list[str]:
    """Time one data set; a row of the table."""
    config = midas.Config()
    mosaic = read_mosaic(read_file(path)).suited_to(config.network)
    config = replace(config, training=replace(config.training, precision=precision, accelerator="cpu"))
    vae, discriminators = VAE(mosaic.schema, config.network), Discriminators(mosaic.schema, config.network)
    learner = learner_for(vae, discriminators, mosaic, config)
    rng, noise = np.random.default_rng(0), Noise(0, torch.device("cpu"))
    minibatch = gather(mosaic, rng.choice(mosaic.n_cells, cells, replace=False))
    train_step(learner, minibatch, noise, with_batch=True)
    with Products(torch.float32) as products:
        train_step(learner, minibatch, noise, with_batch=True)
    floor, _ = cpu_ms(lambda: [a @ b for a, b in products.operands], repeats)
    step, wall = cpu_ms(lambda: train_step(learner, minibatch, noise, with_batch=True), repeats)
    load, _ = cpu_ms(lambda: gather(mosaic, rng.choice(mosaic.n_cells, cells, replace=False)), repeats)
    total = step + load
    figures = [f"{x:.1f}" for x in (step, load, wall, floor)]
    return [path.stem, str(cells), precision, *figures, f"{total / floor:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--cells", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    header = [
        "data",
        "cells",
        "precision",
        "step CPU ms",
        "loading CPU ms",
        "step wall ms",
        "fp32 products CPU ms",
        "ratio",
    ]
    rows = [
        measure(path, arguments.cells, precision, arguments.repeats)
        for path in arguments.data
        for precision in ("auto", "32")
    ]
    print(machine(), markdown(header, rows), sep="\n\n")


if __name__ == "__main__":
    main()
