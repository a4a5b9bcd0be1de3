"""Queries with fewer features than the reference: find cells without information, and how well the others are encoded."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from midas import keys
from midas.data.combine import recast
from midas.data.rows import measured_counts
from midas.readings import MOST_CELLS, read_by_combination
from midas.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.model import MIDAS
    from midas.nn import VAE
    from midas.readings import Readings
    from midas.transfer.replay import Replay

logger = logging.getLogger(__name__)

# A query with at least this share of the reference's features is encoded as reliably as one with all of them.
_ENOUGH: Final = 0.9
_CELLS_AT_ONCE: Final = 4096


def reread(vae: VAE, query: Mosaic, reference: MIDAS, cells: Callable[[int], Replay], *, seed: int) -> Readings | None:
    """Encode reference cells from the features that a query measured; None if it measured nearly all of them.

    Parameters
    ----------
    vae
        Model that encodes both.
    query
        Query as read for that model.
    cells
        Returns a given number of the reference's cells, measured or generated.
    """
    panels = {name: _panel(query, name) for name in query.schema.modalities if query.modalities[name].present.any()}
    known = _known_features(reference, query)
    shares = [float(panel[known[name]].mean()) for name, panel in panels.items() if known[name].any()]
    if min(shares, default=1.0) >= _ENOUGH:
        return None
    replay = cells(MOST_CELLS)
    shown = recast(replay.mosaic, query.schema)
    rows = {
        name: replace(part, measured=part.measured & panels[name]) if name in panels else part
        for name, part in shown.modalities.items()
    }
    return read_by_combination(vae, replace(shown, modalities=rows), replay.rows, seed=seed)


def leave_out_empty(table: AnnData, query: Mosaic, reference: MIDAS) -> None:
    """Remove the latents of cells without a single count of a feature that the reference knows, as they hold no information.

    Parameters
    ----------
    table
        The query's cells and their latents, changed in place.
    """
    empty = np.isfinite(np.asarray(table.obsm[keys.LATENT])).all(1)
    for name, known in _known_features(reference, query).items():
        cells = np.flatnonzero(query.modalities[name].present)
        for start in range(0, len(cells), _CELLS_AT_ONCE):
            block = cells[start : start + _CELLS_AT_ONCE]
            empty[block] &= np.asarray(abs(measured_counts(query, name, block)) @ known == 0)
    if not empty.any():
        return
    logger.warning(
        "%s of the reference: no latents and no label.",
        counted(int(empty.sum()), "cell has no count of any feature", "cells have no count of any feature"),
    )
    for key in (keys.LATENT, keys.TECHNICAL):
        table.obsm[key][empty] = np.nan


def _known_features(reference: MIDAS, query: Mosaic) -> dict[str, NDArray[np.bool_]]:
    """By modality, which features of the query's schema were measured in reference cells, `(n_features,)`."""
    found = {name: np.zeros(part.n_features, dtype=bool) for name, part in query.schema.modalities.items()}
    for name, panels in reference.learned.measured.items():
        known = panels.columns[np.atleast_1d(panels.to_numpy(dtype=bool).any(0))]
        found[name] = query.schema.modalities[name].features.isin(known)
    return found


def _panel(query: Mosaic, modality: str) -> NDArray[np.bool_]:
    """Features measured by at least one batch that has cells with the modality."""
    rows = query.modalities[modality]
    return np.atleast_1d(rows.measured[np.unique(query.batch[rows.present])].any(0))
