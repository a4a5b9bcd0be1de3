"""How deeply a cell was sequenced: taken from its counts, so that z need not say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from midas.sparse import row_sums

if TYPE_CHECKING:
    from midas.data.minibatch import Counts
    from midas.modality import DepthBy

RARE: Final = 1e-3
"""Expected count of every feature until the data's means are known."""


def of_total(counts: Counts, profile: Tensor) -> Tensor:
    """By the total of the counts; of a cell without a count as if it had one."""
    total = row_sums(counts.values, counts.entry_cell, len(counts.cells))
    return torch.log(total.clamp(min=1.0) / _over_measured(profile, counts).clamp(min=RARE))


def of_geometric_mean(counts: Counts, profile: Tensor) -> Tensor:
    """By the geometric mean of the counts + 1, as in a centred log-ratio: what a panel has most of does not decide alone."""
    logs = row_sums(torch.log1p(counts.values), counts.entry_cell, len(counts.cells))
    ahead = logs - _over_measured(torch.log1p(profile), counts)
    return ahead / _over_measured(torch.ones_like(profile), counts).clamp(min=1.0)


def _over_measured(values: Tensor, counts: Counts) -> Tensor:
    """Sum of the features' values over those that each cell's batch measured: `(n,)`, or one for all."""
    return values.sum() if counts.mask is None else counts.mask.float() @ values


_BY: Mapping[DepthBy, Callable[[Counts, Tensor], Tensor]] = MappingProxyType(
    {"total": of_total, "geometric_mean": of_geometric_mean}
)


class Depth(nn.Module):
    """Log of how many counts a cell has over what the mean cell has on the same features.

    Features that the cell's batch did not measure are left out on both sides, so panels of different size compare. A cell whose
    batch measured fewer than `fewest` is taken to be of mean depth, as so few tell what the cell is.
    """

    profile: Tensor

    def __init__(self, n_features: int, by: DepthBy = "total", fewest: int = 0) -> None:
        super().__init__()
        self.by, self.fewest = by, fewest
        self.register_buffer("profile", torch.full((n_features,), RARE))

    def forward(self, counts: Counts) -> Tensor:
        """Log depth, `(n,)`, of the cells that have the modality."""
        # A product in bfloat16 would round each cell's sum to two digits.
        with torch.autocast(self.profile.device.type, enabled=False):
            depth = _BY[self.by](counts, self.profile)
        return depth if counts.mask is None else torch.where(counts.mask.sum(1) < self.fewest, 0.0, depth)


class ExpectedDepth(nn.Module):
    """Guess of the log depth of each modality: from what the cell is, and from how it fared in its other modalities.

    What is guessed moves nothing but the guess: z is not to say how deeply a cell was sequenced.

    Attributes
    ----------
    names
        Modalities whose depth is taken from the counts; columns of all depths are in this order.
    coupling
        By how much the guess of one (row) rises where another (column) is deeper than the cell's state leads to expect.
    """

    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.heads = nn.ModuleDict({name: nn.Linear(width, 1) for name in names})
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)
        self.coupling = nn.Parameter(torch.zeros(len(names), len(names)))

    def forward(self, hidden: Tensor, found: Tensor) -> Tensor:
        """Guess from the decoder's trunk `(n, width)` and the depths found `(n, n_names)`, NaN where there are no counts."""
        alone = torch.cat([head(hidden.detach()) for head in self.heads.values()], dim=1).float()
        unforeseen = torch.where(torch.isfinite(found), found - alone.detach(), 0.0)
        others = self.coupling * (1 - torch.eye(len(self.names), device=found.device))
        return alone + unforeseen @ others.T
