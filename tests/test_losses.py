"""Each term of the objective against a direct computation, and their sum against the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import mudata as md
import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from helpers import tiny
from midas import MIDAS, ObjectiveConfig
from midas.data import Minibatch, gather
from midas.losses import Losses, Weights, alignment, contrast, depth_cost, kl_to_prior, objective
from midas.nn import Gaussian, Noise
from midas.nn.vae import DepthGuess, Latent, Outputs


def test_kl_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    gaussian = Gaussian(torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator))
    expected = kl_divergence(Normal(gaussian.mean, (0.5 * gaussian.logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_prior(gaussian), expected, rtol=1e-4, atol=1e-6)


def test_the_best_guess_of_depth_is_the_mean() -> None:
    depth = torch.tensor([1.0, 2.0, 6.0])
    guess = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([guess], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        depth_cost(DepthGuess(torch.log(depth), guess.expand(3))).backward()
        optimizer.step()
    assert float(guess.exp()) == pytest.approx(3.0, rel=1e-3)


def latents(presence: Mapping[str, list[int]]) -> dict[str, Latent]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, cells in presence.items():
        z = torch.randn(len(cells), 3, generator=generator)
        found[name] = Latent(torch.tensor(cells, dtype=torch.int64), Gaussian(z, torch.zeros_like(z)), z)
    return found


@pytest.mark.parametrize(
    "presence",
    [
        {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3]},
        {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3], "c": [0, 1, 2, 3]},
        {"a": [0, 2], "b": [1, 2, 3], "c": [2, 3]},
        {"a": [0, 1], "b": [2, 3]},
    ],
)
def test_alignment_is_the_spread_of_each_cells_own_draws(presence: dict[str, list[int]]) -> None:
    single = latents(presence)
    expected = torch.zeros(())
    for cell in range(4):
        mine = [latent.z[latent.cells == cell][0] for latent in single.values() if bool((latent.cells == cell).any())]
        if mine:
            mean = sum(mine) / len(mine)
            expected = expected + sum(((z - mean) ** 2).sum() for z in mine)
    torch.testing.assert_close(alignment(single, 4), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def case(mdata: md.MuData) -> tuple[MIDAS, Minibatch, Outputs]:
    model = MIDAS(mdata, config=tiny())
    assert model.mosaic is not None
    minibatch = gather(model.mosaic, np.arange(0, 120, 4))
    return model, minibatch, model.vae(minibatch, Noise(0, torch.device("cpu")))


def terms(case: tuple[MIDAS, Minibatch, Outputs], **weights: float) -> Losses:
    model, minibatch, outputs = case
    return objective(
        outputs, minibatch, model.kinds, model.vae.extras(), Weights.of(ObjectiveConfig(**weights)), dim_c=4
    )


def test_the_terms_are_means_over_cells_of_what_they_say(case: tuple[MIDAS, Minibatch, Outputs]) -> None:
    _, minibatch, outputs = case
    found = terms(case)
    n = minibatch.n_cells
    for name, counts in minibatch.counts.items():
        eta = outputs.eta[name]
        x = torch.zeros(eta.numel()).scatter(0, counts.flat, counts.values).view_as(eta)
        likelihood: Tensor = (
            torch.distributions.Bernoulli(logits=eta).log_prob(x)
            if name == "atac"
            else torch.distributions.Poisson(eta.exp()).log_prob(x) + torch.lgamma(x + 1)
        )
        torch.testing.assert_close(found.reconstruction[name], -likelihood.sum() / n, rtol=1e-4, atol=1e-4)
    kl = kl_to_prior(outputs.joint.posterior)
    torch.testing.assert_close(found.kl_c, kl[:, :4].sum() / n)
    torch.testing.assert_close(found.kl_u, kl[:, 4:].sum() / n)
    torch.testing.assert_close(found.alignment, alignment(outputs.single, n) / n)
    assert outputs.depth is not None
    deep, guessed = outputs.depth.found, outputs.depth.expected
    cost = torch.nansum(guessed.exp() * (deep - deep).exp() - deep.exp() * guessed)
    torch.testing.assert_close(found.depth, cost / n)
    assert outputs.batch_logits is not None
    guess = torch.log_softmax(outputs.batch_logits, 1)[torch.arange(n), minibatch.batch]
    torch.testing.assert_close(found.batch_reconstruction, -guess.mean())


@pytest.mark.parametrize("weight", ["batch_reconstruction", "kl_c", "kl_u", "alignment"])
def test_a_weight_scales_its_term_and_no_other(case: tuple[MIDAS, Minibatch, Outputs], weight: str) -> None:
    one, three = (terms(case, **{weight: value}) for value in (1.0, 3.0))
    # Sums of some hundred thousand in float32.
    torch.testing.assert_close(three.total - one.total, 2 * one.named()[weight], rtol=1e-3, atol=0.1)


def test_the_total_is_the_weighted_sum(case: tuple[MIDAS, Minibatch, Outputs]) -> None:
    model, minibatch, outputs = case
    kinds = {name: replace(kind, weight=i + 0.5) for i, (name, kind) in enumerate(model.kinds.items())}
    weights = ObjectiveConfig(contrast=3.0)
    found = objective(outputs, minibatch, kinds, model.vae.extras(), Weights.of(weights), dim_c=4)
    expected = sum(kinds[name].weight * term for name, term in found.reconstruction.items())
    expected = (
        expected
        + 1000 * found.batch_reconstruction
        + weights.kl_c * found.kl_c
        + weights.kl_u * found.kl_u
        + 50 * found.alignment
        + 3 * found.contrast
        + found.depth
    )
    torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=1e-3)
    assert float(found.contrast) > 0
    assert float(terms(case, contrast=0.0).contrast) == 0.0


def test_one_modality_has_nothing_to_align_and_a_hidden_batch_nothing_to_guess(
    case: tuple[MIDAS, Minibatch, Outputs],
) -> None:
    model, _, _ = case
    assert model.mosaic is not None
    minibatch = gather(model.mosaic, np.arange(10), frozenset({"rna"}))
    outputs = model.vae(minibatch, None, with_batch=False)
    found = terms((model, minibatch, outputs))
    assert float(found.alignment) == float(found.contrast) == float(found.batch_reconstruction) == 0.0
    assert set(found.reconstruction) == {"rna"}


def placed(cells: dict[str, list[int]], means: dict[str, list[list[float]]]) -> dict[str, Latent]:
    found = {}
    for name, at in cells.items():
        mean = torch.tensor(means[name], requires_grad=True)
        found[name] = Latent(torch.tensor(at), Gaussian(mean, torch.zeros_like(mean)), mean)
    return found


def test_a_cell_is_to_be_found_among_those_of_its_batch_that_have_both_modalities() -> None:
    """Cells 0 and 1 of one batch, 2 of another, 3 without the second modality, 4 without the first; z beyond c does not count."""
    cells = {"rna": [0, 1, 2, 3], "adt": [4, 2, 1, 0]}
    means = {
        "rna": [[0.0, 9.0], [2.0, 9.0], [1.0, 9.0], [0.5, 9.0]],
        "adt": [[0.0, 0.0], [1.5, 0.0], [1.0, 0.0], [0.5, 0.0]],
    }
    single = placed(cells, means)
    batch = torch.tensor([0, 0, 1, 0, 0])
    found = contrast(single, batch, dim_c=1)
    logits = -np.array([[0.5**2, 1.0], [1.5**2, 1.0]]) / 2  # rna of cells 0 and 1 against adt of the same
    both = [scipy.special.logsumexp(logits, axis=axis).sum() for axis in (0, 1)]
    assert float(found) == pytest.approx(np.mean(both) - np.trace(logits), rel=1e-5)  # cell 2 has no rival: nothing
    found.backward()
    for name, expected in (("rna", [True, True, False, False]), ("adt", [False, False, True, True])):
        gradient = single[name].posterior.mean.grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert (gradient[:, 0] != 0).tolist() == expected
        assert not gradient[:, 1].any()


def test_no_cell_with_two_modalities_has_no_contrast() -> None:
    single = placed({"rna": [0, 1], "adt": [2]}, {"rna": [[0.0], [1.0]], "adt": [[3.0]]})
    assert float(contrast(single, torch.zeros(3, dtype=torch.long), dim_c=1)) == 0.0


def test_names_in_the_log(case: tuple[MIDAS, Minibatch, Outputs]) -> None:
    expected = {f"reconstruction_{name}" for name in ("rna", "adt", "atac")}
    expected |= {"batch_reconstruction", "kl_c", "kl_u", "alignment", "contrast", "depth", "total"}
    assert set(terms(case).named()) == expected


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.2, 0.7])
def test_weights_rise_as_the_configuration_says(progress: float, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ObjectiveConfig()
    kl, adversarial = config.warmup_factors(progress)
    at = replace(
        config,
        kl_c=kl * config.kl_c,
        kl_u=kl * config.kl_u,
        adversarial=adversarial * config.adversarial,
        contrast=adversarial * config.contrast,
    )
    expected = Weights.of(at)
    monkeypatch.setattr(
        "midas.config.objective.check_types", pytest.fail
    )  # once a step would take longer than all else
    assert Weights.of(config, progress) == expected
