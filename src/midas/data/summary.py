"""Summary of a mosaic: cells by batch and modality, bridges, and warnings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from midas.text import counted, describe_names

if TYPE_CHECKING:
    from midas.data.mosaic import Mosaic

TYING_CELLS: Final = 20
"""Number of cells with both modalities from which they link these better than any matching."""

WEAK_BRIDGE: Final = 50
"""With fewer cells, the link between two modalities is weak."""

# With fewer cells, the batch effect cannot be estimated reliably.
_TINY_BATCH = 50


@dataclass(frozen=True)
class MosaicSummary:
    """A mosaic in numbers.

    Attributes
    ----------
    cells
        Batches x modalities, number of cells; the column `all` counts each cell once.
    features
        Batches x modalities, number of features measured.
    combinations
        Number of cells by batch and combination of modalities.
    bridges
        For each pair of modalities, the number of cells that have both.
    warnings
        One sentence each.
    """

    cells: pd.DataFrame
    features: pd.DataFrame
    combinations: pd.DataFrame
    bridges: dict[tuple[str, str], int]
    warnings: tuple[str, ...]


def summarise(mosaic: Mosaic) -> MosaicSummary:
    """Count cells, and check for what makes a mosaic hard to integrate."""
    n = len(mosaic.batches)
    cells = pd.DataFrame(index=pd.Index(mosaic.batches, name="batch"))
    features = cells.copy()
    for name, rows in mosaic.modalities.items():
        cells[name] = np.bincount(mosaic.batch[rows.present], minlength=n)
        features[name] = np.where(cells[name] > 0, rows.measured.sum(1), 0)
    cells["all"] = np.bincount(mosaic.batch, minlength=n)
    combination = mosaic.combinations().to_numpy()
    table = pd.crosstab(
        pd.Series(np.asarray(mosaic.batches)[mosaic.batch], name="batch"), pd.Series(combination, name="cells with")
    )
    bridges = {
        (a, b): int((mosaic.modalities[a].present & mosaic.modalities[b].present).sum())
        for a, b in combinations(mosaic.modalities, 2)
    }
    return MosaicSummary(cells, features, table, bridges, (*mosaic.notes, *_warnings(cells, bridges)))


def _warnings(cells: pd.DataFrame, bridges: dict[tuple[str, str], int]) -> list[str]:
    found = []
    modalities = [name for name in cells.columns if name != "all"]
    islands = _islands(modalities, bridges)
    if len(islands) > 1:
        groups = " | ".join("+".join(group) for group in islands)
        few = any(0 < n < TYING_CELLS for n in bridges.values())
        found.append(
            (f"Fewer than {TYING_CELLS} cells bridge" if few else "No cell bridges")
            + f" {groups}: only genes that their features stand for can tie them, or their cells will not align."
        )
    for (a, b), n in bridges.items():
        if 0 < n < WEAK_BRIDGE:
            found.append(f"Only {counted(n, 'cell has', 'cells have')} both {a} and {b}: a weak bridge.")
    tiny = cells["all"][cells["all"] < _TINY_BATCH]
    if len(tiny) == 1:
        size = counted(int(tiny.iloc[0]), "cell", "cells")
        found.append(f"Batch {tiny.index[0]!r} has only {size}: its batch effect is hard to learn.")
    elif len(tiny):
        which = describe_names(tiny.index)
        found.append(
            f"{len(tiny):,} batches have fewer than {_TINY_BATCH} cells ({which}): their batch effects are hard to learn."
        )
    if len(cells) == 1:
        found.append("There is one batch: nothing to correct; imputation and translation still work.")
    return found


def _islands(modalities: list[str], bridges: dict[tuple[str, str], int]) -> list[list[str]]:
    """Connected components of modalities that are linked by enough cells."""
    groups = [{name} for name in modalities]
    for (a, b), n in bridges.items():
        if n >= TYING_CELLS:
            joined = [group for group in groups if a in group or b in group]
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return sorted(sorted(group) for group in groups)
