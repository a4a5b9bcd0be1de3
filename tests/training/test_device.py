"""Where to compute, and how precisely."""

from __future__ import annotations

import pytest
import torch

from midas import TrainingConfig
from midas.training import device
from midas.training.device import accelerator_of, accelerator_or_other, multiplies_bf16


def there(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "cpu"), (False, False, "cpu")]
)
def test_a_gpu_is_taken_if_it_is_there_but_apples_only_if_asked_for(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(monkeypatch, cuda=cuda, mps=mps)
    assert accelerator_of(TrainingConfig()) == expected
    assert accelerator_of(TrainingConfig(accelerator="cpu")) == "cpu"
    if mps:
        assert accelerator_of(TrainingConfig(accelerator="mps")) == "mps"


def test_what_is_not_there_is_refused_with_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, cuda=False, mps=True)
    with pytest.raises(ValueError, match=r"one that is here \(cpu, mps\), found 'cuda'"):
        accelerator_of(TrainingConfig(accelerator="cuda"))


@pytest.mark.parametrize(
    ("precision", "accelerator", "fast", "expected"),
    [
        ("auto", "cpu", True, True),
        ("auto", "cpu", False, False),
        ("auto", "mps", True, False),
        ("32", "cpu", True, False),
        ("bf16", "cpu", False, True),
        ("auto", "cuda", True, True),
        ("auto", "cuda", False, False),
    ],
)
def test_bfloat16_where_the_hardware_multiplies_it_faster(
    precision: str, accelerator: str, fast: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_cpu_multiplies_bf16", lambda: fast)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast or including_emulation)
    assert multiplies_bf16(TrainingConfig(precision=precision), accelerator) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("major", "expected"), [(7, False), (8, True)])
def test_a_torch_that_does_not_know_of_emulation(major: int, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (major, 5))
    assert multiplies_bf16(TrainingConfig(), "cuda") is expected


def test_another_device_takes_the_place_of_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, cuda=False, mps=True)
    assert accelerator_or_other(TrainingConfig(accelerator="cpu")) == "cpu"
    assert accelerator_or_other(TrainingConfig(accelerator="cuda")) == "cpu"


@pytest.mark.parametrize(
    ("amx", "avx512", "intel", "expected"),
    [
        (True, True, True, True),
        (False, True, False, True),
        (False, True, True, False),  # twice as slow as float32
        (False, False, False, False),
    ],
)
def test_which_cpus_multiply_bfloat16_faster(
    amx: bool, avx512: bool, intel: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(device, "_is_intel", lambda: intel)
    assert device._cpu_multiplies_bf16() is expected
