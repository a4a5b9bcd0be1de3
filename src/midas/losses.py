"""Loss terms (He et al. 2024, Methods) as pure functions, in nats, averaged over cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

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


_NEVER: Final = -1e9  # logit of excluded classes; infinity would have no gradient


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Unweighted loss terms, and their weighted sum without the adversarial term.

    Attributes
    ----------
    reconstruction
        By modality.
    batch_reconstruction, kl_c, kl_u, alignment
        As in the paper, unweighted.
    contrast
        Contrastive loss between the modalities of a cell; not in the paper.
    depth
        Loss of the depth prediction from z, summed over modalities. Its gradient reaches only the depth predictor.
    total
        Weighted sum that the model minimises, without the adversarial term.
    """

    reconstruction: Mapping[str, Tensor]
    batch_reconstruction: Tensor
    kl_c: Tensor
    kl_u: Tensor
    alignment: Tensor
    contrast: Tensor
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
            "contrast": self.contrast,
            "depth": self.depth,
            "total": self.total,
        }


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of the terms in one step, see :class:`midas.ObjectiveConfig`; scalar tensors when used in a CUDA graph."""

    batch_reconstruction: float
    alignment: float
    contrast: float | Tensor
    kl_c: float | Tensor
    kl_u: float | Tensor
    adversarial: float | Tensor

    @classmethod
    def of(cls, config: ObjectiveConfig, progress: float = 1.0) -> Weights:
        """Weights after the given fraction of all steps."""
        kl, adversarial = config.warmup_factors(progress)
        return cls(
            batch_reconstruction=config.batch_reconstruction,
            alignment=config.alignment,
            contrast=adversarial * config.contrast,
            kl_c=kl * config.kl_c,
            kl_u=kl * config.kl_u,
            adversarial=adversarial * config.adversarial,
        )


def reconstruction(eta: Tensor, counts: Counts, modality: Modality, extra: Tensor | None) -> Tensor:
    """Negative log-likelihood of one modality's counts, summed over measured features and over cells."""
    likelihood = LIKELIHOODS[modality.likelihood]
    return likelihood.nll(eta, counts.flat, counts.values, counts.mask, extra).sum()


def depth_cost(guess: DepthGuess) -> Tensor:
    """Poisson loss of predicted log depths, summed; minimal at the logarithm of the mean depth."""
    known = torch.isfinite(guess.found)
    found = torch.where(known, guess.found, 0.0)
    return torch.where(known, torch.exp(guess.expected) - torch.exp(found) * guess.expected, 0.0).sum()


def kl_to_prior(posterior: Gaussian) -> Tensor:
    """Kullback-Leibler divergence from the standard normal, `(n, d)`: -(1 + log v - mean^2 - v) / 2."""
    return -0.5 * (1 + posterior.logvar - posterior.mean**2 - torch.exp(posterior.logvar))


def alignment(single: Mapping[str, Latent], n_cells: int) -> Tensor:
    """Squared distances of a cell's single-modality samples from their mean, summed over modalities and cells.

    sum_m |z^m - mean|^2 = sum_m |z^m|^2 - k |mean|^2 for a cell with k modalities; 0 for a cell with one.
    """
    latents = list(single.values())
    total = latents[0].z.new_zeros(n_cells, latents[0].z.shape[1])
    number = torch.zeros_like(total[:, :1])
    for latent in latents:
        total = total.index_add(0, latent.cells, latent.z)
        number = number.index_add(0, latent.cells, torch.ones_like(latent.z[:, :1]))
    mean = total / number.clamp(min=1)
    return torch.stack([((latent.z - mean.index_select(0, latent.cells)) ** 2).sum() for latent in latents]).sum()


def contrast(single: Mapping[str, Latent], batch: Tensor, dim_c: int) -> Tensor:
    """InfoNCE loss of identifying a cell within its batch across two modalities, summed over pairs of modalities and cells.

    Symmetric InfoNCE (van den Oord et al. 2018) whose logits are minus half the squared distances of posterior means of
    c. :func:`alignment` alone could collapse all cells of a type to one point; this loss requires each cell to be
    closest to itself. Cells of other batches are no negatives, so that separating batches is not rewarded.

    Parameters
    ----------
    single
        Latents by modality, for the cells that have it.
    batch
        Batch of the minibatch's cells, `(n_cells,)`.
    dim_c
        Where c ends in z.
    """
    cost = torch.zeros((), device=batch.device)
    for one, other in combinations(single.values(), 2):
        has_one, has_other = (
            torch.zeros_like(batch, dtype=torch.bool).index_fill(0, latent.cells, value=True) for latent in (one, other)
        )
        both = has_one[other.cells] & has_other[one.cells][:, None]
        rivals = both & (batch[one.cells][:, None] == batch[other.cells])
        itself = one.cells[:, None] == other.cells
        logits = -_squared_distances(one.posterior.mean[:, :dim_c], other.posterior.mean[:, :dim_c]) / 2
        logits = torch.where(rivals, logits, _NEVER)
        # On a CPU logsumexp is ten times slower, as its exponential is slow on underflow.
        found = functional.log_softmax(logits, 1) + functional.log_softmax(logits, 0)
        cost = cost - torch.where(itself, found, 0.0).sum() / 2
    return cost


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise squared distances, in float32: half precision is too coarse for close rows."""
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        return ((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]).clamp(min=0)


def objective(
    outputs: Outputs,
    minibatch: Minibatch,
    modalities: Mapping[str, Modality],
    extras: Mapping[str, Tensor | None],
    weights: Weights,
    dim_c: int,
) -> Losses:
    """Compute all terms except the adversarial one.

    Parameters
    ----------
    outputs
        Of :class:`midas.nn.VAE` on `minibatch`.
    minibatch
        Cells whose counts and batches are reconstructed.
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
    wanted = isinstance(weights.contrast, Tensor) or weights.contrast > 0
    contrastive = contrast(outputs.single, minibatch.batch, dim_c) / n if wanted and len(outputs.single) > 1 else zero
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
        + weights.contrast * contrastive
        + depth
    )
    return Losses(
        reconstruction=parts,
        batch_reconstruction=batch,
        kl_c=kl_c,
        kl_u=kl_u,
        alignment=aligned,
        contrast=contrastive,
        depth=depth,
        total=total,
    )
