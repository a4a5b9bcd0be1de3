"""The product of experts against its closed form and against the densities that it multiplies."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from midas.nn import Expert, Gaussian, Noise, product_of_experts

N, D = 6, 3


def expert(cells: list[int], seed: int) -> Expert:
    generator = torch.Generator().manual_seed(seed)
    shape = len(cells), D
    gaussian = Gaussian(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
    return Expert(torch.tensor(cells, dtype=torch.int64), gaussian)


EVERY = list(range(N))


@pytest.mark.parametrize(
    "presence",
    [[EVERY], [EVERY, EVERY], [EVERY, [0, 2, 5], [2]], [[1, 3], [0, 1]], [[4]]],
    ids=["one", "two", "partial", "some cells without any", "one cell"],
)
def test_is_the_closed_form_cell_by_cell(presence: list[list[int]]) -> None:
    experts = [expert(cells, seed) for seed, cells in enumerate(presence)]
    found = product_of_experts(N, experts)
    for n in EVERY:
        precision, weighted = torch.ones(D), torch.zeros(D)
        for one in experts:
            for at in torch.nonzero(one.cells == n).flatten().tolist():
                v = one.gaussian.logvar[at].exp()
                precision, weighted = precision + 1 / v, weighted + one.gaussian.mean[at] / v
        torch.testing.assert_close(found.mean[n], weighted / precision)
        torch.testing.assert_close(found.logvar[n].exp(), 1 / precision)


def test_is_proportional_to_the_product_of_the_densities() -> None:
    experts = [expert(EVERY, 1), expert(EVERY, 2)]
    found = product_of_experts(N, experts)
    x = torch.linspace(-2, 2, 9)[:, None, None].expand(-1, N, D)

    def log_density(gaussian: Gaussian) -> torch.Tensor:
        return Normal(gaussian.mean, (0.5 * gaussian.logvar).exp()).log_prob(x)

    product = Normal(0.0, 1.0).log_prob(x) + sum(log_density(e.gaussian) for e in experts)
    ratio = product - log_density(found)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_expert_and_only_its_cells() -> None:
    mean = torch.zeros(2, D, requires_grad=True)
    partial = Expert(torch.tensor([1, 4]), Gaussian(mean, torch.zeros(2, D)))
    found = product_of_experts(N, [expert(EVERY, 0), partial])
    found.mean[[0, 2, 3, 5]].sum().backward(retain_graph=True)
    assert mean.grad is None or not mean.grad.any()
    found.mean[4].sum().backward()
    assert mean.grad is not None
    assert (mean.grad[1] > 0).all()
    assert not mean.grad[0].any()


def test_draws_have_the_gaussians_moments_and_are_its_mean_without_noise() -> None:
    gaussian = Gaussian(torch.full((50_000, 2), 1.5), torch.full((50_000, 2), 0.7))
    draws = gaussian.sample(Noise(0, torch.device("cpu")))
    torch.testing.assert_close(draws.mean(0), torch.full((2,), 1.5), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.var(0), torch.full((2,), 0.7).exp(), atol=0, rtol=0.05)
    assert gaussian.sample(None) is gaussian.mean
