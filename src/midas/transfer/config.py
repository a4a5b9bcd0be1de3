"""How a reference is carried over to new data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tune = Literal["batches", "encoders", "all"]
Mode = Literal["reciprocal", "query", "transfer", "encode"]


@dataclass(frozen=True)
class TransferConfig:
    """Choices of a transfer; the defaults are what measured best.

    Attributes
    ----------
    tune
        What is trained. ``batches``: the query's batch encoder, batch decoder and discriminators alone (and the networks of
        modalities that the reference lacks); ``encoders``: the encoders too; ``all``: the decoders as well.
    share
        Steps, as a share of those of a run from scratch on the query.
    learning_rate, discriminator_learning_rate
        Of AdamW.
    adversarial
        Weight of the term that makes batches mix, reference and query among them.
    anchor
        Weight of the squared distance of reference cells from where they lay before.
    hold
        Likewise, of query cells from where the reference places them.
    replay
        Reference cells to train beside for each query cell.
    add_features
        Whether features that the reference lacks are added; they are left out otherwise.
    """

    tune: Tune = "all"
    share: float = 0.1
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 4e-3
    adversarial: float = 30.0
    anchor: float = 50.0
    hold: float = 5.0
    replay: float = 1.0
    add_features: bool = True
    teach_first: int = 0
