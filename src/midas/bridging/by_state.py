"""Modalities that no measured cells tie, tied by cells that lie close to each other in a space that knows both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midas.bridging.groups import composed, one_sided, untied, with_groups
from midas.bridging.matching import assigned, surest
from midas.neighbours import squared_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic


def bridged_by_state(mosaic: Mosaic, state: NDArray[Any], seed: int) -> Mosaic:
    """Add cells put together of close ones where no measured cells tie two modalities.

    Parameters
    ----------
    mosaic
        To be trained on.
    state
        Where each cell lies, `(n_cells, dim)`, for example where a reference places it; NaN for cells that lie nowhere.
    seed
        Of the cells that are compared.
    """
    pairs = []
    for first, second in untied(mosaic):
        a, b = (
            cells[np.isfinite(state[cells]).all(1)]
            for cells in (one_sided(mosaic, first, second, seed), one_sided(mosaic, second, first, seed))
        )
        if len(a) and len(b):
            places = (_centred(state[cells], mosaic.batch[cells]) for cells in (a, b))
            similar = -np.sqrt(squared_distances(*places))
            i, j = assigned(similar)
            sure = surest(similar[i, j])
            pairs.append(np.stack([a[i[sure]], b[j[sure]]], axis=1))
    return with_groups(mosaic, composed(pairs)) if pairs else mosaic


def _centred(state: NDArray[Any], batch: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take each batch's mean away: what a space has not yet been told of a batch moves all of its cells."""
    out = np.empty(state.shape, dtype=np.float64)
    for code in np.unique(batch):
        mine = batch == code
        out[mine] = state[mine] - state[mine].mean(0)
    return out
