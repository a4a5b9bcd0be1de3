"""Queries that measured fewer features than the reference: which of their cells say nothing, how surely the others are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from midas.data.combine import recast
from midas.data.rows import measured_counts
from midas.readings import MOST_CELLS, read_by_combination

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.nn import VAE
    from midas.readings import Readings
    from midas.transfer.replay import Replay

# A query with so large a share of the reference's features is read as surely as one with all.
_ENOUGH: Final = 0.9
_CELLS_AT_ONCE: Final = 4096


def share_measured(query: Mosaic, reference: dict[str, NDArray[np.bool_]]) -> float:
    """Least share, over the query's modalities, of the reference's features that some of its batches measured.

    Parameters
    ----------
    query
        Read for the reference's model, or for one that goes on from it.
    reference
        By modality, which features of the query's schema the reference's cells were measured in, `(n_features,)`.
    """
    shares = [
        float(_panel(query, name)[known].mean())
        for name, known in reference.items()
        if known.any() and query.modalities[name].present.any()
    ]
    return min(shares, default=1.0)


def reread(
    vae: VAE, query: Mosaic, reference: dict[str, NDArray[np.bool_]], cells: Callable[[int], Replay], *, seed: int
) -> Readings | None:
    """Read cells of the reference by the features that a query measured; None where it measured about all.

    Parameters
    ----------
    vae
        What encodes both.
    query, reference
        As in :func:`share_measured`.
    cells
        Gives so many of the reference's cells, measured or made.
    """
    if share_measured(query, reference) >= _ENOUGH:
        return None
    replay = cells(MOST_CELLS)
    mosaic = recast(replay.mosaic, query.schema)
    hidden = {
        name: replace(rows, measured=rows.measured & _panel(query, name))
        for name, rows in mosaic.modalities.items()
        if query.modalities[name].present.any()
    }
    shown = replace(mosaic, modalities={**mosaic.modalities, **hidden})
    return read_by_combination(vae, shown, replay.rows, seed=seed)


def empty_cells(query: Mosaic, reference: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Cells without a single count of what the reference knows, `(n_cells,)`, of which nothing can be said."""
    empty = np.ones(query.n_cells, dtype=bool)
    for name, known in reference.items():
        cells = np.flatnonzero(query.modalities[name].present)
        for start in range(0, len(cells), _CELLS_AT_ONCE):
            some = cells[start : start + _CELLS_AT_ONCE]
            counts = measured_counts(query, name, some)
            empty[some] &= np.asarray(abs(counts) @ known == 0)
    return empty


def _panel(query: Mosaic, modality: str) -> NDArray[np.bool_]:
    """Features that some batch with cells of the modality measured."""
    rows = query.modalities[modality]
    return np.atleast_1d(rows.measured[np.unique(query.batch[rows.present])].any(0))
