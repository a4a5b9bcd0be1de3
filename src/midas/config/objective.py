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
        Cross entropy of the batch predicted from u (gamma).
    kl_c, kl_u
        Kullback-Leibler divergence of c and of u from the prior; the second is 1 + beta_x.
    alignment
        Squared distance of single-modality samples from their mean (alpha).
    contrast
        Contrastive (InfoNCE) loss: identify a cell within its batch by one modality, given another, so that the
        modalities of a cell come closer; 0 for none, as in the paper. Warms up with the discriminators: any earlier, it
        would spread cells out within their batches while batches are compared.
    adversarial
        Cross entropy of the discriminators, which the encoders maximise (beta_s).
    adversarial_growth
        Above 3,000 cells, the weight of the discriminators grows with the square root of the number of cells, at most
        by this factor; 1 for a constant weight. With more cells, ever smaller differences separate the batches.
    adversarial_reward
        ``batches``: a single cell with a confident prediction is pushed little, as its type may exist only in its
        batch; a batch whose cells are all predicted confidently is pushed as a whole; see
        :meth:`midas.nn.Discriminators.confusion`. ``cells``: the cross entropy of each cell.
    batch_expert_dropout
        Fraction of training steps in which cells are encoded without their batch.
    kl_warmup, adversarial_warmup
        Fractions of all steps over which the weights of both divergences, and those of the discriminators and the
        contrast, rise from zero: c should encode cell identity before it is regularised and aligned across batches. 0
        for no warm-up.
    adversarial_start
        Fraction of all steps after which the warm-up of the discriminators and the contrast begins.
    counterparts
        Whether a cell's batch is predicted only among the batches that contain similar cells, so that cell types
        missing from some batches are not forced together; see :mod:`midas.training.counterparts`. Computed when the
        warm-up of the discriminators begins.
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
        """Scale the weights to the number of training cells.

        Examples
        --------
        >>> midas.ObjectiveConfig(adversarial=30, adversarial_growth=2).for_cells(6_750).adversarial
        45.0
        """
        growth = min(max(1.0, math.sqrt(n_cells / _CELLS_TO_GROW_FROM)), self.adversarial_growth)
        return dataclasses.replace(self, adversarial=growth * self.adversarial)

    @property
    def warmup_end(self) -> float:
        """Fraction of all steps after which all weights are constant.

        Examples
        --------
        >>> midas.ObjectiveConfig(kl_warmup=0.2, adversarial_start=0.1, adversarial_warmup=0.5).warmup_end
        0.6
        """
        return max(self.kl_warmup, self.adversarial_start + self.adversarial_warmup)

    def warmup_factors(self, progress: float) -> tuple[float, float]:
        """Warm-up factors, from 0 to 1, of the divergences and of the discriminators after a fraction of all steps.

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
