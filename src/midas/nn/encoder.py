"""Encoders: map the counts of a modality, or the batch, to an expert on z."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from midas.likelihoods import LIKELIHOODS
from midas.nn.depth import Depth
from midas.nn.experts import Expert, Gaussian
from midas.nn.layers import MLP, Finish, Hidden
from midas.nn.stacked import BlockEncoder

if TYPE_CHECKING:
    from midas.config import NetworkConfig
    from midas.data.minibatch import Counts
    from midas.data.schema import ModalitySchema, MosaicSchema
    from midas.nn.noise import Noise


class ModalityInput(nn.Module):
    """Modality-specific part of an encoder: depth normalisation, blocks if there are any, and the first hidden layer."""

    def __init__(self, schema: ModalitySchema, config: NetworkConfig) -> None:
        super().__init__()
        self.transform = schema.modality.transform
        # Only counts can be thinned.
        self.thinning = config.thinning if LIKELIHOODS[schema.modality.likelihood].support == "counts" else 0.0
        observed = schema.modality.depth and config.depth == "observed"
        self.depth: Depth | None = None
        if observed:
            by = schema.modality.depth_by
            self.depth = Depth(schema.n_features, by, config.min_features_for(by))
        self.blocks: BlockEncoder | None = None
        self.finish: Finish | None = None
        width = schema.n_features
        passage = schema.passage(config)
        if passage is not None:
            sizes = passage[0]
            self.blocks = BlockEncoder(schema.blocks, sizes, config.activation, config.dropout)
            width = len(schema.blocks) * sizes[-1]
            self.finish = Finish(width, config.activation, config.dropout)
        self.first = Hidden(width, config.encoder[0], config.activation, config.dropout)

    def forward(self, counts: Counts, noise: Noise | None) -> Tensor:
        """Map counts of n cells to `(n, config.encoder[0])`."""
        if noise is not None and self.thinning > 0:
            row, n = counts.entry_cell, len(counts.cells)
            counts = replace(counts, values=noise.thinned(counts.values, counts.flat, row, n, self.thinning))
        if self.depth is not None:
            scale = torch.exp(-self.depth(counts))
            counts = replace(counts, values=counts.values * scale.index_select(0, counts.entry_cell))
        x = counts.dense(self.transform)
        if self.blocks is not None and self.finish is not None:
            x = self.finish(self.blocks(x, noise), noise)
        return self.first(x, noise)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Encoders of all modalities, with shared upper layers."""

    def __init__(self, schema: MosaicSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.inputs = nn.ModuleDict({name: ModalityInput(part, config) for name, part in schema.modalities.items()})
        self.shared = MLP((*config.encoder, 2 * config.dim_z), config.activation, config.dropout)

    def forward(self, counts: Mapping[str, Counts], noise: Noise | None) -> dict[str, Expert]:
        """One expert per modality, on the cells that have it."""
        hidden = [self.inputs[name](part, noise) for name, part in counts.items()]
        # The shared layers see all modalities' cells as one tall matrix.
        out = self.shared(torch.cat(hidden), noise).float()
        mean, logvar = out.chunk(2, dim=1)
        sizes = [len(part.cells) for part in counts.values()]
        return {
            name: Expert(part.cells, Gaussian(m, v))
            for (name, part), m, v in zip(counts.items(), mean.split(sizes), logvar.split(sizes), strict=True)
        }


class BatchEncoder(nn.Module):
    """Map the batch of a cell to an expert on z; cells of unknown batches (-1) get none."""

    def __init__(self, n_batches: int, config: NetworkConfig) -> None:
        super().__init__()
        self.n_batches = n_batches
        self.net = MLP((n_batches, *config.batch_encoder, 2 * config.dim_z), config.activation, config.dropout)

    def forward(self, batch: Tensor, known: Tensor | None, noise: Noise | None) -> Expert | None:
        """Map batches `(n,)` to an expert on the cells `known` (all if None), or to None when there are none."""
        cells = torch.arange(len(batch), device=batch.device) if known is None else known
        if not len(cells):
            return None
        out = self.net(functional.one_hot(batch[cells], self.n_batches).float(), noise).float()
        mean, logvar = out.chunk(2, dim=1)
        return Expert(cells, Gaussian(mean, logvar))
