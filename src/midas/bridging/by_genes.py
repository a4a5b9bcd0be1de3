"""Link modalities without shared cells by matching cells through the genes of their features."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from midas.bridging.genes import genes_of, in_common
from midas.bridging.groups import components, composed, one_sided, untied, with_groups
from midas.bridging.matching import Links, compare, match
from midas.bridging.profile import Profile, profile
from midas.data.rows import measured_counts
from midas.draw import at_most

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic

logger = logging.getLogger(__name__)

_FEWEST_CELLS: Final = 50  # per side, for meaningful neighbourhoods
_MOST_GROUPS: Final = 2_000  # more have no benefit, but keep batches from mixing


@dataclass(frozen=True)
class Bridge:
    """Two modalities linked by matched cells, or the reason why they are not.

    Attributes
    ----------
    modalities
        Names.
    links
        Shared genes, and the agreement of the modalities on them.
    cells
        Matched cells of the mosaic, `(n_pairs, 2)`; empty if the links are not trusted.
    """

    modalities: tuple[str, str]
    links: Links
    cells: NDArray[np.int64]

    def __str__(self) -> str:
        pair, n = " and ".join(self.modalities), len(self.links.genes)
        if len(self.cells):
            return (
                f"Hardly any cells tie {pair}: {len(self.cells):,} pairs of cells, matched by {n:,} genes that both have, do "
                f"(the two agree on these with r = {self.links.agreement:.2f})."
            )
        if not n:
            return f'Hardly any cells tie {pair}, and no gene is known to both; var["gene"] may tell of which a feature is.'
        return (
            f"Hardly any cells tie {pair}, and the {n:,} genes that both have do not vary together in both "
            f"(r = {self.links.agreement:.2f}, p = {self.links.p_value:.2g}): not used to align them."
        )


def bridged_by_genes(mosaic: Mosaic, seed: int) -> tuple[Mosaic, tuple[Bridge, ...]]:
    """Add pseudo-cells composed of matched cells where two modalities share no measured cells.

    Parameters
    ----------
    mosaic
        Training data.
    seed
        Random seed for subsampling cells.

    Returns
    -------
    The mosaic with pseudo-cells appended, and the result for each pair of modalities. The mosaic is unchanged if
    measured cells link all modalities, if a pair has too few genes in common, or if these are not correlated in the
    same way in both.
    """
    bridges = tuple(bridge for a, b in untied(mosaic) if (bridge := _bridge(mosaic, a, b, seed)) is not None)
    pairs = [bridge.cells for bridge in bridges if len(bridge.cells)]
    whole = with_groups(mosaic, _some(composed(pairs), seed)) if pairs else mosaic
    now = components(whole)
    for bridge in bridges:
        first, second = bridge.modalities
        level = logging.INFO if now[first] == now[second] else logging.WARNING
        logger.log(level, "%s", bridge)
    return whole, bridges


def _bridge(mosaic: Mosaic, first: str, second: str, seed: int) -> Bridge | None:
    cells = [one_sided(mosaic, first, second, seed), one_sided(mosaic, second, first, seed)]
    if min(map(len, cells)) < _FEWEST_CELLS:
        return None
    genes = in_common(genes_of(mosaic, first), genes_of(mosaic, second))
    a, b = (
        _profile(mosaic, name, some, gene, seed) for name, some, gene in zip((first, second), cells, genes, strict=True)
    )
    links = compare(a, b, seed=seed)
    if not links.trusted:
        return Bridge((first, second), links, np.empty((0, 2), dtype=np.int64))
    i, j = match(a, b, links)
    return Bridge((first, second), links, np.stack([cells[0][i], cells[1][j]], axis=1))


def _some(groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    return groups[at_most(len(groups), _MOST_GROUPS, np.random.default_rng([seed, 6]))]


def _profile(mosaic: Mosaic, name: str, cells: NDArray[np.int64], gene: NDArray[np.object_], seed: int) -> Profile:
    counts = measured_counts(mosaic, name, cells)
    transform = mosaic.schema.modalities[name].modality.transform
    return profile(counts, gene, mosaic.batch[cells], transform=transform, seed=seed)
