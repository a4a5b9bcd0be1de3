"""Sequencing depth of a cell: computed from its counts, so that z need not encode it."""

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
"""Expected count of every feature before the means of the data are known."""


def of_total(counts: Counts, profile: Tensor) -> Tensor:
    """Log depth from the total count; cells without counts are treated as having one."""
    total = row_sums(counts.values, counts.entry_cell, len(counts.cells))
    return torch.log(total.clamp(min=1.0) / _over_measured(profile, counts).clamp(min=RARE))


def of_geometric_mean(counts: Counts, profile: Tensor) -> Tensor:
    """Log depth from the geometric mean of counts + 1, as in a centred log-ratio: not dominated by abundant features."""
    logs = row_sums(torch.log1p(counts.values), counts.entry_cell, len(counts.cells))
    ahead = logs - _over_measured(torch.log1p(profile), counts)
    return ahead / _over_measured(torch.ones_like(profile), counts).clamp(min=1.0)


def _over_measured(values: Tensor, counts: Counts) -> Tensor:
    """Sum of per-feature values over the features measured in each cell's batch: `(n,)`, or a scalar for all cells."""
    return values.sum() if counts.mask is None else counts.mask.float() @ values


_BY: Mapping[DepthBy, Callable[[Counts, Tensor], Tensor]] = MappingProxyType(
    {"total": of_total, "geometric_mean": of_geometric_mean}
)


class Depth(nn.Module):
    """Log ratio of a cell's counts to those of the mean cell on the same features.

    Features that the cell's batch did not measure are excluded from both, so that panels of different sizes are
    comparable. If the batch measured fewer than `fewest` features, mean depth is assumed, as few features reflect the
    cell type rather than the depth.
    """

    profile: Tensor

    def __init__(self, n_features: int, by: DepthBy = "total", fewest: int = 0) -> None:
        super().__init__()
        self.by, self.fewest = by, fewest
        self.register_buffer("profile", torch.full((n_features,), RARE))

    def forward(self, counts: Counts) -> Tensor:
        """Log depth, `(n,)`, of the cells that have the modality."""
        # In bfloat16, each cell's sum would be rounded to two digits.
        with torch.autocast(self.profile.device.type, enabled=False):
            depth = _BY[self.by](counts, self.profile)
        return depth if counts.mask is None else torch.where(counts.mask.sum(1) < self.fewest, 0.0, depth)


class ExpectedDepth(nn.Module):
    """Predict the log depth in each modality from the cell's state and its depths in other modalities.

    The gradient of the prediction does not reach z, which should not encode sequencing depth.

    Attributes
    ----------
    names
        Modalities whose depth is computed from the counts, in the column order of all depths.
    coupling
        Change in the prediction for one modality (row) per unit of unexplained log depth in another (column).
    """

    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.heads = nn.ModuleDict({name: nn.Linear(width, 1) for name in names})
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)
        self.coupling = nn.Parameter(torch.zeros(len(names), len(names)))

    def forward(self, hidden: Tensor, found: Tensor) -> Tensor:
        """Predict from the decoder's trunk `(n, width)` and observed depths `(n, n_names)`, NaN where there are no counts."""
        alone = torch.cat([head(hidden.detach()) for head in self.heads.values()], dim=1).float()
        unforeseen = torch.where(torch.isfinite(found), found - alone.detach(), 0.0)
        others = self.coupling * (1 - torch.eye(len(self.names), device=found.device))
        return alone + unforeseen @ others.T
