"""One training step: who is updated, against what, and what happens when the objective breaks."""

from __future__ import annotations

import mudata as md
import numpy as np
import pytest
import torch

from helpers import dense, tiny
from midas import MIDAS, Config, NotFiniteError
from midas.data import Minibatch, gather
from midas.nn import Noise
from midas.training import Learner, train_step
from midas.training.loop import learner_for
from midas.training.step import Anchor, check_finite, discriminator_input, losses_of, select

CPU = torch.device("cpu")


def setup(mdata: md.MuData, config: Config | None = None) -> tuple[Learner, Minibatch]:
    model = MIDAS(mdata, config=config or tiny())
    assert model.mosaic is not None
    learner = learner_for(model.vae, model.discriminators, model.mosaic, model.config)
    return learner, gather(model.mosaic, np.arange(0, 120, 3))


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().clone().flatten() for value in module.parameters()])


def test_a_step_updates_both_networks(mdata: md.MuData) -> None:
    learner, minibatch = setup(mdata)
    before = weights(learner.vae), weights(learner.discriminators)
    report = train_step(learner, minibatch, Noise(0, CPU), with_batch=True)
    for module, old in zip((learner.vae, learner.discriminators), before, strict=True):
        assert not torch.equal(weights(module), old)
        assert all(parameter.requires_grad for parameter in module.parameters())
    named = report.named()
    assert set(named) >= {"reconstruction_rna", "reconstruction_adt", "reconstruction_atac", "total", "discriminator"}
    assert not any(term.requires_grad for term in named.values())


def test_discriminators_take_their_steps(mdata: md.MuData) -> None:
    learner, minibatch = setup(mdata, tiny(discriminator_steps=3))
    train_step(learner, minibatch, Noise(0, CPU), with_batch=True)

    def steps(optimizer: torch.optim.Optimizer) -> set[int]:
        return {int(state["step"]) for state in optimizer.state.values()}

    assert steps(learner.discriminator_optimizer) == {3}
    assert steps(learner.vae_optimizer) == {1}


@pytest.mark.parametrize("adversarial_reward", ["cells", "batches"])
def test_discriminators_learn_to_guess_and_the_model_to_mislead_them(mdata: md.MuData, adversarial_reward: str) -> None:
    """The model's gradient is that of its objective minus the weighted reward, which may be the cross entropy of the guesses."""
    config = tiny(
        network={"dropout": 0.0, "discriminator_dropout": 0.0},
        objective={"adversarial": 7.0, "adversarial_reward": adversarial_reward},
    )
    learner, minibatch = setup(mdata, config)
    for group in learner.vae_optimizer.param_groups:
        group["lr"] = 0.0  # the weights that the gradient was taken at stay
    train_step(learner, minibatch, Noise(3, CPU), with_batch=True)
    outputs = learner.vae(minibatch, Noise(3, CPU))
    c, present = discriminator_input(outputs, learner.discriminators.names, config.network.dim_c)
    guess, reward = (term.mean() for term in learner.discriminators.confusion(c, present, minibatch.batch, None))
    reward = guess if adversarial_reward == "cells" else reward
    parameters = [p for p in learner.vae.parameters() if p.grad is not None]
    expected = torch.autograd.grad(losses_of(learner, outputs, minibatch).total - 7.0 * reward, parameters)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-3)

    for group in learner.discriminator_optimizer.param_groups:
        group["lr"] = 0.01
    first = guess.item()
    for _ in range(60):
        report = train_step(learner, minibatch, Noise(3, CPU), with_batch=True)
    assert report.discriminator.item() < 0.8 * first


def test_without_an_adversary_the_discriminators_rest(mdata: md.MuData) -> None:
    learner, minibatch = setup(mdata, tiny(objective={"adversarial": 0.0}))
    before = weights(learner.discriminators)
    train_step(learner, minibatch, Noise(0, CPU), with_batch=True)
    assert torch.equal(weights(learner.discriminators), before)


def test_discriminators_without_weight_are_not_asked(mdata: md.MuData, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, minibatch = setup(mdata)
    report = train_step(learner, minibatch, Noise(0, CPU), with_batch=True)
    assert "discriminator" in report.named()
    for name in ("forward", "confusion"):
        monkeypatch.setattr(learner.discriminators, name, pytest.fail)
    before = weights(learner.vae)
    report = train_step(learner, minibatch, Noise(0, CPU), with_batch=True, progress=0.1)
    assert "discriminator" not in report.named()
    assert not torch.equal(weights(learner.vae), before)


def test_an_interruption_leaves_discriminators_that_learn(mdata: md.MuData, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, minibatch = setup(mdata)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(learner.discriminators, "confusion", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_step(learner, minibatch, Noise(0, CPU), with_batch=True)
    assert all(parameter.requires_grad for parameter in learner.discriminators.parameters())


def test_discriminators_see_the_joint_c_and_each_modalitys_own(mdata: md.MuData) -> None:
    learner, minibatch = setup(mdata)
    outputs = learner.vae(minibatch, None)
    c, present = discriminator_input(outputs, learner.discriminators.names, 4)
    assert c.shape == (4, minibatch.n_cells, 4)
    torch.testing.assert_close(c[0], outputs.joint.z[:, :4])
    assert present[0].all()
    for k, name in enumerate(learner.discriminators.names[1:], start=1):
        latent = outputs.single[name]
        assert torch.equal(torch.nonzero(present[k]).flatten(), latent.cells)
        torch.testing.assert_close(c[k][latent.cells], latent.z[:, :4])
        assert torch.isfinite(c[k]).all()
    only = discriminator_input(learner.vae(select(minibatch, present[1] & ~present[2]), None), ("joint", "rna", "x"), 4)
    assert not only[1][2].any()


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_gradients_are_clipped_if_wanted(clip: float | None, mdata: md.MuData) -> None:
    learner, minibatch = setup(mdata, tiny(gradient_clip=clip))
    train_step(learner, minibatch, Noise(0, CPU), with_batch=True)
    for module in (learner.vae, learner.discriminators):
        norm = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).norm()
        assert norm > 0.1 if clip is None else norm <= clip * 1.001


def test_part_of_a_minibatch_is_what_would_have_been_gathered(mdata: md.MuData) -> None:
    model = MIDAS(mdata, config=tiny())
    assert model.mosaic is not None
    minibatch = gather(model.mosaic, np.arange(0, 120, 3))
    keep = torch.arange(minibatch.n_cells) % 3 == 1
    found, expected = select(minibatch, keep), gather(model.mosaic, minibatch.index[keep.numpy()])
    assert found.index.tolist() == expected.index.tolist()
    assert torch.equal(found.batch, expected.batch)
    for name, counts in expected.counts.items():
        assert torch.equal(found.counts[name].cells, counts.cells)
        assert torch.equal(found.counts[name].dense("identity"), counts.dense("identity"))
    nothing = select(minibatch, torch.zeros(minibatch.n_cells, dtype=torch.bool))
    assert nothing.n_cells == 0
    assert not nothing.counts


def test_masks_are_part_of_the_part(mdata: md.MuData) -> None:
    mdata["rna"].var["measured_batch2"] = np.arange(30) % 2 == 0
    model = MIDAS(mdata, config=tiny())
    assert model.mosaic is not None
    minibatch = gather(model.mosaic, np.arange(0, 120, 3))
    part = select(minibatch, minibatch.batch == 1).counts["rna"]
    expected = dense(model.mosaic, "rna").to_numpy()[minibatch.index[(minibatch.batch == 1).numpy()]]
    assert part.mask is not None
    np.testing.assert_array_equal(part.mask.numpy() == 0, np.isnan(expected[~np.isnan(expected).all(1)]))


def test_a_broken_objective_names_the_term_and_the_batches_before_it_spoils_the_weights(mdata: md.MuData) -> None:
    learner, minibatch = setup(mdata)
    with torch.no_grad():
        learner.vae.decoder.outputs["adt"].linear.bias[0] = torch.nan
    before, others = weights(learner.vae), weights(learner.discriminators)
    with pytest.raises(NotFiniteError) as error:
        train_step(learner, minibatch, Noise(0, CPU), with_batch=True)
    message = str(error.value)
    assert (
        "Expected a finite objective, found NaN or infinity: reconstruction_adt in cells of batch1, batch3." in message
    )
    assert "Lower training.learning_rate" in message
    torch.testing.assert_close(weights(learner.vae), before, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(weights(learner.discriminators), others)


def test_an_unknown_batch_has_no_name(mdata: md.MuData) -> None:
    learner, minibatch = setup(mdata)
    with torch.no_grad():
        learner.vae.decoder.outputs["rna"].linear.bias[0] = torch.inf
    stranger = minibatch.of_batches(torch.where(minibatch.batch == 2, -1, minibatch.batch))
    with pytest.raises(NotFiniteError, match="reconstruction_rna in cells of unknown, batch1, batch2"):
        check_finite({"total": float("inf")}, learner, stranger)


def test_what_cannot_be_repeated_without_noise_is_said(mdata: md.MuData) -> None:
    learner, minibatch = setup(mdata)
    with pytest.raises(NotFiniteError, match=r"found NaN or infinity: total \(by dropout or sampling\)"):
        check_finite({"total": float("nan"), "kl_c": 1.0}, learner, minibatch)
    check_finite({"total": 1.0}, learner, minibatch)


def test_an_anchor_is_the_weighted_squared_distance() -> None:
    target = torch.tensor([[1.0, 2.0], [torch.nan, torch.nan], [0.0, 0.0]])
    anchor = Anchor(target, torch.tensor([2.0, 5.0, 3.0]))
    mean = torch.tensor([[1.0, 1.0], [9.0, 9.0]])
    assert anchor.distance(mean, np.array([2, 1])).item() == pytest.approx(3 * 2 / 2)  # NaN: free
    assert anchor.distance(mean, np.array([0, 2])).item() == pytest.approx((2 * 1 + 3 * 162) / 2)


def test_frozen_parameters_stay(mdata: md.MuData) -> None:
    model = MIDAS(mdata, config=tiny())
    model.vae.requires_grad_(requires_grad=False)
    model.vae.batch_encoder.requires_grad_(requires_grad=True)
    assert model.mosaic is not None
    learner = learner_for(model.vae, model.discriminators, model.mosaic, model.config)
    before = {name: value.clone() for name, value in model.vae.named_parameters()}
    minibatch = gather(model.mosaic, np.arange(0, 120, 3))
    for with_batch in (True, False):
        report = train_step(learner, minibatch, Noise(0, CPU), with_batch=with_batch)
    assert "anchor" not in report.named()
    for name, value in model.vae.named_parameters():
        assert torch.equal(value, before[name]) == (not name.startswith("batch_encoder")), name
