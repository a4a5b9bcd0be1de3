"""Networks of the same shape, run as batched products instead of a loop over discriminators or chromosomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from midas.nn.layers import Linear, activate, padded

if TYPE_CHECKING:
    from midas.config import Activation
    from midas.nn.noise import Noise


class StackedLinear(nn.Module):
    """`n` linear layers of the same shape, run as one batched product."""

    def __init__(self, n: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)  # as torch initialises nn.Linear
        self.weight = nn.Parameter(torch.empty(n, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n, 1, n_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, cells, n_in)` to `(n, cells, n_out)`."""
        return torch.baddbmm(self.bias, padded(x), self.weight)[:, : x.shape[1]]


class StackedFinish(nn.Module):
    """Second half of stacked hidden layers: separate LayerNorms, activation, dropout."""

    def __init__(self, n: int, size: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n, 1, size))
        self.shift = nn.Parameter(torch.zeros(n, 1, size))
        self.activation = activation
        self.dropout = dropout

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Map `(n, cells, size)` to `(n, cells, size)`."""
        x = activate(torch.addcmul(self.shift, functional.layer_norm(x, x.shape[-1:]), self.scale), self.activation)
        return x if noise is None else noise.dropout(x, self.dropout)


class BlockEncoder(nn.Module):
    """One MLP per block of features, from the block's own width to the same sizes.

    Parameters
    ----------
    blocks
        Features of each block.
    sizes
        Sizes of the following layers, the same for each block; the last is a plain linear layer.
    """

    def __init__(self, blocks: Sequence[int], sizes: Sequence[int], activation: Activation, dropout: float) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.first = nn.ModuleList(Linear(block, sizes[0]) for block in blocks)
        n = len(self.blocks)
        self.finish = nn.ModuleList(StackedFinish(n, size, activation, dropout) for size in sizes[:-1])
        self.linear = nn.ModuleList(StackedLinear(n, a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Map `(cells, sum(blocks))` to `(cells, n_blocks * sizes[-1])`."""
        pieces = torch.split(x, list(self.blocks), dim=1)
        stack = torch.stack([layer(piece) for layer, piece in zip(self.first, pieces, strict=True)])
        for finish, linear in zip(self.finish, self.linear, strict=True):
            stack = linear(finish(stack, noise))
        return stack.transpose(0, 1).reshape(len(x), -1)


class BlockDecoder(nn.Module):
    """One MLP per block of features, from the same sizes to the block's own width.

    Parameters
    ----------
    sizes
        Sizes of the layers, from the input of each block on, the same for each block.
    blocks
        Features of each block.
    """

    def __init__(self, sizes: Sequence[int], blocks: Sequence[int], activation: Activation, dropout: float) -> None:
        super().__init__()
        self.width = sizes[0]
        n = len(blocks)
        self.linear = nn.ModuleList(StackedLinear(n, a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.finish = nn.ModuleList(StackedFinish(n, size, activation, dropout) for size in sizes[1:])
        self.last = nn.ModuleList(Linear(sizes[-1], block) for block in blocks)

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Map `(cells, n_blocks * sizes[0])` to `(cells, sum(blocks))`."""
        stack = x.view(len(x), len(self.last), self.width).transpose(0, 1)
        for linear, finish in zip(self.linear, self.finish, strict=True):
            stack = finish(linear(stack), noise)
        return torch.cat([layer(piece) for layer, piece in zip(self.last, stack.unbind(0), strict=True)], dim=1)
