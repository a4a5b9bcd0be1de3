"""Discriminators: guess the batch from c, one for the joint c and one for each modality's."""

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


class Discriminators(nn.Module):
    """All discriminators at once.

    Each knows only the batches that have its modality (the joint one knows all): the others get a logit of minus infinity,
    which is the same as leaving them out.
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

    def forward(self, c: Tensor, present: Tensor, batch: Tensor, noise: Noise | None) -> Tensor:
        """Cross entropy of the guesses, summed over the discriminators.

        Parameters
        ----------
        c
            `(n_discriminators, n_cells, dim_c)`; rows of cells that lack the modality hold anything finite.
        present
            `(n_discriminators, n_cells)`, whether the cell counts for the discriminator.
        batch
            `(n_cells,)`.

        Returns
        -------
        `(n_cells,)`, in nats.
        """
        for linear, finish in zip(self.linear, self.finish, strict=True):
            c = finish(linear(c), noise)
        logits = self.out(c).float().masked_fill(~self.allowed[:, None, :], -torch.inf)
        n, cells, classes = logits.shape
        # A cell put together of two batches' may have a modality that its batch has not: nothing to be told there.
        counted = present & self.allowed[:, batch]
        target = torch.where(counted, batch.expand(n, cells), -100)  # -100: not counted
        losses = functional.cross_entropy(
            logits.reshape(-1, classes), target.reshape(-1), reduction="none", ignore_index=-100
        )
        return losses.view(n, cells).sum(0)
