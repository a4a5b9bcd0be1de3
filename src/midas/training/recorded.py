"""Training steps as CUDA graphs, recorded once and replayed: a single call then launches thousands of small kernels.

A graph is specific to the shape of a minibatch: the number of cells, and of cells with each modality. Minibatches are
therefore drawn with few different shapes (:func:`midas.data.loader.epoch_indices`), and there is one graph per shape.
The number of counts varies between minibatches; they are zero-padded to a fixed length.
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

# Padding relative to the counts of a shape's first minibatch; larger minibatches run without a graph.
_ROOM = 1.15
# Maximum number of graphs; minibatches of further shapes run without one.
_MOST = 64
# Weights that change during warm-up.
_RISING = ("contrast", "kl_c", "kl_u", "adversarial")
# Steps that the CPU may run ahead of the GPU; their minibatches are queued in GPU memory.
_AHEAD = 3


def records(learner: Learner, *, alike: bool) -> bool:
    """Whether steps of this run can be recorded: a single process on a GPU, without an anchor.

    Parameters
    ----------
    alike
        Whether minibatches have few different shapes; otherwise, graphs would take memory without being reused.
    """
    compute = learner.compute
    cuda = compute.device.type == "cuda" and compute.ranks.size == 1 and learner.anchor is None
    return cuda and alike and learner.config.training.cuda_graphs


class Recorder:
    """Runs training steps, from CUDA graphs where possible.

    Parameters
    ----------
    device
        The GPU.

    Attributes
    ----------
    replayed
        Number of steps replayed from a graph.
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
        Its terms by name, valid until the next step overwrites them.
        """
        weights = learner.weights(progress)
        stage = (bool(weights.adversarial > 0), bool(weights.contrast > 0))
        if stage != self._stage:  # graphs without discriminators, or without the contrast, are no longer needed
            self._stage = stage
            torch.cuda.current_stream(self._device).synchronize()  # some of them may still be running
            self._graphs.clear()
        teach, contrasts = stage
        moved, among = self._moved(learner, minibatch)
        key = (*_shape(minibatch), among is not None, with_batch)
        graph = self._graphs.get(key)
        if graph is None and key in self._graphs and sum(map(bool, self._graphs.values())) < _MOST:
            # Not on the first occurrence: lazily created state must exist before recording.
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
        """Copy to the GPU, overlapping with previous steps."""
        with torch.cuda.stream(self._copying):
            moved, among = minibatch.to(self._device), learner.among(minibatch)
        here = torch.cuda.current_stream(self._device)
        here.wait_stream(self._copying)
        for tensor in _tensors(moved, among).values():
            tensor.record_stream(here)  # keeps its memory from being reused before this step is done
        return moved, among

    def _wait(self) -> None:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._under_way.append(event)
        if len(self._under_way) > _AHEAD:
            self._under_way.popleft().synchronize()

    def capture(self, noise: Noise) -> _Capture:
        """Resources for recording a graph."""
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
        # Padding zeros go to distinct positions, as atomic additions to one position would be serialised.
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
        """Run the step with a minibatch of the same shape; the terms are valid until the next step."""
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
    """Tensors of a minibatch that a step reads."""
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
