"""Our side: the networks with scmidas' weights, and scmidas' draws in place of our noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from midas import Config
from midas.data import MosaicSchema
from midas.nn import VAE, Discriminators, Noise
from scmidas_parity.order import Order
from scmidas_parity.peer import Peer
from scmidas_parity.weights import discriminator_weights, vae_weights


class Replay(Noise):
    """Normal numbers that were drawn before, in the order of the draws."""

    def __init__(self, draws: Sequence[Tensor]) -> None:
        super().__init__(0, torch.device("cpu"))
        self.draws = list(draws)

    def normal_like(self, like: Tensor) -> Tensor:
        """Next of the draws."""
        draw = self.draws.pop(0)
        if draw.shape != like.shape:
            raise ValueError(f"expected a draw of shape {tuple(like.shape)}, found one of {tuple(draw.shape)}")
        return draw


@dataclass(frozen=True)
class Ours:
    """Our networks with scmidas' weights."""

    schema: MosaicSchema
    config: Config
    vae: VAE
    discriminators: Discriminators

    @classmethod
    def load(cls, peer: Peer, schema: MosaicSchema, order: Mapping[str, Order], seed: int) -> Ours:
        """Build the networks of the paper without dropout; ``load_state_dict`` is strict about names and shapes."""
        paper = Config.paper()
        config = replace(
            paper,
            network=replace(paper.network, dropout=0.0, discriminator_dropout=0.0),
            training=replace(paper.training, accelerator="cpu"),
        )
        vae, discriminators = VAE(schema, config.network), Discriminators(schema, config.network)
        vae.load_state_dict(vae_weights(peer.under("net."), order, peer.meta, config))
        noise = torch.Generator().manual_seed(seed)
        discriminators.load_state_dict(
            discriminator_weights(
                peer.under("dsc."),
                discriminators.names,
                peer.meta,
                config,
                lambda *shape: torch.randn(shape, generator=noise),
            )
        )
        return cls(schema, config, vae, discriminators)
