"""Building blocks: a hidden layer, and a stack of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from midas.config import Activation
    from midas.nn.noise import Noise


# Numbers of cells are rounded up to a multiple of this.
_ROWS = 32


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply the non-linearity of hidden layers."""
    match activation:
        case "mish":
            return functional.mish(x)
        case "silu":
            return functional.silu(x)
        case "relu":
            return functional.relu(x)


def padded(x: Tensor) -> Tensor:
    """Zero-pad `(..., n, width)` where products run in bfloat16 on a CPU, so that n takes few distinct values.

    There, a kernel of about 1 MB is compiled and cached for every shape. The number of cells with a modality varies
    between minibatches, so memory would grow for hundreds of steps.
    """
    extra = -x.shape[-2] % _ROWS
    if not extra or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return x
    return functional.pad(x.to(torch.get_autocast_dtype("cpu")), (0, 0, 0, extra))


class Linear(nn.Linear):
    """A linear layer that pads its input to few distinct shapes."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """Map `(n, n_in)` to `(n, n_out)`."""
        return super().forward(padded(input))[: len(input)]


class Finish(nn.Module):
    """Second half of a hidden layer, after the linear map: LayerNorm, activation, dropout."""

    def __init__(self, size: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.activation = activation
        self.dropout = dropout

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Map `(n, size)` to `(n, size)`."""
        x = activate(self.norm(x), self.activation)
        return x if noise is None else noise.dropout(x, self.dropout)


class Hidden(nn.Module):
    """A hidden layer: Linear, LayerNorm, activation, dropout."""

    def __init__(self, n_in: int, n_out: int, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.linear = Linear(n_in, n_out)
        self.finish = Finish(n_out, activation, dropout)

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Map `(n, n_in)` to `(n, n_out)`."""
        return self.finish(self.linear(x), noise)  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Hidden layers, then one linear map.

    Parameters
    ----------
    sizes
        From input to output; two or more.
    """

    def __init__(self, sizes: Sequence[int], activation: Activation, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(
            Hidden(a, b, activation, dropout) for a, b in zip(sizes[:-2], sizes[1:-1], strict=True)
        )
        self.out = Linear(sizes[-2], sizes[-1])

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Map `(n, sizes[0])` to `(n, sizes[-1])`."""
        for layer in self.hidden:
            x = layer(x, noise)
        return self.out(x)  # type: ignore[no-any-return]
