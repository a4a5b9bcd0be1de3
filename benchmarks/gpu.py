"""A training step on a GPU: one operation after the other, recorded, and what the GPU does meanwhile.

``python benchmarks/gpu.py DATA.h5mu --cells 512 2048`` trains for some steps with minibatches of each size, made by the loader
or, ``resident``, where all counts are on the GPU, as in a run. ``busy`` is the time in which the GPU computes or copies, over the
time of the latter steps. The floor is the longer of two times: that of all matrix products of a step alone, in a graph of their
own, and that of reading and writing the weights, their gradients, AdamW's moments, and the decoders' output as often as each must
be, at the speed of a large copy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

import midas
from common import machine, markdown
from midas.data import Minibatch, Mosaic, gather, read_mosaic
from midas.data.loader import collect, epoch_indices
from midas.data.resident import Resident
from midas.io import read_file
from midas.nn import VAE, Discriminators, Noise
from midas.training.loop import learner_for
from midas.training.recorded import Recorder
from midas.training.step import Learner, train_step
from step import Products

DEVICE = torch.device("cuda")
# How often each number is read or written at least: a weight by forward pass, backward pass and AdamW, which writes it; a
# gradient is written and read; both moments likewise; what a decoder gives out is written and read by the loss, which writes its
# gradient, which is read twice.
_OF_WEIGHT, _OF_OUTPUT = 4 + 2 + 4, 5


@dataclass(frozen=True)
class Setting:
    """A data set, networks, and minibatches of one size."""

    mosaic: Mosaic
    learner: Learner
    indices: list[np.ndarray]

    @classmethod
    def of(cls, mosaic: Mosaic, cells: int, precision: str, steps: int) -> Setting:
        """Make the networks as a run does, with all of its terms."""
        config = midas.Config.from_dict({"training": {"accelerator": "cuda", "precision": precision}})
        vae, discriminators = VAE(mosaic.schema, config.network), Discriminators(mosaic.schema, config.network)
        alike = torch.full((mosaic.n_cells, len(mosaic.schema.batches)), 255, dtype=torch.uint8, device=DEVICE)
        learner = replace(learner_for(vae, discriminators, mosaic, config), counterparts=alike)
        rng, indices = np.random.default_rng(0), list[np.ndarray]()
        while len(indices) < steps:
            indices += epoch_indices(
                np.arange(mosaic.n_cells), mosaic.batch, cells, config.training, rng, mosaic, order="alike"
            )
        return cls(mosaic, learner, indices[:steps])

    def run(
        self, step: Callable[[Minibatch], object], indices: list[np.ndarray], resident: Resident | None = None
    ) -> float:
        """Milliseconds per step."""
        source = collect(self.mosaic, indices) if resident is None else map(resident.gather, indices)
        torch.cuda.synchronize()
        started = time.perf_counter()
        for minibatch in source:
            step(minibatch)
        torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - started) / len(indices)


def floor_ms(setting: Setting, minibatch: Minibatch, noise: Noise) -> tuple[float, float]:
    """Milliseconds of the matrix products, and of moving what must be moved."""
    learner = setting.learner
    with Products(None) as products:
        train_step(learner, minibatch, noise, with_batch=True)
    products_ms = replayed_ms(lambda: [a @ b for a, b in products.operands])
    outputs = sum(len(part.cells) * part.n_features for part in minibatch.counts.values())
    weights = sum(p.numel() for module in (learner.vae, learner.discriminators) for p in module.parameters())
    moved = 4 * (_OF_WEIGHT * weights + _OF_OUTPUT * outputs)
    big = torch.empty(2**28, dtype=torch.float32, device=DEVICE).normal_()
    other = torch.empty_like(big)
    return products_ms, replayed_ms(lambda: other.copy_(big)) * moved / (8 * 2**28)


def replayed_ms(work: Callable[[], Any], repeats: int = 20) -> float:
    """Milliseconds of some work on the GPU, recorded so that the CPU is no part of it."""
    for _ in range(3):
        work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    start.record()
    for _ in range(repeats):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / repeats


def busy_ms(work: Callable[[], object], steps: int) -> float:
    """Milliseconds per step in which the GPU computes or copies."""
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        work()
    return sum(
        event.self_device_time_total
        for event in found.key_averages()
        if event.device_type == torch.autograd.DeviceType.CUDA
    ) / (1e3 * steps)


def measure(name: str, mosaic: Mosaic, cells: int, precision: str, steps: int) -> list[str]:
    """A row of the table."""
    setting, noise = Setting.of(mosaic, cells, precision, steps), Noise(0, DEVICE)
    minibatch = gather(mosaic, setting.indices[0]).to(DEVICE)

    def plain(minibatch: Minibatch) -> None:
        train_step(setting.learner, minibatch.to(DEVICE), noise, with_batch=True)

    few = setting.indices[: max(10, steps // 10)]
    setting.run(plain, few)
    eager = setting.run(plain, few)
    recorder = Recorder(DEVICE)

    def recorded(minibatch: Minibatch) -> None:
        recorder.step(setting.learner, minibatch, noise, with_batch=True, progress=1.0)

    setting.run(recorded, setting.indices)
    fast = setting.run(recorded, setting.indices)
    resident = Resident(mosaic, DEVICE)
    held = setting.run(recorded, setting.indices, resident)
    busy = busy_ms(lambda: setting.run(recorded, few, resident), len(few))
    products, moving = floor_ms(setting, minibatch, noise)
    loading = [time.perf_counter(), *(gather(mosaic, index) and time.perf_counter() for index in few)]
    figures = [eager, fast, 1e3 * (loading[-1] - loading[0]) / len(few), held, busy, products, moving]
    shares = [f"{busy / held:.0%}", f"{cells / held * 1e3:,.0f}", f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"]
    return [name, f"{cells:,}", precision, *(f"{x:.2f}" for x in figures), *shares]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--cells", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--precision", nargs="+", default=["bf16", "32"])
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    header = [
        "data",
        "cells",
        "precision",
        "step ms, one by one",
        "step ms, recorded",
        "loading ms",
        "step ms, resident",
        "GPU ms",
        "products ms",
        "moving ms",
        "busy",
        "cells per second",
        "GPU memory GB",
    ]
    rows = []
    for path in arguments.data:
        mosaic = read_mosaic(read_file(path)).suited_to(midas.NetworkConfig())
        for precision in arguments.precision:
            for cells in arguments.cells:
                rows.append(measure(path.stem, mosaic, cells, precision, arguments.steps))
                print(*rows[-1], sep=" | ", flush=True)
    print(machine(), markdown(header, rows), sep="\n\n")


if __name__ == "__main__":
    main()
