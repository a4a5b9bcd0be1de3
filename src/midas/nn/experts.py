"""Diagonal Gaussians and their product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from midas.nn.noise import Noise


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian per cell.

    Attributes
    ----------
    mean, logvar
        `(n, d)` each.
    """

    mean: Tensor
    logvar: Tensor

    def take(self, cells: Tensor) -> Gaussian:
        """Select the cells at these positions."""
        return Gaussian(self.mean.index_select(0, cells), self.logvar.index_select(0, cells))

    def sample(self, noise: Noise | None) -> Tensor:
        """Draw one value per cell, `(n, d)`; the mean when there is no noise."""
        if noise is None:
            return self.mean
        return self.mean + torch.exp(0.5 * self.logvar) * noise.normal_like(self.mean)


@dataclass(frozen=True)
class Expert:
    """A Gaussian factor on z for some of the cells.

    Attributes
    ----------
    cells
        Positions of these cells in the minibatch, `(n,)`.
    gaussian
        Factor of each.
    """

    cells: Tensor
    gaussian: Gaussian


def product_of_experts(n_cells: int, experts: Sequence[Expert]) -> Gaussian:
    """Multiply the standard normal prior with the available experts of each cell.

    v = (1 + sum_k 1 / v_k)^-1 and mean = v sum_k mean_k / v_k (He et al. 2024, Methods).

    Parameters
    ----------
    n_cells
        Cells in the minibatch; those without an expert keep the prior.
    experts
        One or more.
    """
    first = experts[0].gaussian.mean
    precision = torch.ones(n_cells, first.shape[1], dtype=first.dtype, device=first.device)
    weighted = torch.zeros_like(precision)
    for expert in experts:
        own = torch.exp(-expert.gaussian.logvar)
        share = expert.gaussian.mean * own
        if len(expert.cells) == n_cells:
            precision, weighted = precision + own, weighted + share
        else:
            precision = precision.index_add(0, expert.cells, own)
            weighted = weighted.index_add(0, expert.cells, share)
    return Gaussian(weighted / precision, -torch.log(precision))
