"""Several processes that train one model: who takes part, which cells are whose, and how they agree."""

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
    # On its first import it takes the group that there is as a default and never lets go of it, nor of gloo's threads, which then
    # abort the process on its way out, now and then. The optimiser imports it; here it is early enough to find no group.
    import torch.distributed.nn.functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from midas.config import TrainingConfig

logger = logging.getLogger(__name__)

# How long a process waits for the others: a script that starts anew on every device has this long to come to its training.
_PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """The processes of one training; by default this one alone.

    Attributes
    ----------
    rank
        Number of this process, 0 for the one that writes files.
    size
        How many there are.
    local_rank
        Number of this process on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cells of a minibatch that are this process's; never none, as every process takes part in every step."""
        mine = index[self.rank :: self.size]
        return mine if len(mine) else index[:1]

    def average_gradients(self, module: torch.nn.Module, n_cells: int) -> None:
        """Give all processes the mean gradient over all their cells.

        A parameter that had no part in a process's own minibatch, for want of cells with its modality, counts as zero there.
        One that had none anywhere keeps none, so that the optimiser leaves it alone, as it does in one process.
        """
        if self.size == 1:
            return
        tuned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        there = [float(parameter.grad is not None) for parameter in tuned]
        device = tuned[0].device
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in tuned]
        # One buffer for all, as every exchange has a cost of its own.
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
        """Sum numbers over the processes by name; one that a process lacks is zero there."""
        if self.size == 1:
            return dict(terms)
        sums: dict[str, float] = {}
        for each in self.all_gather(dict(terms)):
            for name, value in each.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def all_gather(self, value: Any) -> list[Any]:  # noqa: ANN401 - whatever is to be compared
        """Small values of all processes, in the order of their numbers."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _in_contact(self.size):
            distributed.all_gather_object(values, value)
        return values

    def check_same(self, what: Mapping[str, Any]) -> None:
        """Refuse processes that differ in something that must be the same.

        Raises
        ------
        ValueError
            In all processes, so that none waits for another.
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
        """Overwrite tensors by those of the first process."""
        if self.size == 1:
            return
        with _in_contact(self.size):
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def gather_rows(self, rows: Tensor, mine: Tensor) -> Tensor:
        """Put together rows of which each process has filled some, `mine`; rows that nobody filled are not a number."""
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
    """Whether this process is the one that writes files: the only one, or number 0 of those that train together."""
    return not _is_initialized() or distributed.get_rank() == 0


def ranks() -> Ranks:
    """The processes that have met: by an earlier :func:`init_processes`, or a tool that set `torch.distributed` up."""
    if not _is_initialized() or distributed.get_world_size() == 1:
        return ALONE
    rank = distributed.get_rank()
    local = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", str(rank)))
    return Ranks(rank, distributed.get_world_size(), int(local))


def init_processes(training: TrainingConfig, accelerator: str) -> Ranks:
    """Start the processes that the configuration asks for, or meet those that torchrun or SLURM started.

    Started here, each of them runs the script, or the command, from its beginning. The first call counts: later ones find the
    processes that have met.

    Raises
    ------
    ValueError
        Where a script cannot be run again, or on a device that does not exchange gradients.
    ConnectionError
        When the others do not come.
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
    """Refuse a device whose tensors the processes that have met do not exchange."""
    if accelerator != "cuda" and distributed.get_world_size() > 1 and distributed.get_backend() == "nccl":
        msg = (
            f"Expected to train on cuda, as the processes that have met exchange by NCCL, found {accelerator!r}. Set "
            "training.accelerator to cuda, or train on this device in a job of its own."
        )
        raise ValueError(msg)


def _launch(devices: int, num_nodes: int, backend: str) -> int:
    """Start or meet processes by Lightning Fabric, which knows the clusters; the number of this one on its machine."""
    # Imported here: it takes seconds and 170 MB, which one process can do without.
    from lightning.fabric import Fabric  # noqa: PLC0415
    from lightning.fabric.strategies.ddp import DDPStrategy  # noqa: PLC0415

    strategy = DDPStrategy(process_group_backend=backend, timeout=_PATIENCE)
    # Processes are all that is asked of it; which of the visible devices each takes is chosen here.
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
    """Say in plain words that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        msg = (
            f"Expected {size} processes to train together, lost contact with another one: it ended, was killed or did not come "
            f"within {int(_PATIENCE.total_seconds() / 60)} minutes. Its own message says why; start again, with the checkpoint "
            f"if there is one. ({error})"
        )
        raise ConnectionError(msg) from error
