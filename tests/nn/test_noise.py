"""Noise: the share and the mean of dropout, and independence of everything else that is random in the process."""

from __future__ import annotations

import pytest
import torch

from midas.nn import Noise
from midas.nn.noise import _normal_quantile

CPU = torch.device("cpu")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.5, 0.9, 0.999])
def test_dropout_keeps_its_share_and_the_mean(share: float) -> None:
    x = torch.full((1000, 300), 2.0)
    out = Noise(0, CPU).dropout(x, share)
    zeros = float((out == 0).float().mean())
    assert abs(zeros - share) < 1 / 256
    assert len(out.unique()) == 2
    assert float(out.mean()) == pytest.approx(2.0, rel=0.05 if share > 0.9 else 0.01)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7)])
def test_dropout_takes_any_shape(shape: tuple[int, ...]) -> None:
    out = Noise(0, CPU).dropout(torch.ones(shape), 0.5)
    assert out.shape == shape
    assert set(out.unique().tolist()) <= {0.0, 2.0}


def test_neighbouring_entries_drop_out_independently() -> None:
    kept = (Noise(3, CPU).dropout(torch.ones(20_000, 16), 0.5) > 0).float()
    correlation = torch.corrcoef(kept.T) - torch.eye(16)
    assert correlation.abs().max() < 0.04


def test_a_share_of_nothing_leaves_the_values_and_the_generator_alone() -> None:
    noise, x = Noise(0, CPU), torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    before = noise.generator.get_state()
    assert torch.equal(noise.dropout(x, 0.0), x)
    assert torch.equal(noise.generator.get_state(), before)


def test_numbers_follow_the_seed_alone() -> None:
    like = torch.zeros(50, 4)
    before = torch.get_rng_state()

    def draw(seed: int) -> torch.Tensor:
        noise = Noise(seed, CPU)
        return torch.cat([noise.normal_like(like), noise.dropout(like + 1, 0.3)])

    first = draw(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(draw(5), first)
    assert not torch.equal(draw(6), first)
    torch.set_rng_state(before)


@pytest.mark.parametrize("count", [1.0, 2.0, 4.0, 5.0, 30.0, 31.0, 500.0])
def test_thinned_counts_are_binomial(count: float) -> None:
    noise = Noise(0, torch.device("cpu"))
    n, repeats = 20_000, 3
    for _ in range(repeats):
        out = noise.thinned(torch.full((n,), count), torch.arange(n), torch.zeros(n, dtype=torch.int64), 1, 0.6)
        kept = out.mean().item() / count
        assert 0.4 - 0.02 < kept <= 1.0
        assert out.min() >= 0
        assert out.max() <= count
        assert torch.equal(out, out.round())
        if kept < 0.9:  # near 1 the normal draw is cut at the count
            assert out.var().item() == pytest.approx(count * kept * (1 - kept), rel=0.1)


def test_each_row_is_thinned_by_a_share_of_its_own() -> None:
    noise = Noise(0, torch.device("cpu"))
    row = torch.repeat_interleave(torch.arange(200), 500)
    out = noise.thinned(torch.ones(len(row)), torch.arange(len(row)), row, 200, 0.6).view(200, 500).mean(1)
    assert out.min() < 0.45
    assert out.max() > 0.95
    assert out.mean().item() == pytest.approx(0.7, abs=0.05)


def test_nothing_is_thinned_at_zero() -> None:
    values = torch.tensor([1.0, 3.0, 20.0, 100.0])
    row = torch.zeros(4, dtype=torch.int64)
    assert torch.equal(Noise(0, torch.device("cpu")).thinned(values, torch.arange(4), row, 1, 0.0), values)


def test_the_order_of_counts_changes_no_draw() -> None:
    values, order = torch.poisson(torch.full((500,), 8.0)) + 1, torch.randperm(500)
    row, flat = torch.zeros(500, dtype=torch.int64), torch.arange(500)
    plain = Noise(3, torch.device("cpu")).thinned(values, flat, row, 1, 0.6)
    mixed = Noise(3, torch.device("cpu")).thinned(values[order], flat[order], row, 1, 0.6)
    assert torch.equal(mixed, plain[order])


def test_the_quantile_of_apple_gpus_is_that_of_others() -> None:
    p = torch.linspace(1e-6, 1 - 1e-6, 1001)
    apples = torch.erfinv(2 * p - 1) * 2**0.5
    torch.testing.assert_close(_normal_quantile(p), apples, rtol=1e-2, atol=1e-3)
