"""Our training steps, and our AdamW as scmidas' treats lacking modalities (difference 8 in ``parity.py``)."""

from __future__ import annotations

from dataclasses import replace

import torch

from midas.data import Minibatch
from midas.nn import Discriminators
from midas.training.step import Learner, train_step
from scmidas_parity.ours import Replay
from scmidas_parity.peer import Tensors
from scmidas_parity.quantities import stirling


def our_step(learner: Learner, minibatch: Minibatch, noise: Tensors, *, seen: bool) -> Tensors:
    """Run our training step; the losses that scmidas logs of its own."""
    replay, weights = Replay([noise[name] for name in ("joint", *minibatch.counts)]), learner.config.objective
    report = train_step(learner, minibatch, replay, with_batch=seen)
    losses, modalities = report.losses, learner.schema.modalities
    parts = {n: loss + stirling(minibatch, learner.schema)[n] for n, loss in losses.reconstruction.items()}
    recon = sum(modalities[n].modality.weight * part for n, part in parts.items())
    recon = recon + weights.batch_reconstruction * losses.batch_reconstruction
    kl = weights.kl_c * losses.kl_c + weights.kl_u * losses.kl_u
    alignment, guess = weights.alignment * losses.alignment, weights.adversarial * report.discriminator
    found = {
        "training.reconstruction": recon,
        "training.kl": kl,
        "training.alignment": alignment,
        "training.discriminators": guess,
        "training.total": recon + kl + alignment - guess,
    }
    return {name: value.detach() for name, value in found.items()}


def like_scmidas(learner: Learner) -> Learner:
    """Have AdamW treat parameters of modalities that a minibatch lacks as in scmidas; see difference 8 in ``parity.py``."""

    def zeros_for_none(*_: object) -> None:
        for output in learner.vae.decoder.outputs.values():
            for parameter in output.linear.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

    learner.vae_optimizer.register_step_pre_hook(zeros_for_none)
    return replace(
        learner, discriminator_optimizer=SeparateAdamW(learner.discriminators, learner.discriminator_optimizer)
    )


class SeparateAdamW:
    """AdamW on the stacked discriminators as if each were tensors of its own: one that counted no cell stands still.

    Parameters
    ----------
    module
        The discriminators.
    like
        Optimiser whose settings are used.
    """

    def __init__(self, module: Discriminators, like: torch.optim.Optimizer) -> None:
        settings = {name: like.defaults[name] for name in ("lr", "weight_decay", "betas", "eps")}
        self.stacked = list(module.parameters())
        self.single = [
            [torch.nn.Parameter(p.detach()[i].clone()) for p in self.stacked] for i in range(len(module.names))
        ]
        self.optimizers = [torch.optim.AdamW(parameters, **settings) for parameters in self.single]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.stacked:
            parameter.grad = None

    def step(self) -> None:
        """Update each discriminator that has a gradient."""
        for i, (parameters, optimizer) in enumerate(zip(self.single, self.optimizers, strict=True)):
            pairs = list(zip(parameters, self.stacked, strict=True))
            if any(bool(stacked.grad[i].any()) for _, stacked in pairs):
                for own, stacked in pairs:
                    own.grad = stacked.grad[i].clone()
                optimizer.step()
                for own, stacked in pairs:
                    stacked.data[i] = own.data
