"""Fingerprint of a run: must be equal when resuming, and in all processes of distributed training."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.data.rows import measured_counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from midas.config import Config
    from midas.data.mosaic import Mosaic

_SHOWN = 1_000  # cells whose counts are hashed
# Cells whose names are processed together: for a million cells, a tenth of the memory.
_AT_ONCE = 100_000


def fingerprint(config: Config, mosaic: Mosaic, order: NDArray[np.int64], seed: int) -> dict[str, Any]:
    """Describe everything that the result of a run depends on; counts are hashed for a sample of cells.

    Parameters
    ----------
    order
        All cells in canonical order, so that the input order does not matter.

    Returns
    -------
    JSON-serialisable values, by names that are readable in error messages.
    """
    parts = mosaic.schema.modalities
    return {
        "config": config.to_dict(),
        "seed": seed,
        "cells": mosaic.n_cells,
        "schema": {name: part.n_features for name, part in parts.items()},
        "batches": list(mosaic.schema.batches),
        "names of cells": _cells(mosaic, order),
        "names of features": {name: _sum_of(str(feature) for feature in part.features) for name, part in parts.items()},
        "measured features": {
            name: hashlib.sha256(np.packbits(rows.measured).tobytes()).hexdigest()
            for name, rows in mosaic.modalities.items()
        },
        "counts": {name: _counts(mosaic, name, order) for name in parts},
    }


def _counts(mosaic: Mosaic, modality: str, order: NDArray[np.int64]) -> str:
    """Hash of the counts of up to 1,000 evenly spaced cells with the modality: enough to detect another layer."""
    there = order[mosaic.modalities[modality].present[order]]
    cells = there[np.unique(np.linspace(0, len(there) - 1, min(_SHOWN, len(there))).astype(np.int64))]
    found = measured_counts(mosaic, modality, cells)
    found.eliminate_zeros()
    found.sort_indices()
    parts = (found.indptr.astype(np.int64), found.indices.astype(np.int64), found.data.astype(np.float32))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def _cells(mosaic: Mosaic, order: NDArray[np.int64]) -> str:
    """Hash of the cells' names, batches and modalities."""
    digest = hashlib.sha256(_sum_of(mosaic.batches).encode())
    for start in range(0, len(order), _AT_ONCE):
        cells = order[start : start + _AT_ONCE]
        names = mosaic.names.take(cells)
        digest.update(names.text.tobytes() + names.length.tobytes() + mosaic.batch[cells].tobytes())
        for rows in mosaic.modalities.values():
            digest.update(np.packbits(rows.present[cells]).tobytes())
    return digest.hexdigest()


def _sum_of(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
