"""Weights of the objective's terms, and their warm-up."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from midas.config.fields import ROUNDING, check_types
from midas.expect import expect

AdversarialReward = Literal["cells", "batches"]

_CELLS_TO_GROW_FROM = 3_000


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the objective's terms; a modality's own weight is in :class:`midas.Modality`.

    Attributes
    ----------
    batch_reconstruction
        Cross entropy of the batch, guessed from u (gamma).
    kl_c, kl_u
        Kullback-Leibler divergence of c and of u from the prior; the second is 1 + beta_x.
    alignment
        Squared distance of single-modality samples from their mean (alpha).
    contrast
        Cost of telling which cell of its batch a modality is of, given another modality, so that the modalities of single cells
        come closer; 0 for none, as in the paper. Rises with the weight of the discriminators: before, it would spread cells out
        within their batches, while batches are compared.
    adversarial
        Cross entropy of the discriminators, which the encoders raise (beta_s).
    adversarial_growth
        With more than 3,000 cells the weight of the discriminators grows with the square root of their number, at most by this
        factor; 1 for the same weight at any size. More cells tell batches apart by ever smaller differences.
    adversarial_reward
        ``batches``: a cell that the discriminators are sure of is pushed little, as it may be of a type that only its batch has,
        and a batch that they are sure of as a whole is pushed; see :meth:`midas.nn.Discriminators.confusion`. ``cells``: the
        cross entropy of each cell alone.
    batch_expert_dropout
        Share of training steps in which cells are encoded without their batch.
    kl_warmup, adversarial_warmup
        Shares of all steps over which the weights of both divergences, and of the discriminators and the contrast, rise from
        zero: c is to hold what the cells are before it is made small and alike in all batches. 0 for a step up.
    adversarial_start
        Share of all steps after which the weights of the discriminators and the contrast begin to rise.
    counterparts
        Whether a cell's batch is only to be guessed among the batches that hold cells like it, so that types which not all
        batches have are left alone; see :mod:`midas.training.counterparts`. Found when the discriminators' weight begins to rise.
    """

    batch_reconstruction: float = 1000.0
    kl_c: float = 1.0
    kl_u: float = 20.0
    alignment: float = 50.0
    contrast: float = 10.0
    adversarial: float = 30.0
    adversarial_growth: float = 2.0
    adversarial_reward: AdversarialReward = "batches"
    batch_expert_dropout: float = 0.1
    kl_warmup: float = 0.3
    adversarial_warmup: float = 0.15
    adversarial_start: float = 0.15
    counterparts: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        for f in dataclasses.fields(self):
            if f.name not in {"adversarial_reward", "counterparts"}:
                expect(self, f.name, getattr(self, f.name) >= 0, "0 or more")
        expect(self, "adversarial_growth", self.adversarial_growth >= 1, "1 or more")
        for name in ("batch_expert_dropout", "kl_warmup", "adversarial_warmup"):
            expect(self, name, getattr(self, name) <= 1, "a share from 0 to 1")
        most = 1 - self.adversarial_warmup
        expect(
            self,
            "adversarial_start",
            self.adversarial_start <= most + ROUNDING,
            "a share from 0 to 1 - adversarial_warmup",
        )

    def for_cells(self, n_cells: int) -> ObjectiveConfig:
        """Weights for so many training cells.

        Examples
        --------
        >>> midas.ObjectiveConfig(adversarial=30, adversarial_growth=2).for_cells(6_750).adversarial
        45.0
        """
        growth = min(max(1.0, math.sqrt(n_cells / _CELLS_TO_GROW_FROM)), self.adversarial_growth)
        return dataclasses.replace(self, adversarial=growth * self.adversarial)

    @property
    def warmup_end(self) -> float:
        """Share of all steps from which on no weight changes any more.

        Examples
        --------
        >>> midas.ObjectiveConfig(kl_warmup=0.2, adversarial_start=0.1, adversarial_warmup=0.5).warmup_end
        0.6
        """
        return max(self.kl_warmup, self.adversarial_start + self.adversarial_warmup)

    def warmup_factors(self, progress: float) -> tuple[float, float]:
        """Factors from 0 to 1 of the weights of both divergences, and of the discriminators, at a share of all steps.

        Examples
        --------
        >>> midas.ObjectiveConfig(kl_warmup=0.5, adversarial_start=0.25, adversarial_warmup=0.0).warmup_factors(0.25)
        (0.5, 1.0)
        """
        kl = _warmup(progress, 0.0, self.kl_warmup)
        return kl, _warmup(progress, self.adversarial_start, self.adversarial_warmup)


def _warmup(progress: float, start: float, over: float) -> float:
    if progress >= start + over:
        return 1.0
    return max(0.0, (progress - start) / over) if over > 0 else 0.0
