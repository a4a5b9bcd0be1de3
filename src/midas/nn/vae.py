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
    """Posterior of z for some cells, and a sample from it.

    Attributes
    ----------
    cells
        Positions in the minibatch, `(n,)`.
    posterior
        q(z | ...), `(n, dim_z)`.
    z
        The sample (the mean without noise).
    """

    cells: Tensor
    posterior: Gaussian
    z: Tensor


@dataclass(frozen=True)
class DepthGuess:
    """Observed and predicted log sequencing depths.

    Attributes
    ----------
    found
        Observed log depths, `(n, n_depths)`; NaN where a cell lacks the modality.
    expected
        Predicted log depths of all cells, `(n, n_depths)`.
    """

    found: Tensor
    expected: Tensor


@dataclass(frozen=True)
class Outputs:
    """Outputs of a forward pass, as needed by the objective.

    Attributes
    ----------
    joint
        Latents of all cells, from all their modalities.
    single
        By modality, latents from that modality (and the batch) alone.
    eta
        By modality, decoder output for the cells that have it, `(n_m, n_features)`.
    batch_logits
        Batch prediction from u, `(n, n_batches)`; None in steps that hide the batch.
    depth
        Depths, in the order of :attr:`VAE.depth_names`; None if no modality has one.
    """

    joint: Latent
    single: Mapping[str, Latent]
    eta: Mapping[str, Tensor]
    batch_logits: Tensor | None
    depth: DepthGuess | None


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
        batch = self.batch_encoder(minibatch.batch, minibatch.known, noise) if with_batch else None
        return by_modality, batch

    @property
    def depth_names(self) -> tuple[str, ...]:
        """Modalities whose depth is computed from the counts."""
        return () if self.decoder.depths is None else self.decoder.depths.names

    def depths(self, minibatch: Minibatch) -> Tensor:
        """Log depth of each cell in each of :attr:`depth_names`, `(n, n_depths)`; NaN where it lacks the modality."""
        found = torch.full((minibatch.n_cells, len(self.depth_names)), torch.nan, device=minibatch.batch.device)
        for column, name in enumerate(self.depth_names):
            if name in minibatch.counts:
                counts = minibatch.counts[name]
                found[counts.cells, column] = self.encoder.inputs[name].depth(counts)  # type: ignore[operator]
        return found

    def decode(self, z: Tensor, modality: str, depths: Tensor | None = None) -> Tensor:
        """Decode z into a modality, `(n, n_features)`.

        Parameters
        ----------
        z
            `(n, dim_z)`.
        modality
            What to decode.
        depths
            Known log depths, `(n, n_depths)`, as in :meth:`depths`. Cells with unknown depth in `modality` are decoded
            at the expected depth.
        """
        hidden = self.decoder.hidden(z, None)
        eta: Tensor = self.decoder.outputs[modality](hidden, None)
        depth = self._depth(hidden, modality, depths)
        return eta if depth is None else eta + depth[:, None]

    def expected_depth(self, z: Tensor, modality: str, depths: Tensor | None = None) -> Tensor:
        """Log depth at which z is decoded, `(n,)`; 0 for a modality without one. Parameters as in :meth:`decode`."""
        depth = self._depth(self.decoder.hidden(z, None), modality, depths)
        return z.new_zeros(len(z)) if depth is None else depth

    def _depth(self, hidden: Tensor, modality: str, depths: Tensor | None) -> Tensor | None:
        if self.decoder.depths is None or modality not in self.depth_names:
            return None
        if depths is None:
            depths = torch.full((len(hidden), len(self.depth_names)), torch.nan, device=hidden.device)
        column = self.depth_names.index(modality)
        own, guess = depths[:, column], self.decoder.depths(hidden, depths)[:, column]
        return torch.where(torch.isfinite(own), own, guess)

    def extras(self) -> dict[str, Tensor | None]:
        """Per-feature parameters of the likelihoods, by modality."""
        return {name: output.extra for name, output in self.decoder.outputs.items()}  # type: ignore[misc]

    def forward(self, minibatch: Minibatch, noise: Noise | None, *, with_batch: bool = True) -> Outputs:
        """Run a forward pass over a minibatch, for training.

        Parameters
        ----------
        minibatch
            Cells.
        noise
            Random numbers; None for no dropout and no sampling.
        with_batch
            Whether to include the batch expert. It is dropped in some training steps, so that cells of unknown batches
            can be encoded later.
        """
        n = minibatch.n_cells
        by_modality, batch = self.experts(minibatch, noise, with_batch=with_batch)
        of_batch = [] if batch is None else [batch]
        posterior = product_of_experts(n, [*by_modality.values(), *of_batch])
        z = posterior.sample(noise)
        hidden, eta, found = self.decoder.hidden(z, noise), dict[str, Tensor](), self.depths(minibatch)
        for name, expert in by_modality.items():
            mine = hidden if len(expert.cells) == n else hidden.index_select(0, expert.cells)
            eta[name] = self.decoder.outputs[name](mine, noise)
            if name in self.depth_names:
                shift = found[:, self.depth_names.index(name), None].index_select(0, expert.cells)
                eta[name].add_(shift.to(eta[name].dtype))  # in place, as this is among the largest tensors
        depth = None if self.decoder.depths is None else DepthGuess(found, self.decoder.depths(hidden, found))
        logits = None if batch is None else self.batch_decoder(z[:, self.dim_c :], noise)
        single = {}
        for name, expert in by_modality.items():
            whole = product_of_experts(n, [expert, *of_batch])
            own = whole if len(expert.cells) == n else whole.take(expert.cells)
            single[name] = Latent(expert.cells, own, own.sample(noise))
        joint = Latent(torch.arange(n, device=z.device), posterior, z)
        return Outputs(joint, single, eta, logits, depth)
