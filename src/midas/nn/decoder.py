"""Decoders: from z to the counts of every modality, and from u to the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from midas.likelihoods import LIKELIHOODS
from midas.nn.depth import ExpectedDepth
from midas.nn.layers import Finish, Hidden, Linear
from midas.nn.stacked import BlockDecoder

if TYPE_CHECKING:
    from midas.config import NetworkConfig
    from midas.data.schema import ModalitySchema, MosaicSchema
    from midas.nn.noise import Noise


class ModalityOutput(nn.Module):
    """Modality-specific part of the decoder: the last linear layer, or blocks after one more hidden layer.

    Where depth is computed from the counts, the output is for a cell of mean depth.
    """

    def __init__(self, schema: ModalitySchema, config: NetworkConfig) -> None:
        super().__init__()
        self.blocks: BlockDecoder | None = None
        self.finish: Finish | None = None
        width = schema.n_features
        passage = schema.passage(config)
        if passage is not None:
            sizes = passage[1]
            width = len(schema.blocks) * sizes[0]
            self.finish = Finish(width, config.activation, config.dropout)
            self.blocks = BlockDecoder(sizes, schema.blocks, config.activation, config.dropout)
        self.linear = Linear(config.decoder[-1], width)
        likelihood = LIKELIHOODS[schema.modality.likelihood]
        self.extra = nn.Parameter(torch.zeros(schema.n_features)) if likelihood.has_feature_parameter else None

    def forward(self, hidden: Tensor, noise: Noise | None) -> Tensor:
        """Map `(n, config.decoder[-1])` to the likelihood's parameter `(n, n_features)`."""
        x: Tensor = self.linear(hidden)
        if self.blocks is not None and self.finish is not None:
            x = self.blocks(self.finish(x, noise), noise)
        return x


class Decoder(nn.Module):
    """A trunk shared by all modalities, one output per modality, and the predictor of expected depth."""

    def __init__(self, schema: MosaicSchema, config: NetworkConfig) -> None:
        super().__init__()
        sizes = (config.dim_z, *config.decoder)
        self.trunk = nn.ModuleList(
            Hidden(a, b, config.activation, config.dropout) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.outputs = nn.ModuleDict({name: ModalityOutput(part, config) for name, part in schema.modalities.items()})
        observed = [
            name for name, part in schema.modalities.items() if part.modality.depth and config.depth == "observed"
        ]
        self.depths = ExpectedDepth(observed, config.decoder[-1]) if observed else None

    def hidden(self, z: Tensor, noise: Noise | None) -> Tensor:
        """Map z `(n, dim_z)` to `(n, config.decoder[-1])`."""
        for layer in self.trunk:
            z = layer(z, noise)
        return z
