"""Pseudo-cells composed of matched cells, so that modalities without shared cells are linked."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from midas.data.names import CellNames
from midas.data.summary import TYING_CELLS
from midas.draw import at_most

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic

_MOST_CELLS: Final = 2_000  # per side; matching more takes long


def components(mosaic: Mosaic) -> dict[str, int]:
    """Connected components of modalities linked by measured cells."""
    group = {name: i for i, name in enumerate(mosaic.modalities)}
    for a, b in combinations(mosaic.modalities, 2):
        both = mosaic.modalities[a].present & mosaic.modalities[b].present
        if both.sum() >= TYING_CELLS:
            old, new = group[b], group[a]
            group = {name: new if number == old else number for name, number in group.items()}
    return group


def untied(mosaic: Mosaic) -> list[tuple[str, str]]:
    """Pairs of modalities in different components."""
    group = components(mosaic)
    there = [name for name, rows in mosaic.modalities.items() if rows.present.any()]
    return [(a, b) for a, b in combinations(there, 2) if group[a] != group[b]]


def one_sided(mosaic: Mosaic, having: str, lacking: str, seed: int) -> NDArray[np.int64]:
    """Cells of one modality without the other, in canonical order; subsampled if there are too many to match."""
    order = mosaic.canonical_order()
    wanted = mosaic.modalities[having].present & ~mosaic.modalities[lacking].present
    order = order[wanted[order]]
    return order[at_most(len(order), _MOST_CELLS, np.random.default_rng([seed, 5]))]


def composed(pairs: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Merge pairs that share a cell: RNA with proteins and proteins with peaks gives one pseudo-cell of all three.

    Parameters
    ----------
    pairs
        One array `(n_pairs, 2)` for each pair of modalities.

    Returns
    -------
    Cells of each group, `(n_groups, most)`; padded with -1.
    """
    groups: list[list[int]] = []
    groups_of: dict[int, list[int]] = {}
    for bridge in pairs:
        # For each cell, groups of earlier bridges that can take another cell.
        open_ = {cell: list(mine) for cell, mine in groups_of.items()}
        for a, b in bridge.tolist():
            known, new = (a, b) if a in open_ else (b, a)
            if open_.get(known) and new not in open_:
                number = open_[known].pop(0)
                groups[number].append(new)
            else:
                number = len(groups)
                groups.append([a, b])
            for cell in (a, b):
                if number not in groups_of.setdefault(cell, []):
                    groups_of[cell].append(number)
    out = np.full((len(groups), max(map(len, groups), default=2)), -1, dtype=np.int64)
    for row, group in zip(out, groups, strict=True):
        row[: len(group)] = group
    return out


def with_groups(mosaic: Mosaic, groups: NDArray[np.int64]) -> Mosaic:
    """Append a pseudo-cell per row of `groups`, `(n, most)`; each modality is from the first cell that has it.

    Its batch is that of one of its cells, in turn; measured features are those of the cell the modality is from.
    """
    n = len(groups)
    parts = (groups >= 0).sum(1)
    lead = groups[np.arange(n), np.arange(n) % parts]
    owners = {}
    for name, part in mosaic.modalities.items():
        has = part.present[groups] & (groups >= 0)
        owners[name] = np.where(has.any(1), groups[np.arange(n), has.argmax(1)], groups[:, 0])
    # One batch per combination of the cells' batches: panels of all of them, model batch of one.
    key = np.stack([mosaic.batch[cells] for cells in (lead, *owners.values())])
    kinds, kind = np.unique(key, axis=1, return_inverse=True)
    rows = {
        name: replace(
            part,
            source_of=np.concatenate([part.source_of, part.source_of[owners[name]]]),
            row=np.concatenate([part.row, part.row[owners[name]]]),
            measured=np.concatenate([part.measured, part.measured[kinds[1 + i]]]),
        )
        for i, (name, part) in enumerate(mosaic.modalities.items())
    }
    names = mosaic.cells.to_numpy().astype(str)
    return replace(
        mosaic,
        names=mosaic.names.append(CellNames.of(pd.Index([" & ".join(names[group[group >= 0]]) for group in groups]))),
        batches=mosaic.batches + tuple(f"matched {i}" for i in range(kinds.shape[1])),
        batch=np.concatenate([mosaic.batch, len(mosaic.batches) + kind.ravel()]),
        known_batch=np.concatenate([mosaic.known_batch, mosaic.known_batch[kinds[0]]]),
        modalities=rows,
        obs=pd.DataFrame(),
    )
