"""Choice of device and precision."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from midas.ranks import ALONE, Ranks, init_processes

if TYPE_CHECKING:
    from midas.config import TrainingConfig

_KNOWN = ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class Compute:
    """Device, precision and processes of a run.

    Attributes
    ----------
    device
        Of the networks and minibatches.
    bf16
        Whether matrix products run in bfloat16.
    ranks
        Processes that train together.
    """

    device: torch.device
    bf16: bool
    ranks: Ranks = ALONE

    def autocast(self) -> torch.autocast:
        """Within this context, matrix products run in the chosen precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


def compute_of(training: TrainingConfig) -> Compute:
    """Choose device and precision, and join the processes that train together.

    Raises
    ------
    ValueError
        When the requested device is not available.
    """
    accelerator = accelerator_of(training)
    together = init_processes(training, accelerator)
    device = torch.device(accelerator)
    if together.size > 1 and accelerator == "cuda":
        device = torch.device("cuda", together.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)  # also if another tool created the group, as NCCL uses the current device
    return Compute(device, multiplies_bf16(training, accelerator), together)


def accelerator_of(training: TrainingConfig) -> str:
    """Choose the device: the requested one, or with ``auto`` an NVIDIA or AMD GPU if available.

    ``mps`` (Apple) must be requested explicitly: it is untested, and torch before 2.10 lacks some operations.

    Raises
    ------
    ValueError
        When the requested device is not available.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if training.accelerator == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there.get(training.accelerator, False):
        found = ", ".join(name for name in _KNOWN if there[name])
        msg = f"Expected training.accelerator to be auto or one that is here ({found}), found {training.accelerator!r}."
        raise ValueError(msg)
    return training.accelerator


def accelerator_or_other(training: TrainingConfig) -> str:
    """Like :func:`accelerator_of`, but fall back to ``auto`` if the device is missing: models may come from other machines."""
    try:
        return accelerator_of(training)
    except ValueError:
        return accelerator_of(replace(training, accelerator="auto"))


def multiplies_bf16(training: TrainingConfig, accelerator: str) -> bool:
    """Whether matrix products run in bfloat16: if requested, or with ``auto`` where the hardware is faster with it."""
    fast = accelerator in _KNOWN[:2] and (_gpu_multiplies_bf16() if accelerator == "cuda" else _cpu_multiplies_bf16())
    return training.precision == "bf16" or (training.precision == "auto" and fast)


def _gpu_multiplies_bf16() -> bool:
    """Whether the GPU has units for bfloat16; those before Ampere emulate it, which is slower than float32."""
    try:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    except TypeError:  # older torch without this argument
        return torch.cuda.get_device_capability()[0] >= 8


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 faster: with AMX, or with AVX512-BF16 unless it is Intel's.

    Measured: AVX512-BF16 takes two thirds of the time of float32 on an AMD EPYC, twice as long on an Intel Xeon without
    AMX. Decided by CPU type, not by a benchmark at startup, so that runs with the same seed are bit-identical.
    """

    def has(test: str) -> bool:  # in torch since 2.6
        return hasattr(torch.cpu, test) and bool(getattr(torch.cpu, test)())

    return has("_is_amx_tile_supported") or (has("_is_avx512_bf16_supported") and not _is_intel())


def _is_intel() -> bool:
    try:
        name = Path("/proc/cpuinfo").read_text()
    except OSError:
        name = platform.processor()
    return "Intel" in name
