"""Random subsampling that keeps the order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def at_most(n_items: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `n` of `n_items` positions, in ascending order; all of them, without using `rng`, if there are no more."""
    if n_items <= n:
        return np.arange(n_items)
    return np.sort(rng.choice(n_items, n, replace=False))
