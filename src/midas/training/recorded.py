"""Training steps on a GPU, recorded once and replayed: the CPU then starts thousands of small operations with one call.

A step is a CUDA graph. It knows one shape of minibatch: how many cells there are, and how many of them have each modality; so
minibatches are drawn alike (:func:`midas.data.loader.epoch_indices`), and there is one graph for each of a few shapes. Numbers of
counts differ from minibatch to minibatch: these are followed by zeros up to a fixed length.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from midas.losses import Weights
from midas.training.step import update

if TYPE_CHECKING:
    from collections.abc import Hashable

    from midas.data.minibatch import Counts, Minibatch
    from midas.nn import Noise
    from midas.training.step import Learner

# Room for more counts than the first minibatch of a shape has; one with still more is not replayed.
_ROOM = 1.15
# Graphs that are kept: more shapes than this come one after the other without a graph.
_MOST = 64
# Weights that change from step to step.
_RISING = ("contrast", "kl_c", "kl_u", "adversarial")
# Steps that the CPU may be ahead of the GPU: their minibatches wait in the GPU's memory.
_AHEAD = 3


def records(learner: Learner, *, alike: bool) -> bool:
    """Whether steps of this run can be recorded: one process that trains freely on a GPU.

    Parameters
    ----------
    alike
        Whether minibatches are drawn alike: others have too many shapes, of which each graph would take memory for nothing.
    """
    compute = learner.compute
    cuda = compute.device.type == "cuda" and compute.ranks.size == 1 and learner.anchor is None
    return cuda and alike and learner.config.training.cuda_graphs


class Recorder:
    """Does training steps, from graphs where it can.

    Parameters
    ----------
    device
        The GPU.

    Attributes
    ----------
    replayed
        How many steps came from a graph.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._recording = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[Hashable, _Graph | None] = {}
        self._stage = (False, False)
        self.replayed = 0
        self._under_way: deque[torch.cuda.Event] = deque()

    def step(
        self, learner: Learner, minibatch: Minibatch, noise: Noise, *, with_batch: bool, progress: float
    ) -> dict[str, Tensor]:
        """Do the work of :func:`midas.training.step.train_step` with a minibatch that is still on the CPU.

        Returns
        -------
        Its terms by name, where they stay until the next step.
        """
        weights = learner.weights(progress)
        stage = (bool(weights.adversarial > 0), bool(weights.contrast > 0))
        if stage != self._stage:  # steps without discriminators, or without the contrast, do not come again
            self._stage = stage
            self._graphs.clear()
        teach, contrasts = stage
        moved, among = self._moved(learner, minibatch)
        key = (*_shape(minibatch), among is not None, with_batch)
        graph = self._graphs.get(key)
        if graph is None and key in self._graphs and sum(map(bool, self._graphs.values())) < _MOST:
            # Not at the first time: what is made on first use must be there before.
            graph = _Graph(learner, moved, noise, among, self, with_batch=with_batch, teach=teach, contrasts=contrasts)
        self._graphs[key] = graph
        if graph is None or not graph.holds(moved):
            report = update(learner, moved, noise, weights, among, with_batch=with_batch, teach=teach).named()
        else:
            report = graph.replay(moved, among, weights)
            self.replayed += 1
        self._wait()
        return report

    def _moved(self, learner: Learner, minibatch: Minibatch) -> tuple[Minibatch, Tensor | None]:
        """Copy to the GPU while it is still at the steps before."""
        with torch.cuda.stream(self._copying):
            moved, among = minibatch.to(self._device), learner.among(minibatch)
        here = torch.cuda.current_stream(self._device)
        here.wait_stream(self._copying)
        for tensor in _tensors(moved, among).values():
            tensor.record_stream(here)  # its memory is not given to the next minibatch before this one is done
        return moved, among

    def _wait(self) -> None:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._under_way.append(event)
        if len(self._under_way) > _AHEAD:
            self._under_way.popleft().synchronize()

    def capture(self, noise: Noise) -> _Capture:
        """What a graph needs to be recorded."""
        return _Capture(self._pool, self._recording, noise.generator)


@dataclass(frozen=True)
class _Capture:
    pool: Any
    stream: torch.cuda.Stream
    generator: torch.Generator


class _Graph:
    """A recorded step, and the memory from which it reads its minibatch and its weights."""

    def __init__(
        self,
        learner: Learner,
        minibatch: Minibatch,
        noise: Noise,
        among: Tensor | None,
        recorder: Recorder,
        *,
        with_batch: bool,
        teach: bool,
        contrasts: bool,
    ) -> None:
        device = minibatch.batch.device
        self.minibatch = replace(
            minibatch,
            batch=minibatch.batch.clone(),
            known=None if minibatch.known is None else minibatch.known.clone(),
            counts={name: _with_room(part) for name, part in minibatch.counts.items()},
        )
        self.among = None if among is None else among.clone()
        # Zeros go to places far apart, as those at one place would wait for each other.
        self.spread = {
            name: torch.arange(len(part.flat), device=device) % (len(part.cells) * part.n_features)
            for name, part in self.minibatch.counts.items()
        }
        self.rising = {name: torch.zeros((), device=device) for name in _RISING}
        rising = self.rising if contrasts else {**self.rising, "contrast": 0.0}
        weights = replace(learner.weights(1.0), **rising)
        self.graph = torch.cuda.CUDAGraph()
        capture = recorder.capture(noise)
        self.graph.register_generator_state(capture.generator)
        with torch.cuda.graph(self.graph, pool=capture.pool, stream=capture.stream, capture_error_mode="thread_local"):
            report = update(learner, self.minibatch, noise, weights, self.among, with_batch=with_batch, teach=teach)
            self.report = report.named()

    def holds(self, minibatch: Minibatch) -> bool:
        """Whether there is room for its counts."""
        return all(len(part.flat) <= len(self.minibatch.counts[name].flat) for name, part in minibatch.counts.items())

    def replay(self, minibatch: Minibatch, among: Tensor | None, weights: Weights) -> dict[str, Tensor]:
        """Do the step with a minibatch of the same shape; terms stay there until the next step."""
        held = _tensors(self.minibatch, self.among)
        for name, tensor in _tensors(minibatch, among).items():
            held[name][: len(tensor)].copy_(tensor)
        for name, part in self.minibatch.counts.items():
            used = len(minibatch.counts[name].flat)
            part.values[used:].zero_()
            part.flat[used:].copy_(self.spread[name][used:])
        for name, tensor in self.rising.items():
            tensor.fill_(getattr(weights, name))
        self.graph.replay()
        return self.report


def _shape(minibatch: Minibatch) -> tuple[Hashable, ...]:
    parts = ((name, len(part.cells), part.mask is None) for name, part in minibatch.counts.items())
    return (minibatch.n_cells, minibatch.known is None, *parts)


def _tensors(minibatch: Minibatch, among: Tensor | None) -> dict[str, Tensor]:
    """All that a step reads of a minibatch."""
    found = {"batch": minibatch.batch, "among": among, "known": minibatch.known}
    for name, part in minibatch.counts.items():
        for key in ("cells", "flat", "values", "mask"):
            found[f"{name}/{key}"] = getattr(part, key)
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _with_room(counts: Counts) -> Counts:
    room = int(_ROOM * len(counts.flat)) + 1024
    return replace(
        counts,
        cells=counts.cells.clone(),
        flat=counts.flat.new_zeros(room),
        values=counts.values.new_zeros(room),
        mask=None if counts.mask is None else counts.mask.clone(),
    )
