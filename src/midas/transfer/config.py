"""How a reference is carried over to new data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from midas.config.fields import check_types
from midas.config.training import Sampling
from midas.expect import expect

Tune = Literal["batches", "encoders", "all"]
Mode = Literal["reciprocal", "query_to_reference", "reference_to_query", "encode"]
# A reference of so many cells holds others' most firmly: 7,000 of blood map blood best with 3,000; 600 of bone marrow, with 100.
_ENOUGH_CELLS, _MOST_QUERY_ANCHOR, _QUERY_ANCHOR_GROWTH = 7_000, 3000.0, 1.5


@dataclass(frozen=True)
class TransferConfig:
    """Choices of a transfer; the defaults are what measured best.

    Attributes
    ----------
    tune
        What is trained. ``batches``: the query's batch encoder, batch decoder and discriminators alone (and the networks of
        modalities that the reference lacks); ``encoders``: the encoders too; ``all``: the decoders as well.
    step_fraction
        Steps, as a share of those of a run from scratch on the query.
    learning_rate, discriminator_learning_rate
        Of AdamW.
    adversarial
        Weight of the term that makes batches mix by misleading discriminators.
    alignment
        Weight of the term that brings together what a cell's modalities say; None for the reference's own.
    reference_anchor
        Weight of the squared distance of reference cells from where they lay before.
    query_anchor
        Likewise, of query cells from where they belong among the reference's: where the reference places them, less what sets
        their batch apart near each of the reference's clusters. None: the more, the more cells the reference has. One of few
        cells places others' badly, which less of it leaves free to find their places.
    replay
        Reference cells to train beside for each query cell; 500 in all or more, 20,000 at most.
    discriminator_warmup_steps
        Steps of the discriminators alone, before the model moves, where `adversarial` gives them a part.
    sampling
        How cells meet in a minibatch, as :attr:`midas.TrainingConfig.sampling`.
    add_features
        Whether features that the reference lacks are added, which takes ``tune="all"``; they are left out otherwise.
    subtract_shift
        Whether what still sets a batch apart near each of the reference's clusters is taken away from the latents in the end, so
        that they are not where ``mapped.model.latent(query)`` puts them.
    """

    tune: Tune = "all"
    step_fraction: float = 0.06
    learning_rate: float = 2e-3
    discriminator_learning_rate: float = 4e-3
    adversarial: float = 0.0
    alignment: float | None = None
    reference_anchor: float = 3000.0
    query_anchor: float | None = None
    replay: float = 1.0
    discriminator_warmup_steps: int = 30
    sampling: Sampling = "mixed"
    add_features: bool = True
    subtract_shift: bool = True

    @classmethod
    def for_model(cls, *, mixed: bool) -> TransferConfig:
        """Defaults of a model transfer, whose query need not stay in the reference's space.

        Parameters
        ----------
        mixed
            Whether the query's cells differ in what was measured. Such a query has more to learn, how what was measured in some
            relates to what was measured in others: twice the steps, a higher rate, and more weight on bringing these together,
            and on where the reference's clusters say that they belong.

        Examples
        --------
        >>> midas.transfer.TransferConfig.for_model(mixed=False).query_anchor
        1000.0
        """
        if mixed:
            return cls(step_fraction=0.1, learning_rate=2e-3, adversarial=30.0, alignment=600.0, query_anchor=3000.0)
        return cls(step_fraction=0.05, learning_rate=5e-4, adversarial=30.0, query_anchor=1000.0)

    @classmethod
    def paper(cls, *, tune: Tune = "batches") -> TransferConfig:
        """The mapping of He et al. 2024, of a reference trained with ``Config.paper()``: nothing is held in place.

        What it does not say, such as the weights of the other terms, is the reference's own; the learning rate rises and falls.

        Parameters
        ----------
        tune
            ``batches``, as the text has it, or ``all``, as the authors' code does.

        Examples
        --------
        >>> midas.transfer.TransferConfig.paper().adversarial
        30.0
        """
        return cls(
            tune=tune,
            step_fraction=1.0,
            learning_rate=1e-4,
            discriminator_learning_rate=1e-4,
            adversarial=30.0,
            reference_anchor=0.0,
            query_anchor=0.0,
            discriminator_warmup_steps=0,
            sampling="by_batch",
            subtract_shift=False,
        )

    @property
    def adds_features(self) -> bool:
        """Whether features that the reference lacks are added: what is to be learned of them, all networks have to learn.

        Examples
        --------
        >>> midas.transfer.TransferConfig(tune="batches").adds_features
        False
        """
        return self.add_features and self.tune == "all"

    def query_anchor_for(self, n_reference: int) -> float:
        """How firmly query cells are held, by a reference of so many cells.

        Examples
        --------
        >>> round(midas.transfer.TransferConfig().query_anchor_for(600))
        75
        """
        if self.query_anchor is not None:
            return self.query_anchor
        return float(min(1.0, n_reference / _ENOUGH_CELLS) ** _QUERY_ANCHOR_GROWTH) * _MOST_QUERY_ANCHOR

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("step_fraction", "learning_rate", "discriminator_learning_rate"):
            expect(self, name, getattr(self, name) > 0, "a number above 0")
        for name in ("adversarial", "reference_anchor", "replay", "discriminator_warmup_steps"):
            expect(self, name, getattr(self, name) >= 0, "0 or more")
        for name in ("alignment", "query_anchor"):
            value = getattr(self, name)
            expect(self, name, value is None or value >= 0, "0 or more, or none at all")
