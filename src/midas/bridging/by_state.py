"""Link modalities without shared cells by matching cells that are close in a joint latent space."""

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
    """Add pseudo-cells composed of nearby cells where two modalities share no measured cells.

    Parameters
    ----------
    mosaic
        Training data.
    state
        Latent state of each cell, `(n_cells, dim)`, for example from a reference model; NaN for cells without one.
    seed
        Random seed for subsampling cells.
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
    """Centre each batch, to remove the shift of batches that the latent space was not trained on."""
    out = np.empty(state.shape, dtype=np.float64)
    for code in np.unique(batch):
        mine = batch == code
        out[mine] = state[mine] - state[mine].mean(0)
    return out
