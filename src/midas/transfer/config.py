"""Configuration of reference mapping and model transfer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from midas.config.fields import check_types
from midas.config.training import Sampling
from midas.expect import expect

Tune = Literal["batches", "encoders", "all"]
Mode = Literal["reciprocal", "query_to_reference", "reference_to_query", "encode"]
# References with at least this many cells anchor the query most firmly: 7,000 blood cells map blood best with 3,000; 600 of bone
# marrow, with 100.
_ENOUGH_CELLS, _MOST_QUERY_ANCHOR, _QUERY_ANCHOR_GROWTH = 7_000, 3000.0, 1.5


@dataclass(frozen=True)
class TransferConfig:
    """Settings of a transfer. The defaults are the values that performed best in our measurements.

    Attributes
    ----------
    tune
        Which networks are trained. ``batches``: only the query's batch encoder, batch decoder and discriminators (and the
        networks of modalities that the reference lacks); ``encoders``: the encoders as well; ``all``: the decoders as well.
    step_fraction
        Number of steps, as a fraction of a run from scratch on the query.
    learning_rate, discriminator_learning_rate
        Learning rates of AdamW.
    adversarial
        Weight of the adversarial term, which mixes batches by misleading the discriminators.
    alignment
        Weight of the term that aligns the latents of a cell's modalities; None for the reference's own weight.
    reference_anchor
        Weight of the squared distance of reference cells from their original latents.
    query_anchor
        Weight of the squared distance of query cells from their expected position in the reference: where the reference places
        them, minus the batch shift near each of the reference's clusters. None: the weight grows with the number of reference
        cells. A small reference places query cells badly, and a lower weight leaves them free to find their positions.
    replay
        Number of reference cells per query cell to train on; at least 500 and at most 20,000 in all.
    discriminator_warmup_steps
        Steps in which only the discriminators are trained, before the model moves; not used if `adversarial` is 0.
    sampling
        How cells are sampled into minibatches, as in :attr:`midas.TrainingConfig.sampling`.
    add_features
        Whether to add features that the reference lacks (requires ``tune="all"``). Otherwise they are left out.
    subtract_shift
        Whether to subtract the remaining batch shift near each of the reference's clusters from the final latents. They then
        differ from what ``mapped.model.latent(query)`` returns.
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
            Whether the query's cells differ in their modalities. Such a query has more to learn, namely how the modalities of
            some cells relate to those of others: twice the steps, a higher learning rate, and more weight on aligning them and on
            the positions that the reference's clusters suggest.

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
        """The mapping of He et al. 2024, for a reference trained with ``Config.paper()``: no cells are anchored.

        Settings that the paper does not give, such as the weights of the other terms, are the reference's own; the learning rate
        warms up and decays.

        Parameters
        ----------
        tune
            ``batches``, as in the paper's text, or ``all``, as in the authors' code.

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
        """Whether features that the reference lacks are added; only possible if all networks are trained.

        Examples
        --------
        >>> midas.transfer.TransferConfig(tune="batches").adds_features
        False
        """
        return self.add_features and self.tune == "all"

    def query_anchor_for(self, n_reference: int) -> float:
        """Weight of the query anchor for a reference with `n_reference` cells.

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
