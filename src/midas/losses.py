"""The terms of the objective (He et al. 2024, Methods), each a pure function; all in nats per cell, averaged over cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from midas.likelihoods import LIKELIHOODS

if TYPE_CHECKING:
    from midas.config import ObjectiveConfig
    from midas.data.minibatch import Counts, Minibatch
    from midas.modality import Modality
    from midas.nn.experts import Gaussian
    from midas.nn.vae import DepthGuess, Latent, Outputs


@dataclass(frozen=True)
class Losses:
    """The objective's terms, unweighted scalars, and their weighted sum without the adversarial term.

    Attributes
    ----------
    reconstruction
        By modality.
    batch_reconstruction, kl_c, kl_u, alignment
        As in the paper, unweighted.
    depth
        Cost of guessing depths from z, summed over modalities. It moves nothing but these guesses.
    total
        What the model minimises, less the adversarial term.
    """

    reconstruction: Mapping[str, Tensor]
    batch_reconstruction: Tensor
    kl_c: Tensor
    kl_u: Tensor
    alignment: Tensor
    depth: Tensor
    total: Tensor

    def named(self) -> dict[str, Tensor]:
        """All terms by name, for logging."""
        return {
            **{f"reconstruction_{name}": term for name, term in self.reconstruction.items()},
            "batch_reconstruction": self.batch_reconstruction,
            "kl_c": self.kl_c,
            "kl_u": self.kl_u,
            "alignment": self.alignment,
            "depth": self.depth,
            "total": self.total,
        }


@dataclass(frozen=True)
class Weights:
    """Weights of the terms in one step, as of :class:`midas.ObjectiveConfig`; scalar tensors where a recorded step reads them."""

    batch_reconstruction: float
    alignment: float
    kl_c: float | Tensor
    kl_u: float | Tensor
    adversarial: float | Tensor

    @classmethod
    def of(cls, config: ObjectiveConfig, progress: float = 1.0) -> Weights:
        """Those of a configuration once this share of all steps has been done."""
        kl, adversarial = config.risen(progress)
        return cls(
            config.batch_reconstruction,
            config.alignment,
            kl * config.kl_c,
            kl * config.kl_u,
            adversarial * config.adversarial,
        )


def reconstruction(eta: Tensor, counts: Counts, modality: Modality, extra: Tensor | None) -> Tensor:
    """Negative log-likelihood of one modality's counts, summed over measured features and over cells."""
    likelihood = LIKELIHOODS[modality.likelihood]
    return likelihood.nll(eta, counts.flat, counts.values, counts.mask, extra).sum()


def depth_cost(guess: DepthGuess) -> Tensor:
    """Cost of guessed depths, summed: least where a guess is the logarithm of the mean depth, as for a Poisson rate."""
    known = torch.isfinite(guess.found)
    found = torch.where(known, guess.found, 0.0)
    return torch.where(known, torch.exp(guess.expected) - torch.exp(found) * guess.expected, 0.0).sum()


def kl_to_prior(posterior: Gaussian) -> Tensor:
    """Kullback-Leibler divergence from the standard normal, `(n, d)`: -(1 + log v - mean^2 - v) / 2."""
    return -0.5 * (1 + posterior.logvar - posterior.mean**2 - torch.exp(posterior.logvar))


def alignment(single: Mapping[str, Latent], n_cells: int) -> Tensor:
    """Squared distances of a cell's single-modality draws from their mean, summed over modalities and cells.

    sum_m |z^m - mean|^2 = sum_m |z^m|^2 - k |mean|^2 for a cell with k modalities; nothing for a cell with one.
    """
    latents = list(single.values())
    total = latents[0].z.new_zeros(n_cells, latents[0].z.shape[1])
    number = torch.zeros_like(total[:, :1])
    for latent in latents:
        total = total.index_add(0, latent.cells, latent.z)
        number = number.index_add(0, latent.cells, torch.ones_like(latent.z[:, :1]))
    mean = total / number.clamp(min=1)
    return torch.stack([((latent.z - mean[latent.cells]) ** 2).sum() for latent in latents]).sum()


def objective(
    outputs: Outputs,
    minibatch: Minibatch,
    modalities: Mapping[str, Modality],
    extras: Mapping[str, Tensor | None],
    weights: Weights,
    dim_c: int,
) -> Losses:
    """Compute every term but the adversarial one.

    Parameters
    ----------
    outputs
        Of :class:`midas.nn.VAE` on `minibatch`.
    modalities, extras
        Likelihoods, weights, and per-feature parameters by modality.
    weights
        Of the terms.
    dim_c
        Where c ends and u begins in z.
    """
    n = minibatch.n_cells
    zero = outputs.joint.z.new_zeros(())
    parts = {
        name: reconstruction(outputs.eta[name], counts, modalities[name], extras[name]) / n
        for name, counts in minibatch.counts.items()
    }
    kl = kl_to_prior(outputs.joint.posterior).sum(0) / n
    kl_c, kl_u = kl[:dim_c].sum(), kl[dim_c:].sum()
    aligned = alignment(outputs.single, n) / n if len(outputs.single) > 1 else zero
    depth = zero if outputs.depth is None else depth_cost(outputs.depth) / n
    batch = zero
    if outputs.batch_logits is not None:
        batch = functional.cross_entropy(outputs.batch_logits.float(), minibatch.batch)
    total = (
        torch.stack([modalities[name].weight * term for name, term in parts.items()]).sum()
        + weights.batch_reconstruction * batch
        + weights.kl_c * kl_c
        + weights.kl_u * kl_u
        + weights.alignment * aligned
        + depth
    )
    return Losses(parts, batch, kl_c, kl_u, aligned, depth, total)
