"""One training step, testable without the loop: update the discriminators, then the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from midas.losses import Losses, Weights, objective
from midas.training.counterparts import SURE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.config import Config
    from midas.data.minibatch import Minibatch
    from midas.data.schema import MosaicSchema
    from midas.nn import VAE, Discriminators, Noise, Outputs
    from midas.training.device import Compute


class NotFiniteError(ArithmeticError):
    """A term of the objective became NaN or infinite."""


@dataclass(frozen=True)
class Anchor:
    """Target posterior means of some cells, which keep the latent space in place during fine-tuning.

    Attributes
    ----------
    target
        `(n_cells of the mosaic, dim_z)`; NaN rows for unconstrained cells.
    weight
        Weight of each cell's squared distance to its target, `(n_cells of the mosaic,)`.
    """

    target: Tensor
    weight: Tensor

    def distance(self, mean: Tensor, index: NDArray[np.int64]) -> Tensor:
        """Weighted squared distance of the means `(n, dim_z)` of the cells `index` to their targets, averaged over cells."""
        at = torch.from_numpy(index)
        target, weight = self.target[at].to(mean.device), self.weight[at].to(mean.device)
        away = torch.where(torch.isfinite(target), mean - target, 0.0)
        return (away.square().sum(1) * weight).mean()


@dataclass(frozen=True)
class Learner:
    """Networks, optimisers and settings of a training run.

    Attributes
    ----------
    vae, discriminators
        Networks, on the device.
    vae_optimizer, discriminator_optimizer
        Their optimisers.
    compute
        Device and precision.
    schema
        Of the data.
    config
        Configuration.
    anchor
        Targets for some cells.
    counterparts
        Scores from :func:`midas.training.counterparts.counterparts`, `(n_cells, n_batches)`, from 0 to 255, on the
        device; None if not used.
    """

    vae: VAE
    discriminators: Discriminators
    vae_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    compute: Compute
    schema: MosaicSchema
    config: Config
    anchor: Anchor | None = None
    counterparts: Tensor | None = None

    def among(self, minibatch: Minibatch) -> Tensor | None:
        """Class weights of the batches for each cell; see :meth:`midas.nn.Discriminators.forward`."""
        if self.counterparts is None:
            return None
        index = torch.from_numpy(minibatch.index).to(self.counterparts.device)
        return self.counterparts[index].float() / SURE

    def weights(self, progress: float) -> Weights:
        """Weights of the loss terms after the given fraction of all steps."""
        return Weights.of(self.config.objective, progress)


@dataclass(frozen=True)
class StepReport:
    """Results of a step: loss terms, the discriminators' cross entropy, and the distance from the anchor.

    The last two are None in steps without them.
    """

    losses: Losses
    discriminator: Tensor | None = None
    anchor: Tensor | None = None

    def named(self) -> dict[str, Tensor]:
        """All available terms by name, detached, on the device."""
        terms = self.losses.named()
        if self.discriminator is not None:
            terms["discriminator"] = self.discriminator
        if self.anchor is not None:
            terms["anchor"] = self.anchor
        return {name: term.detach() for name, term in terms.items()}


def discriminator_input(outputs: Outputs, names: tuple[str, ...], dim_c: int) -> tuple[Tensor, Tensor]:
    """Stack the joint c and every modality's c.

    Returns
    -------
    c `(n_discriminators, n_cells, dim_c)`, zero where a cell lacks the modality; present `(n_discriminators, n_cells)`.
    """
    joint = outputs.joint.z[:, :dim_c]
    c, present = [joint], [torch.ones(len(joint), dtype=torch.bool, device=joint.device)]
    for name in names[1:]:
        if name in outputs.single:
            latent = outputs.single[name]
            whole = len(latent.cells) == len(joint)
            own = latent.z[:, :dim_c]
            c.append(own if whole else torch.zeros_like(joint).index_copy(0, latent.cells, own))
            present.append(torch.zeros_like(present[0]).index_fill(0, latent.cells, value=True))
        else:
            c.append(torch.zeros_like(joint))
            present.append(torch.zeros_like(present[0]))
    return torch.stack(c), torch.stack(present)


def train_step(
    learner: Learner, minibatch: Minibatch, noise: Noise, *, with_batch: bool, progress: float = 1.0
) -> StepReport:
    """Update the discriminators on detached c, then the model adversarially.

    The discriminators are not updated while the adversarial weight is 0.

    Parameters
    ----------
    with_batch
        Whether the batch is one of the experts.
    progress
        Fraction of all steps done, which determines the warm-up of the weights.

    Raises
    ------
    NotFiniteError
        Raised before the model is updated, on the CPU only (on a GPU, the check would require a synchronisation). If
        the objective is already not finite before the discriminators are updated, these do not change either.
    """
    among, weights = learner.among(minibatch), learner.weights(progress)
    teach = bool(weights.adversarial > 0)
    return update(learner, minibatch, noise, weights, among, with_batch=with_batch, teach=teach)


def update(
    learner: Learner,
    minibatch: Minibatch,
    noise: Noise,
    weights: Weights,
    among: Tensor | None,
    *,
    with_batch: bool,
    teach: bool,
) -> StepReport:
    """Implement :func:`train_step`, without host-device synchronisation on a GPU.

    Parameters
    ----------
    weights
        Of the objective.
    among
        See :meth:`Learner.among`.
    teach
        Whether to update the discriminators, and to add the adversarial term to the objective.
    """
    config, compute = learner.config, learner.compute
    learner.vae_optimizer.zero_grad()  # before the forward pass, to free the memory of the old gradients
    with compute.autocast():
        outputs = learner.vae(minibatch, noise, with_batch=with_batch)
    losses = losses_of(learner, outputs, minibatch, weights)
    report, aim = StepReport(losses), losses.total
    if learner.anchor is not None:
        held = learner.anchor.distance(outputs.joint.posterior.mean, minibatch.index)
        report, aim = replace(report, anchor=held), aim + held
    _look_at({"total": aim}, learner, minibatch)
    if teach:
        c, present = discriminator_input(outputs, learner.discriminators.names, config.network.dim_c)
        _teach(learner, c.detach(), present, minibatch, noise, among)
        with _fixed(learner.discriminators):
            guess, reward = _misleading(learner, c, present, minibatch, noise, among)
        _look_at({"discriminator": guess}, learner, minibatch)
        report, aim = replace(report, discriminator=guess), aim - weights.adversarial * reward
    if aim.requires_grad:  # not if only the batch networks are trained and this step hides the batch
        torch.autograd.backward(aim)
    compute.ranks.average_gradients(learner.vae, minibatch.n_cells)
    if aim.requires_grad or compute.ranks.size > 1:
        _clip(learner, learner.vae)
        learner.vae_optimizer.step()
    return report


def _look_at(values: Mapping[str, Tensor], learner: Learner, minibatch: Minibatch) -> None:
    """Check for finite values on the CPU only, as on a GPU the check would require a synchronisation."""
    if learner.compute.device.type == "cpu":
        check_finite({name: value.item() for name, value in values.items()}, learner, minibatch)


@contextmanager
def _fixed(module: torch.nn.Module) -> Iterator[None]:
    """Freeze a network's parameters within the context, while gradients still flow through it."""
    try:
        module.requires_grad_(requires_grad=False)
        yield
    finally:
        module.requires_grad_(requires_grad=True)


def _misleading(
    learner: Learner, c: Tensor, present: Tensor, minibatch: Minibatch, noise: Noise, among: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the discriminators and the model's adversarial reward, averaged over cells."""
    if learner.config.objective.adversarial_reward == "cells":
        guess = learner.discriminators(c, present, minibatch.batch, noise, among).mean()
        return guess, guess
    guess, reward = learner.discriminators.confusion(c, present, minibatch.batch, noise, among)
    return guess.mean(), reward.mean()


def teach_discriminators(learner: Learner, minibatch: Minibatch, noise: Noise) -> None:
    """Update only the discriminators, to warm them up before adversarial training."""
    with torch.no_grad(), learner.compute.autocast():
        outputs = learner.vae(minibatch, noise)
    c, present = discriminator_input(outputs, learner.discriminators.names, learner.config.network.dim_c)
    _teach(learner, c, present, minibatch, noise, learner.among(minibatch))


def _teach(
    learner: Learner, c: Tensor, present: Tensor, minibatch: Minibatch, noise: Noise, among: Tensor | None
) -> None:
    for _ in range(learner.config.training.discriminator_steps):
        learner.discriminator_optimizer.zero_grad()
        guess = learner.discriminators(c, present, minibatch.batch, noise, among).mean()
        (guess * learner.config.objective.adversarial).backward()
        learner.compute.ranks.average_gradients(learner.discriminators, minibatch.n_cells)
        _clip(learner, learner.discriminators)
        learner.discriminator_optimizer.step()


def losses_of(learner: Learner, outputs: Outputs, minibatch: Minibatch, weights: Weights | None = None) -> Losses:
    """Compute the objective of one pass, with the configuration's weights if none are given."""
    return objective(
        outputs,
        minibatch,
        {name: part.modality for name, part in learner.schema.modalities.items()},
        learner.vae.extras(),
        weights or Weights.of(learner.config.objective),
        learner.config.network.dim_c,
    )


def check_finite(values: Mapping[str, float], learner: Learner, minibatch: Minibatch) -> None:
    """Raise an error for NaN and infinite terms.

    Raises
    ------
    NotFiniteError
        Naming the terms, and the batches whose cells cause them.
    """
    if np.isfinite(list(values.values())).all():
        return
    culprits: dict[str, list[str]] = {}
    for code in torch.unique(minibatch.batch).tolist():
        part = select(minibatch, minibatch.batch == code)
        with torch.no_grad():
            terms = losses_of(learner, learner.vae(part, None), part).named()
        for name, term in terms.items():
            if name != "total" and not bool(torch.isfinite(term)):
                culprits.setdefault(name, []).append(learner.schema.batches[code] if code >= 0 else "unknown")
    found = "; ".join(f"{name} in cells of {', '.join(batches)}" for name, batches in culprits.items())
    if not found:
        found = (
            ", ".join(name for name, value in values.items() if not np.isfinite(value)) + " (by dropout or sampling)"
        )
    msg = (
        f"Expected a finite objective, found NaN or infinity: {found}. Lower training.learning_rate, set "
        "training.gradient_clip (for example 10), or training.precision to '32'; look at these cells' counts."
    )
    raise NotFiniteError(msg)


def select(minibatch: Minibatch, keep: Tensor) -> Minibatch:
    """Select the cells of a minibatch where `keep`, `(n_cells,)`, is True."""
    new = torch.cumsum(keep, 0) - 1
    counts = {}
    for name, part in minibatch.counts.items():
        rows = keep[part.cells]
        if not bool(rows.any()):
            continue
        entry_row = torch.div(part.flat, part.n_features, rounding_mode="floor")
        entries = rows[entry_row]
        new_row = torch.cumsum(rows, 0) - 1
        counts[name] = replace(
            part,
            cells=new[part.cells[rows]],
            flat=part.flat[entries] + (new_row[entry_row[entries]] - entry_row[entries]) * part.n_features,
            values=part.values[entries],
            mask=None if part.mask is None else part.mask[rows],
        )
    chosen = replace(minibatch, index=minibatch.index[keep.cpu().numpy()], counts=counts)
    return chosen.of_batches(minibatch.batch[keep])


def _clip(learner: Learner, module: torch.nn.Module) -> None:
    if learner.config.training.gradient_clip is not None:
        torch.nn.utils.clip_grad_norm_(module.parameters(), learner.config.training.gradient_clip)
