"""A mosaic for training: the mosaic itself, and cells put together of matched halves where nothing else ties modalities."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from midas.bridging.genes import genes_of, in_common
from midas.bridging.matching import Links, compare, match
from midas.bridging.profile import Profile, profile
from midas.data.rows import measured_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic

logger = logging.getLogger(__name__)

_MOST_CELLS: Final = 2_000  # of each side; an assignment of more takes long
_FEWEST_CELLS: Final = 50  # of each side, or neighbourhoods say nothing
_ENOUGH: Final = 20  # cells with both modalities, from which on those tie them better than links do


@dataclass(frozen=True)
class Bridge:
    """Two modalities tied by matched cells.

    Attributes
    ----------
    modalities
        Names.
    links
        The genes that both have.
    cells
        Matched cells of the mosaic, `(n_pairs, 2)`.
    """

    modalities: tuple[str, str]
    links: Links
    cells: NDArray[np.int64]


def bridged(mosaic: Mosaic, seed: int) -> tuple[Mosaic, tuple[Bridge, ...]]:
    """Add matched cells where no measured cell ties two groups of modalities.

    Parameters
    ----------
    mosaic
        To be trained on, its features' genes known.
    seed
        Of the cells that are compared.

    Returns
    -------
    The mosaic, behind its own cells those put together of two (named after both); and what ties what. The mosaic as it is where
    measured cells tie all modalities, where too few genes are known to two modalities, or where these do not agree.
    """
    groups = components(mosaic)
    bridges = []
    for first, second in combinations(mosaic.modalities, 2):
        if groups[first] == groups[second]:
            continue
        bridge = _bridge(mosaic, first, second, seed)
        if bridge is not None:
            bridges.append(bridge)
    if bridges:
        mosaic = with_groups(mosaic, composed([bridge.cells for bridge in bridges]))
    return mosaic, tuple(bridges)


def components(mosaic: Mosaic) -> dict[str, int]:
    """Give modalities that measured cells tie, directly or over others, the same number."""
    group = {name: i for i, name in enumerate(mosaic.modalities)}
    for a, b in combinations(mosaic.modalities, 2):
        both = mosaic.modalities[a].present & mosaic.modalities[b].present
        if both.sum() >= _ENOUGH:
            old, new = group[b], group[a]
            group = {name: new if number == old else number for name, number in group.items()}
    return group


def _bridge(mosaic: Mosaic, first: str, second: str, seed: int) -> Bridge | None:
    cells = [_drawn(mosaic, first, second, seed), _drawn(mosaic, second, first, seed)]
    if min(map(len, cells)) < _FEWEST_CELLS:
        return None
    genes = in_common(genes_of(mosaic, first), genes_of(mosaic, second))
    a, b = (
        _profile(mosaic, name, some, gene, seed) for name, some, gene in zip((first, second), cells, genes, strict=True)
    )
    links = compare(a, b, seed=seed)
    pair = f"{first} and {second}"
    if not len(links.genes):
        logger.warning("No cell has both %s, and no gene is known to both: they can only be aligned by chance.", pair)
        return None
    if not links.trusted:
        logger.warning(
            "No cell has both %s, and %s linked genes do not vary together in both (r = %.2f, p = %.2g): not used to align them.",
            pair, len(links.genes), links.agreement, links.p_value,
        )  # fmt: skip
        return None
    i, j = match(a, b, links)
    logger.info(
        "No cell has both %s: tied by %s pairs of cells, matched by %s linked genes (agreement r = %.2f).",
        pair, f"{len(i):,}", len(links.genes), links.agreement,
    )  # fmt: skip
    return Bridge((first, second), links, np.stack([cells[0][i], cells[1][j]], axis=1))


def _drawn(mosaic: Mosaic, having: str, lacking: str, seed: int) -> NDArray[np.int64]:
    """Cells of one modality without the other, in canonical order."""
    order = mosaic.canonical_order()
    wanted = mosaic.modalities[having].present & ~mosaic.modalities[lacking].present
    order = order[wanted[order]]
    if len(order) <= _MOST_CELLS:
        return order
    drawn = np.random.default_rng([seed, 5]).choice(len(order), _MOST_CELLS, replace=False)
    return order[np.sort(drawn)]


def _profile(mosaic: Mosaic, name: str, cells: NDArray[np.int64], gene: NDArray[np.object_], seed: int) -> Profile:
    counts = measured_counts(mosaic, name, cells)
    binary = mosaic.schema.modalities[name].modality.transform == "binarize"
    return profile(counts, gene, mosaic.batch[cells], binary=binary, seed=seed)


def composed(pairs: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Join pairs that have a cell in common: of RNA with proteins and of proteins with peaks comes one cell of all three.

    Parameters
    ----------
    pairs
        One array `(n_pairs, 2)` for each two modalities.

    Returns
    -------
    Cells that are put together, `(n_groups, most)`; -1 where a group has fewer.
    """
    groups: list[list[int]] = []
    home: dict[int, list[int]] = {}
    for bridge in pairs:
        before = dict(home)
        for a, b in bridge.tolist():
            group = before.get(a) or before.get(b)
            if group is None or (a in before and b in before):
                group = []
                groups.append(group)
            group += [cell for cell in (a, b) if cell not in group]
            for cell in (a, b):
                home.setdefault(cell, group)
    out = np.full((len(groups), max(map(len, groups), default=2)), -1, dtype=np.int64)
    for row, group in zip(out, groups, strict=True):
        row[: len(group)] = group
    return out


def with_groups(mosaic: Mosaic, groups: NDArray[np.int64]) -> Mosaic:
    """Add a cell for each row of `groups`, `(n, most)`, put together of these cells: each modality of the first that has it.

    A new cell's batch is that of one of its parts in turn; which features were measured follows the part that has them.
    """
    n = len(groups)
    parts = (groups >= 0).sum(1)
    lead = groups[np.arange(n), np.arange(n) % parts]
    owners = {}
    for name, part in mosaic.modalities.items():
        has = part.present[groups] & (groups >= 0)
        owners[name] = np.where(has.any(1), groups[np.arange(n), has.argmax(1)], groups[:, 0])
    # A batch for each kind of group: panels of all its parts, but the model's batch of one.
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
        cells=mosaic.cells.append(pd.Index([" & ".join(names[group[group >= 0]]) for group in groups])),
        batches=mosaic.batches + tuple(f"matched {i}" for i in range(kinds.shape[1])),
        batch=np.concatenate([mosaic.batch, len(mosaic.batches) + kind.ravel()]),
        known_batch=np.concatenate([mosaic.known_batch, mosaic.known_batch[kinds[0]]]),
        modalities=rows,
        obs=pd.DataFrame(),
    )
