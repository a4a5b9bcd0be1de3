"""Discriminators: guess the batch from c, one for the joint c and one for each modality's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from midas.nn.layers import activate

if TYPE_CHECKING:
    from midas.config import NetworkConfig
    from midas.data.schema import MosaicSchema
    from midas.nn.noise import Noise


class StackedHidden(nn.Module):
    """As many hidden layers of one shape as there are discriminators, run as one batched product."""

    def __init__(self, n: int, n_in: int, n_out: int, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = StackedLinear(n, n_in, n_out)
        self.scale = nn.Parameter(torch.ones(n, 1, n_out))
        self.shift = nn.Parameter(torch.zeros(n, 1, n_out))
        self.activation = config.activation
        self.dropout = config.discriminator_dropout

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Map `(n, cells, n_in)` to `(n, cells, n_out)`."""
        x = self.linear(x)
        x = activate(functional.layer_norm(x, x.shape[-1:]) * self.scale + self.shift, self.activation)
        return x if noise is None else noise.dropout(x, self.dropout)


class StackedLinear(nn.Module):
    """As many linear maps of one shape, run as one batched product."""

    def __init__(self, n: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)  # as torch starts a Linear
        self.weight = nn.Parameter(torch.empty(n, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n, 1, n_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, cells, n_in)` to `(n, cells, n_out)`."""
        return torch.baddbmm(self.bias, x, self.weight)


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
        self.hidden = nn.ModuleList(StackedHidden(n, a, b, config) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
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
        for layer in self.hidden:
            c = layer(c, noise)
        logits = self.out(c).float().masked_fill(~self.allowed[:, None, :], -torch.inf)
        n, cells, classes = logits.shape
        target = torch.where(present, batch.expand(n, cells), -100)  # -100: not counted
        losses = functional.cross_entropy(
            logits.reshape(-1, classes), target.reshape(-1), reduction="none", ignore_index=-100
        )
        return losses.view(n, cells).sum(0)
