"""Mean loss terms of an epoch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_BATCH = "batch_reconstruction"
# Terms that are missing in some steps.
_LEFT_OUT = frozenset({_BATCH, "discriminator"})


class Means:
    """Means of terms over the steps of an epoch, summed on the device to avoid synchronisation."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps: Counter[str] = Counter()

    def add(self, terms: Mapping[str, Tensor], *, with_batch: bool) -> None:
        """Count a step."""
        for name, term in terms.items():
            if with_batch or name != _BATCH:
                # Copied, as the next step may overwrite the tensor (CUDA graphs).
                self._sums[name] = self._sums[name] + term if name in self._sums else term.clone()
                self._steps[name] += 1

    def terms(self, batch_weight: float) -> dict[str, float]:
        """Mean of each term over the steps that had it; for modalities over all steps, as cells without it have zero loss.

        The total is corrected to what it would be if no step had hidden the batch, so that it does not depend on their
        number.
        """
        steps = self._steps["total"]
        had = {name: self._steps[name] if name in _LEFT_OUT else steps for name in self._sums}
        means = {name: float(total) / had[name] for name, total in self._sums.items()}
        if _BATCH in means:
            means["total"] += batch_weight * means[_BATCH] * (1 - had[_BATCH] / steps)
        return means
