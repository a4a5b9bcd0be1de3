"""How deeply a cell was sequenced: taken from its counts, so that z need not say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from midas.data.minibatch import Counts

_RARE = 1e-3  # expected count of every feature until the data's means are known


class Depth(nn.Module):
    """Log of a cell's total count over the total that the mean cell has on the same features.

    Features that the cell's batch did not measure are left out on both sides, so panels of different size compare.
    """

    profile: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("profile", torch.full((n_features,), _RARE))

    def forward(self, counts: Counts) -> Tensor:
        """Log depth, `(n,)`, of the cells that have the modality; of a cell without a count as if it had one."""
        total = self.profile.new_zeros(len(counts.cells)).index_add_(0, counts.entry_cell, counts.values)
        expected = self.profile.sum() if counts.mask is None else counts.mask @ self.profile
        return torch.log(total.clamp(min=1.0) / expected.clamp(min=_RARE))
