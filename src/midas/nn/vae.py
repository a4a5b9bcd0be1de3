"""The model: encode, multiply the experts, sample, decode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from midas.nn.decoder import Decoder
from midas.nn.encoder import BatchEncoder, Encoder
from midas.nn.experts import Expert, Gaussian, product_of_experts
from midas.nn.layers import MLP

if TYPE_CHECKING:
    from midas.config import NetworkConfig
    from midas.data.minibatch import Minibatch
    from midas.data.schema import MosaicSchema
    from midas.nn.noise import Noise


@dataclass(frozen=True)
class Latent:
    """A posterior of z on some cells and a draw from it.

    Attributes
    ----------
    cells
        Positions in the minibatch, `(n,)`.
    posterior
        q(z | ...), `(n, dim_z)`.
    z
        The draw (the mean when there is no noise).
    """

    cells: Tensor
    posterior: Gaussian
    z: Tensor


@dataclass(frozen=True)
class DepthGuess:
    """How deeply cells were sequenced in one modality, and what z leads to expect.

    Attributes
    ----------
    found, expected
        Logarithms, `(n_m,)`.
    """

    found: Tensor
    expected: Tensor


@dataclass(frozen=True)
class Outputs:
    """All that the objective needs from one pass.

    Attributes
    ----------
    joint
        Of all cells, from all that was measured.
    single
        By modality, from that modality (and the batch) alone.
    eta
        By modality, decoder output for the cells that have it, `(n_m, n_features)`.
    batch_logits
        Guess of the batch from u, `(n, n_batches)`; None in steps that hide the batch.
    depth
        By modality whose depth is taken from the counts.
    """

    joint: Latent
    single: Mapping[str, Latent]
    eta: Mapping[str, Tensor]
    batch_logits: Tensor | None
    depth: Mapping[str, DepthGuess]


class VAE(nn.Module):
    """The mosaic model (He et al. 2024, Methods): p(c) p(u) p(s|u) prod_m p(x^m | c, u), and its encoders."""

    def __init__(self, schema: MosaicSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.dim_c = config.dim_c
        self.dim_z = config.dim_z
        self.encoder = Encoder(schema, config)
        self.decoder = Decoder(schema, config)
        self.batch_encoder = BatchEncoder(len(schema.batches), config)
        self.batch_decoder = MLP(
            (config.dim_u, *config.batch_decoder, len(schema.batches)), config.activation, config.dropout
        )

    def experts(
        self, minibatch: Minibatch, noise: Noise | None, *, with_batch: bool
    ) -> tuple[dict[str, Expert], Expert | None]:
        """Experts of the modalities and of the batch."""
        by_modality = self.encoder(minibatch.counts, noise) if minibatch.counts else {}
        batch = self.batch_encoder(minibatch.batch, noise) if with_batch else None
        return by_modality, batch

    def decode(self, z: Tensor, modality: str) -> Tensor:
        """Decode z `(n, dim_z)` into a modality, `(n, n_features)`, at the depth that z leads to expect."""
        hidden, output = self.decoder.hidden(z, None), self.decoder.outputs[modality]
        eta: Tensor = output(hidden, None)
        depth: Tensor | None = output.expected_depth(hidden)  # type: ignore[operator]
        return eta if depth is None else eta + depth[:, None]

    def extras(self) -> dict[str, Tensor | None]:
        """Per-feature parameters of the likelihoods, by modality."""
        return {name: output.extra for name, output in self.decoder.outputs.items()}  # type: ignore[misc]

    def forward(self, minibatch: Minibatch, noise: Noise | None, *, with_batch: bool = True) -> Outputs:
        """Run one pass over a minibatch, as training needs it.

        Parameters
        ----------
        minibatch
            Cells.
        noise
            None for no dropout and no sampling.
        with_batch
            Whether the batch is one of the experts. Some training steps leave it out, so that cells of unknown batches can be
            encoded later.
        """
        n = minibatch.n_cells
        by_modality, batch = self.experts(minibatch, noise, with_batch=with_batch)
        of_batch = [] if batch is None else [batch]
        posterior = product_of_experts(n, [*by_modality.values(), *of_batch])
        z = posterior.sample(noise)
        hidden, eta, depths = self.decoder.hidden(z, noise), dict[str, Tensor](), dict[str, DepthGuess]()
        for name, expert in by_modality.items():
            mine = hidden if len(expert.cells) == n else hidden[expert.cells]
            eta[name] = self.decoder.outputs[name](mine, noise)
            depth = self.encoder.inputs[name].depth
            if depth is not None:
                found = depth(minibatch.counts[name])  # type: ignore[operator]
                eta[name] = eta[name] + found[:, None]
                depths[name] = DepthGuess(found, self.decoder.outputs[name].expected_depth(mine))  # type: ignore[operator]
        logits = None if batch is None else self.batch_decoder(z[:, self.dim_c :], noise)
        single = {}
        for name, expert in by_modality.items():
            whole = product_of_experts(n, [expert, *of_batch])
            own = whole if len(expert.cells) == n else Gaussian(whole.mean[expert.cells], whole.logvar[expert.cells])
            single[name] = Latent(expert.cells, own, own.sample(noise))
        joint = Latent(torch.arange(n, device=z.device), posterior, z)
        return Outputs(joint, single, eta, logits, depths)
