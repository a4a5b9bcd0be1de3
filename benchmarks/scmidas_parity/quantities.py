"""All that one pass of ours over one minibatch computes, under the exporter's names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from midas.data import Minibatch, MosaicSchema
from midas.losses import Losses, Weights, objective
from midas.nn import Gaussian, Outputs
from midas.training.step import discriminator_input
from scmidas_parity.ours import Ours, Replay
from scmidas_parity.peer import Tensors


def our_pass(ours: Ours, minibatch: Minibatch, noise: Tensors, *, seen: bool) -> Tensors:
    """All quantities of one pass over one minibatch, under the exporter's names."""
    config, replay = ours.config, Replay([noise[name] for name in ("joint", *minibatch.counts)])
    outputs = ours.vae(minibatch, replay, with_batch=seen)
    modalities = {name: part.modality for name, part in ours.schema.modalities.items()}
    losses = objective(
        outputs, minibatch, modalities, ours.vae.extras(), Weights.of(config.objective), config.network.dim_c
    )
    c, present = discriminator_input(outputs, ours.discriminators.names, config.network.dim_c)
    guesses = cross_entropies(ours, c, present, minibatch.batch)
    named = terms(ours, losses, guesses, stirling(minibatch, ours.schema))
    if seen:
        named["loss.reconstruction.batch"] = losses.batch_reconstruction
    fixed = ours.discriminators(c.detach(), present, minibatch.batch, None).mean() * config.objective.adversarial
    found = (
        counts_and_masks(minibatch) | experts(ours, minibatch, seen=seen) | posteriors(outputs, config.network.dim_c)
    )
    found |= decoded(ours, outputs) | named
    found |= gradients(named["loss.total"], ours.vae, "net") | gradients(fixed, ours.discriminators, "dsc")
    return {name: value.detach() for name, value in found.items()}


def stirling(minibatch: Minibatch, schema: MosaicSchema) -> dict[str, float]:
    """Stirling's approximation of log x!, summed over counts above 1 and per cell, of the Poisson modalities."""
    out = {}
    for name, counts in minibatch.counts.items():
        x = counts.values.double()
        x = x[x > 1]
        terms = x * torch.log(x) - x + 0.5 * torch.log(2 * torch.pi * x)
        poisson = schema.modalities[name].modality.likelihood == "poisson"
        out[name] = float(terms.sum()) / minibatch.n_cells if poisson else 0.0
    return out


def counts_and_masks(minibatch: Minibatch) -> Tensors:
    """Counts as scored (0 where a feature was not measured), and masks (1 everywhere if there is none)."""
    out = {}
    for name, counts in minibatch.counts.items():
        dense = counts.dense("identity")
        out |= {f"counts.{name}": dense, f"mask.{name}": torch.ones_like(dense) if counts.mask is None else counts.mask}
    return out


def experts(ours: Ours, minibatch: Minibatch, *, seen: bool) -> Tensors:
    """Experts of each modality and of the batch, without dropout and draws."""
    by_modality, of_batch = ours.vae.experts(minibatch, None, with_batch=seen)
    named = by_modality if of_batch is None else {**by_modality, "batch": of_batch}
    out = {}
    for name, expert in named.items():
        out[f"expert mean.{name}"], out[f"expert logvar.{name}"] = expert.gaussian.mean, expert.gaussian.logvar
    return out


def decoded(ours: Ours, outputs: Outputs) -> Tensors:
    """Decoder outputs of all modalities on scmidas' scale: log rates of Poisson, probabilities of Bernoulli.

    What the objective used must be the same as what decoding z again gives.
    """
    out = {}
    for name in ours.schema.modalities:
        eta = ours.vae.decode(outputs.joint.z, name)
        scored = outputs.eta.get(name, eta)
        if not torch.equal(scored, eta):
            raise ValueError(f"expected one decoder output of {name}, found two that differ")
        bernoulli = ours.schema.modalities[name].modality.likelihood == "bernoulli"
        out[f"decoded.{name}"] = torch.sigmoid(scored) if bernoulli else scored
    return out


def posteriors(outputs: Outputs, dim_c: int) -> Tensors:
    """Joint and single-modality posteriors and draws."""
    joint = outputs.joint
    out = {"joint mean": joint.posterior.mean, "joint logvar": joint.posterior.logvar, "joint z": joint.z}
    for name, latent in outputs.single.items():
        own: Gaussian = latent.posterior
        out |= {f"single mean.{name}": own.mean, f"single logvar.{name}": own.logvar}
        out[f"single c.{name}"] = latent.z[:, :dim_c]
    if outputs.batch_logits is not None:
        out["batch logits"] = outputs.batch_logits
    return out


def cross_entropies(ours: Ours, c: Tensor, present: Tensor, batch: Tensor) -> Tensors:
    """Cross entropy of each discriminator that counts a cell, and their sum, per cell."""
    out = {"loss.discriminators": ours.discriminators(c, present, batch, None).mean()}
    for i, name in enumerate(ours.discriminators.names):
        if present[i].any():
            only = torch.zeros_like(present).index_fill(0, torch.tensor(i), value=True) & present
            out[f"loss.discriminator.{name}"] = ours.discriminators(c, only, batch, None).mean()
    return out


def terms(ours: Ours, losses: Losses, guesses: Tensors, constant: Mapping[str, float]) -> Tensors:
    """Terms of the objective under scmidas' names, with the constant of the Poisson."""
    modalities = ours.schema.modalities
    shift = sum(modalities[name].modality.weight * value for name, value in constant.items())
    total = losses.total + shift
    out = {f"loss.reconstruction.{name}": loss + constant[name] for name, loss in losses.reconstruction.items()}
    return {
        **out,
        **guesses,
        "loss.kl c": losses.kl_c,
        "loss.kl u": losses.kl_u,
        "loss.alignment": losses.alignment,
        "loss.total without discriminators": total,
        "loss.total": total - ours.config.objective.adversarial * guesses["loss.discriminators"],
    }


def gradients(loss: Tensor, module: torch.nn.Module, name: str) -> Tensors:
    """Gradient of a loss with respect to every parameter; zero where it does not depend on one."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {
        f"gradient.{name}.{key}": torch.zeros_like(p) if g is None else g
        for key, p, g in zip(names, parameters, found, strict=True)
    }
