"""Where to compute, and how precisely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from midas.config import TrainingConfig

_KNOWN = ("cpu", "cuda", "mps")


def accelerator_of(training: TrainingConfig) -> str:
    """Choose the device: the one asked for, or the fastest there.

    Raises
    ------
    ValueError
        When the one asked for is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if training.accelerator == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(training.accelerator, False):
        found = ", ".join(name for name in _KNOWN if there[name])
        msg = f"Expected training.accelerator to be auto or one that is here ({found}), found {training.accelerator!r}."
        raise ValueError(msg)
    return training.accelerator


def precision_of(training: TrainingConfig, accelerator: str) -> Literal["32-true", "bf16-mixed"]:
    """Choose the precision of matrix products: bfloat16 where the hardware multiplies it faster."""
    fast = accelerator in _KNOWN[:2] and (
        torch.cuda.is_bf16_supported() if accelerator == "cuda" else _cpu_multiplies_bf16()
    )
    wanted = training.precision == "bf16" or (training.precision == "auto" and fast)
    return "bf16-mixed" if wanted else "32-true"


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for it (AVX512-BF16 or AMX); emulated, bfloat16 is slower than float32."""
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # in torch since 2.6
    return any(bool(getattr(torch.cpu, test)()) for test in tests if hasattr(torch.cpu, test))
