"""Distributed training: the process group, the cells of each process, and communication between them."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

if distributed.is_available():
    # When first imported, this module keeps a reference to the existing group as a default argument, and thereby to
    # gloo's threads, which then sometimes abort the process at exit. The optimiser would import it; here, no group
    # exists yet.
    import torch.distributed.nn.functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from midas.config import TrainingConfig

logger = logging.getLogger(__name__)

# Timeout for the other processes: a script that is restarted on every device has this long to reach its training.
_PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """The processes of one training run; by default only this one.

    Attributes
    ----------
    rank
        Rank of this process; rank 0 writes files.
    size
        Number of processes.
    local_rank
        Rank of this process on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process has rank 0, which writes files."""
        return self.rank == 0

    def share(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Share of a minibatch for this process; never empty, as every process takes part in every step."""
        mine = index[self.rank :: self.size]
        return mine if len(mine) else index[:1]

    def average_gradients(self, module: torch.nn.Module, n_cells: int) -> None:
        """Average gradients over the cells of all processes.

        A parameter without a gradient in one process, because its minibatch has no cells with the modality, counts as
        zero there. If it has no gradient in any process, it is left at None, so that the optimiser skips it, as with a
        single process.
        """
        if self.size == 1:
            return
        tuned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        there = [float(parameter.grad is not None) for parameter in tuned]
        device = tuned[0].device
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in tuned]
        # A single buffer for all, as each all-reduce has a fixed cost.
        sums = torch.cat([part.detach().reshape(-1).float() for part in parts]) * n_cells
        sums = torch.cat([sums, torch.tensor([*there, float(n_cells)], device=device)])
        with _in_contact(self.size):
            distributed.all_reduce(sums)
        marks = sums[sums.numel() - len(tuned) - 1 :].tolist()
        total, start = marks.pop(), 0
        for parameter, mark in zip(tuned, marks, strict=True):
            if mark:
                mean = sums[start : start + parameter.numel()].view_as(parameter) / total
                parameter.grad = mean.to(parameter.dtype)
            start += parameter.numel()

    def all_reduce_sum(self, terms: Mapping[str, float]) -> dict[str, float]:
        """Sum values over the processes by name; missing values count as zero."""
        if self.size == 1:
            return dict(terms)
        sums: dict[str, float] = {}
        for each in self.all_gather(dict(terms)):
            for name, value in each.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def all_gather(self, value: Any) -> list[Any]:  # noqa: ANN401 - whatever is to be compared
        """Gather small values from all processes, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _in_contact(self.size):
            distributed.all_gather_object(values, value)
        return values

    def check_same(self, what: Mapping[str, Any]) -> None:
        """Raise an error if processes differ in something that must be the same.

        Raises
        ------
        ValueError
            Raised in all processes, so that none waits for another.
        """
        everyone = self.all_gather(dict(what))
        differ = [key for key in what if any(other.get(key) != everyone[0].get(key) for other in everyone)]
        if differ:
            msg = (
                f"Expected the same in all {self.size} processes that train together, found different {', '.join(differ)}. Give "
                "each of them the same data, configuration and seed, and files that all of them can read."
            )
            raise ValueError(msg)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors, in place, with those of rank 0."""
        if self.size == 1:
            return
        with _in_contact(self.size):
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def gather_rows(self, rows: Tensor, mine: Tensor) -> Tensor:
        """Gather rows of which each process has filled some (`mine`); rows filled by no process are NaN."""
        if self.size == 1:
            return rows
        rows = torch.where(mine[:, None], rows, 0.0)
        filled = mine.to(torch.int32)
        with _in_contact(self.size):
            distributed.all_reduce(rows)
            distributed.all_reduce(filled)
        return torch.where(filled[:, None] > 0, rows, torch.nan)


ALONE = Ranks()


def is_first() -> bool:
    """Whether this process writes files: it is the only one, or has rank 0."""
    return not _is_initialized() or distributed.get_rank() == 0


def ranks() -> Ranks:
    """Current process group, from an earlier :func:`init_processes` or a tool that initialised `torch.distributed`."""
    if not _is_initialized() or distributed.get_world_size() == 1:
        return ALONE
    rank = distributed.get_rank()
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", str(rank)))
    return Ranks(rank, distributed.get_world_size(), int(local))


def init_processes(training: TrainingConfig, accelerator: str) -> Ranks:
    """Start the processes requested by the configuration, or join those started by torchrun or SLURM.

    Processes started here run the script, or the command, from its beginning. Only the first call has an effect: later
    ones return the existing group.

    Raises
    ------
    ValueError
        When there is no script to run again, or the device does not support distributed training.
    ConnectionError
        When the other processes do not join in time.
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ
    size = int(os.environ["WORLD_SIZE"]) if launched else training.devices * training.num_nodes
    if _is_initialized():
        _check_exchanges(accelerator)
    if _is_initialized() or size == 1:
        return ranks()
    if accelerator not in {"cpu", "cuda"}:
        msg = f"Expected cpu or cuda to train on {size} devices, found {accelerator!r}. Set training.accelerator or devices = 1."
        raise ValueError(msg)
    if hasattr(sys, "ps1") and not launched:
        msg = f"Expected a script to train on {size} devices, found a notebook or prompt, which cannot be run again."
        raise ValueError(msg)
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched else training.devices
    with _in_contact(size):
        local = _launch(per_node, size // per_node, "nccl" if accelerator == "cuda" else "gloo")
    found = ranks()
    if accelerator == "cuda":
        torch.cuda.set_device(local % torch.cuda.device_count())
    logger.info("Process %s of %s.", found.rank + 1, found.size)
    return found


def _check_exchanges(accelerator: str) -> None:
    """Raise an error if the backend of the existing group does not support the device."""
    if accelerator != "cuda" and distributed.get_world_size() > 1 and distributed.get_backend() == "nccl":
        msg = (
            f"Expected to train on cuda, as the processes that have met exchange by NCCL, found {accelerator!r}. Set "
            "training.accelerator to cuda, or train on this device in a job of its own."
        )
        raise ValueError(msg)


def _launch(devices: int, num_nodes: int, backend: str) -> int:
    """Start or join processes with Lightning Fabric, which supports clusters; returns the local rank."""
    # Imported here: it takes seconds and 170 MB, and a single process does not need it.
    from lightning.fabric import Fabric  # noqa: PLC0415
    from lightning.fabric.strategies.ddp import DDPStrategy  # noqa: PLC0415

    strategy = DDPStrategy(process_group_backend=backend, timeout=_PATIENCE)
    # Fabric only starts processes; devices are assigned here.
    fabric = Fabric(accelerator="cpu", devices=devices, num_nodes=num_nodes, strategy=strategy)
    fabric.launch()
    os.environ.setdefault("LOCAL_RANK", str(fabric.local_rank))
    atexit.register(_leave_group)
    return int(fabric.local_rank)


def _leave_group() -> None:
    """Destroy the process group at exit; otherwise gloo's threads sometimes abort the process."""
    if _is_initialized():
        distributed.destroy_process_group()


def _is_initialized() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def _in_contact(size: int) -> Iterator[None]:
    """Turn failed communication into a readable error."""
    try:
        yield
    except RuntimeError as error:
        msg = (
            f"Expected {size} processes to train together, lost contact with another one: it ended, was killed or did not come "
            f"within {int(_PATIENCE.total_seconds() / 60)} minutes. Its own message says why; start again, with the checkpoint "
            f"if there is one. ({error})"
        )
        raise ConnectionError(msg) from error
