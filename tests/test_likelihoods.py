"""Likelihoods against torch.distributions, their gradients against autograd, their draws against their moments."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, distributions

from midas.likelihoods import LIKELIHOODS

NAMES = sorted(LIKELIHOODS)
N, D = 7, 11


def parameters(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, D, generator=generator), 0.5 * torch.randn(D, generator=generator)


def distribution(name: str, eta: Tensor, extra: Tensor) -> distributions.Distribution:
    match name:
        case "poisson":
            return distributions.Poisson(eta.exp())
        case "bernoulli":
            return distributions.Bernoulli(logits=eta)
        case "negative_binomial":
            return distributions.NegativeBinomial(extra.exp().expand_as(eta), logits=eta - extra)
        case _:
            return distributions.Normal(eta, (0.5 * extra).exp().expand_as(eta))


def reference(name: str, eta: Tensor, extra: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    nll = -distribution(name, eta, extra).log_prob(x)
    if name in {"poisson", "negative_binomial"}:
        nll = nll - torch.lgamma(x + 1)  # the constant that the package leaves out
    return (nll * mask).sum(1)


def drawn(name: str, *, masked: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Eta, extra, counts, flat positions of the non-zero ones, mask."""
    eta, extra = parameters()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = distribution(name, eta, extra).sample()
    mask = (torch.arange(N * D).view(N, D) % 3 != 0).float() if masked else None
    if mask is not None:
        x = x * mask  # values that were not measured never reach a likelihood
    return eta, extra, x, torch.nonzero(x.reshape(-1)).squeeze(1), mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_nll_is_that_of_torch(name: str, masked: bool) -> None:
    eta, extra, x, flat, mask = drawn(name, masked=masked)
    found = LIKELIHOODS[name].nll(eta, flat, x.reshape(-1)[flat], mask, extra)
    expected = reference(name, eta, extra, x, torch.ones(N, D) if mask is None else mask)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_autograd(name: str, masked: bool) -> None:
    eta, extra, x, flat, mask = drawn(name, masked=masked)
    weights = torch.linspace(-1, 2, N)  # each cell's gradient must be scaled by what comes from above
    pairs = []
    for nll in (
        lambda e, p: LIKELIHOODS[name].nll(e, flat, x.reshape(-1)[flat], mask, p),
        lambda e, p: reference(name, e, p, x, torch.ones(N, D) if mask is None else mask),
    ):
        leaves = eta.clone().requires_grad_(), extra.clone().requires_grad_()
        (nll(*leaves) * weights).sum().backward()
        pairs.append([leaf.grad for leaf in leaves])
    for found, expected in zip(*pairs, strict=True):
        assert (found is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_an_order_of_entries_and_cells_without_counts_change_nothing(name: str) -> None:
    eta, extra, x, flat, _ = drawn(name, masked=False)
    x[2] = 0
    flat = torch.nonzero(x.reshape(-1)).squeeze(1)
    likelihood = LIKELIHOODS[name]
    found = likelihood.nll(eta, flat.flip(0), x.reshape(-1)[flat.flip(0)], None, extra)
    torch.testing.assert_close(found, reference(name, eta, extra, x, torch.ones(N, D)), rtol=1e-4, atol=1e-4)
    none = torch.empty(0, dtype=torch.int64)
    alone = likelihood.nll(eta[2:3], none, torch.empty(0), None, extra)
    torch.testing.assert_close(alone, found[2:3])


@pytest.mark.parametrize("name", NAMES)
def test_in_bfloat16_the_sum_is_still_made_in_float32(name: str) -> None:
    eta, extra, x, flat, _ = drawn(name, masked=False)
    half = eta.bfloat16().requires_grad_()
    found = LIKELIHOODS[name].nll(half, flat, x.reshape(-1)[flat], None, extra)
    assert found.dtype == torch.float32
    expected = LIKELIHOODS[name].nll(half.detach().float(), flat, x.reshape(-1)[flat], None, extra)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_mean_and_variance_of_the_distribution(name: str) -> None:
    eta, extra = (part[..., :4] for part in parameters(3))
    n = 40_000
    many = eta[:1].expand(n, -1)
    draws = LIKELIHOODS[name].sample(LIKELIHOODS[name].mean(many), extra, torch.Generator().manual_seed(0))
    expected = distribution(name, eta[0], extra)
    error = 6 * (expected.variance / n).sqrt()
    torch.testing.assert_close(LIKELIHOODS[name].mean(eta[0]), expected.mean)
    assert ((draws.mean(0) - expected.mean).abs() < error).all()
    torch.testing.assert_close(draws.var(0), expected.variance, rtol=0.08, atol=0.0)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_generator_alone(name: str) -> None:
    eta, extra = parameters()
    before = torch.get_rng_state()
    first, again, other = (
        LIKELIHOODS[name].sample(LIKELIHOODS[name].mean(eta), extra, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["negative_binomial", "gaussian"])
def test_a_missing_parameter_is_refused(name: str) -> None:
    eta, _ = parameters()
    with pytest.raises(ValueError, match="Expected the likelihood's parameter per feature, found None"):
        LIKELIHOODS[name].sample(eta, None, torch.Generator())
