"""Discriminators: predict the batch from c, one for the joint c and one per modality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from midas.nn.stacked import StackedFinish, StackedLinear

if TYPE_CHECKING:
    from midas.config import NetworkConfig
    from midas.data.schema import MosaicSchema
    from midas.nn.noise import Noise

# Exponent of a batch's mean probability against another: maps 0.5 to about 0, 0.9 to 0.4, 0.99 to nearly 1.
_SURE = 8
# Lower bound of class weights, so that their logarithm stays finite.
_LEAST = 1e-3


class Discriminators(nn.Module):
    """All discriminators at once.

    Each discriminator predicts only batches that have its modality (the joint one: all batches). The other batches get
    a logit of minus infinity, which excludes them.
    """

    allowed: Tensor

    def __init__(self, schema: MosaicSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.names = ("joint", *schema.modalities)
        sizes = (config.dim_c, *config.discriminator)
        n = len(self.names)
        self.linear = nn.ModuleList(StackedLinear(n, a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.finish = nn.ModuleList(
            StackedFinish(n, size, config.activation, config.discriminator_dropout) for size in sizes[1:]
        )
        self.out = StackedLinear(n, sizes[-1], len(schema.batches))
        allowed = [[True] * len(schema.batches), *(schema.batches_with[name] for name in schema.modalities)]
        self.register_buffer("allowed", torch.tensor(allowed), persistent=False)

    def forward(
        self, c: Tensor, present: Tensor, batch: Tensor, noise: Noise | None, among: Tensor | None = None
    ) -> Tensor:
        """Cross entropy of the predictions, summed over the discriminators.

        Parameters
        ----------
        c
            `(n_discriminators, n_cells, dim_c)`; arbitrary finite values for cells that lack the modality.
        present
            `(n_discriminators, n_cells)`, whether the cell is used by the discriminator.
        batch
            `(n_cells,)`.
        among
            Class weight of each batch for each cell, `(n_cells, n_batches)`, from 0 to 1; 1 for its own. None for
            weights of 1.

        Returns
        -------
        `(n_cells,)`, in nats.
        """
        logits = _weighted(self._logits(c, noise), among)
        return _cross_entropy(logits, batch, self._counted(present, batch)).sum(0)

    def confusion(
        self, c: Tensor, present: Tensor, batch: Tensor, noise: Noise | None, among: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy as in :meth:`forward`, and the model's reward for confusing batches rather than single cells.

        A confident prediction for a single cell may indicate a cell type that exists only in its batch; confident
        predictions for all cells of a batch indicate a batch effect. The cross entropy of a cell is therefore weighted
        by the probability of the other batches. As its gradient vanishes for confident predictions, a fully separated
        batch, or group of batches, would remain separated. Each pair of batches therefore adds log(1 - p), where p is
        the probability of the cell's own batch out of the two, weighted by a high power of the mean of p over the cells
        of its batch.

        Parameters
        ----------
        c, present, batch, among
            As in :meth:`forward`.

        Returns
        -------
        Cross entropy and reward, each `(n_cells,)`, in nats.
        """
        logits = self._logits(c, noise)
        counted = self._counted(present, batch)
        losses = _cross_entropy(_weighted(logits, among), batch, counted)
        sure = torch.where(counted, torch.exp(-losses.detach()), 0.0)
        return losses.sum(0), ((1 - sure) * losses + self._push(logits, batch, counted, among)).sum(0)

    def _push(self, logits: Tensor, batch: Tensor, counted: Tensor, among: Tensor | None) -> Tensor:
        """Weighted mean over the other batches of log(1 - p), p being the own batch's probability of the two; `(n, n_cells)`."""
        n, cells, classes = logits.shape
        own = functional.one_hot(batch, classes).to(logits.dtype)
        weight = counted.to(logits.dtype)
        possible = logits.where(self.allowed[:, None, :], 0.0)
        # Log odds of the own batch against each batch.
        ahead = possible.gather(2, batch.expand(n, cells)[:, :, None]) - possible
        n_of_batch = weight @ own
        members = (weight[:, :, None] * own).transpose(1, 2)
        answers = torch.ones_like(ahead) if among is None else among.expand_as(ahead)
        mean_p = (members @ (answers * torch.sigmoid(ahead.detach()))) / (members @ answers).clamp(min=_LEAST)
        # Other batches are weighted by their number of cells, 0 for those a discriminator excludes.
        share = n_of_batch[:, None, :] * (1 - torch.eye(classes, device=logits.device))
        share = share / share.sum(2, keepdim=True).clamp(min=1)
        pull = torch.pow(mean_p, _SURE) * share
        return -(pull[:, batch] * answers * functional.softplus(ahead)).sum(2) * weight

    def _logits(self, c: Tensor, noise: Noise | None) -> Tensor:
        for linear, finish in zip(self.linear, self.finish, strict=True):
            c = finish(linear(c), noise)
        logits: Tensor = self.out(c).float()
        return logits.masked_fill(~self.allowed[:, None, :], -torch.inf)

    def _counted(self, present: Tensor, batch: Tensor) -> Tensor:
        # A cell composed from two batches may have a modality that its batch lacks: excluded there.
        return present & self.allowed[:, batch]


def _weighted(logits: Tensor, among: Tensor | None) -> Tensor:
    """Apply the class weights `among` to logits."""
    return logits if among is None else logits + torch.log(among.clamp(min=_LEAST))


def _cross_entropy(logits: Tensor, batch: Tensor, counted: Tensor) -> Tensor:
    n, cells, classes = logits.shape
    target = torch.where(counted, batch.expand(n, cells), -100)  # -100: ignored
    losses = functional.cross_entropy(
        logits.reshape(-1, classes), target.reshape(-1), reduction="none", ignore_index=-100
    )
    return losses.view(n, cells)
