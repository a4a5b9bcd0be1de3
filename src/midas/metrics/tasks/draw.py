"""Draw cells. Each kind of draw has its own random generator, seeded by the seed and its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUBSAMPLE: Final = 0
CUT: Final = 1
UNPAIR: Final = 2
THIN: Final = 3


def sample(groups: Sequence[str] | NDArray[Any], n: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Draw `n` positions in ascending order, from each group in proportion to its size; all if there are fewer.

    At least one from each group, unless there are more groups than `n`.
    """
    codes, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)[1:]
    if n < 1:
        msg = f"Expected to draw 1 cell or more, found {n}."
        raise ValueError(msg)
    if n >= len(codes):
        return np.arange(len(codes))
    share = n * sizes / len(codes)
    quota = np.floor(share).astype(np.int64)
    quota[np.argsort(quota - share, kind="stable")[: n - quota.sum()]] += 1
    while n >= len(sizes) and not quota.all():  # take one from the largest group for the rarest
        quota[quota.argmax()] -= 1
        quota[quota.argmin()] = 1
    rng = np.random.default_rng([seed, SUBSAMPLE])
    drawn = [rng.permutation(np.flatnonzero(codes == g))[:q] for g, q in enumerate(quota)]
    return np.sort(np.concatenate(drawn))
