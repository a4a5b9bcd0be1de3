"""Match cells of two modalities by shared genes, then by the correlations between matched cells.

Genes are weighted by how well their gene-gene correlations agree between the two modalities, which requires no shared
cells. The refinement follows MaxFuse (Chen et al., Nature Biotechnology 2023): canonical correlation analysis of
matched cells, then matching again in the canonical space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.bridging.profile import Profile

FEWEST_GENES: Final = 5
_PERMUTATIONS: Final = 500
_TRUSTED: Final = 0.01
# Wrong links can be detected by the agreement between genes only with enough genes; fewer are weighted equally.
_ENOUGH_TO_WEIGH: Final = 10
_WEIGHINGS: Final = 5  # iterations of re-weighting genes by their agreement with trusted ones
_ROUNDS: Final = 3  # iterations of matching in the canonical space
_CANONICAL: Final = 10  # maximum number of canonical directions
_GENES_STILL: Final = 0.5  # weight of the linked genes in these iterations, against drift
_KEPT: Final = 0.9  # of the pairs; measured, see benchmarks/RESULTS.md


@dataclass(frozen=True)
class Links:
    """Agreement of two modalities on their shared genes.

    Attributes
    ----------
    genes
        Symbols, `(n_genes,)`.
    weight
        Weight of each, `(n_genes,)`.
    agreement
        Correlation of the two modalities' gene-by-gene correlations; 1 is best.
    p_value
        Permutation p-value of the agreement.
    """

    genes: NDArray[np.str_]
    weight: NDArray[np.float64]
    agreement: float
    p_value: float

    @property
    def trusted(self) -> bool:
        """Whether the agreement is significant."""
        return len(self.genes) >= FEWEST_GENES and self.p_value <= _TRUSTED


def compare(first: Profile, second: Profile, *, seed: int) -> Links:
    """Find shared genes, and the agreement of the two modalities on them."""
    genes, a, b = _shared(first, second)
    if len(genes) < FEWEST_GENES:
        return Links(genes, np.ones(len(genes)), float("nan"), 1.0)
    of_a, of_b = _correlations(a), _correlations(b)
    upper = np.triu_indices(len(genes), 1)
    agreement = _correlation(of_a[upper], of_b[upper])
    rng = np.random.default_rng([seed, 4])
    reached = 0
    for _ in range(_PERMUTATIONS):
        order = rng.permutation(len(genes))
        reached += _correlation(of_a[upper], of_b[np.ix_(order, order)][upper]) >= agreement
    weight = _trust(of_a, of_b) if len(genes) >= _ENOUGH_TO_WEIGH else np.ones(len(genes))
    return Links(genes, weight, agreement, (1 + reached) / (1 + _PERMUTATIONS))


def match(first: Profile, second: Profile, links: Links) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match cells of both sides, and drop the least similar pairs.

    Returns
    -------
    Positions in the first and in the second profile, each `(n_pairs,)`; a cell may occur in several pairs.
    """
    _, a, b = _shared(first, second)
    by_genes = _cosines(a * np.sqrt(links.weight), b * np.sqrt(links.weight))
    i, j = twice_assigned(by_genes)
    similar = by_genes
    for _ in range(_ROUNDS):
        sure = surest(similar[i, j])
        similar = _cosines(*_canonical(first.directions, second.directions, i[sure], j[sure])) + _GENES_STILL * by_genes
        i, j = twice_assigned(similar)
    sure = surest(similar[i, j])
    return i[sure], j[sure]


def _shared(first: Profile, second: Profile) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.float64]]:
    genes, i, j = np.intersect1d(first.genes, second.genes, return_indices=True)
    a, b = first.by_gene[:, i], second.by_gene[:, j]
    vary = (a.std(0) > 0) & (b.std(0) > 0)
    return genes[vary], a[:, vary], b[:, vary]


def _trust(of_a: NDArray[np.float64], of_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of each gene: squared agreement of its correlations with trusted genes; near 0 for wrong links."""
    n = len(of_a)
    weight = np.ones(n)
    for _ in range(_WEIGHINGS):
        others = np.tile(weight, (n, 1))
        np.fill_diagonal(others, 0.0)
        others /= np.maximum(others.sum(1, keepdims=True), 1e-12)
        a = of_a - (others * of_a).sum(1, keepdims=True)
        b = of_b - (others * of_b).sum(1, keepdims=True)
        spread = np.sqrt((others * a**2).sum(1) * (others * b**2).sum(1))
        agree = (others * a * b).sum(1) / np.maximum(spread, 1e-12)
        weight = np.clip(agree, 0, None) ** 2
        if not weight.any():
            return np.ones(n)
    return weight


def _canonical(
    a: NDArray[np.float64], b: NDArray[np.float64], i: NDArray[np.int64], j: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project both sides on canonical directions of the matched cells, scaled by their correlation."""
    white_a, white_b = _whitening(a[i]), _whitening(b[j])
    centred_a, centred_b = a[i] - a[i].mean(0), b[j] - b[j].mean(0)
    u, strength, vt = np.linalg.svd(white_a @ (centred_a.T @ centred_b / len(i)) @ white_b)
    n = min(_CANONICAL, len(strength))
    return (
        (a - a[i].mean(0)) @ white_a @ u[:, :n] * strength[:n],
        (b - b[j].mean(0)) @ white_b @ vt[:n].T * strength[:n],
    )


def _whitening(x: NDArray[np.float64]) -> NDArray[np.float64]:
    covariance = np.atleast_2d(np.cov(x.T))
    covariance = covariance + 0.05 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    size, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = vectors / np.sqrt(np.maximum(size, 1e-12)) @ vectors.T
    return root


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = _unit(a) @ _unit(b).T
    return found


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
    return unit


def assigned(similar: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Assign rows to columns, each used once, maximising the total similarity."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - takes memory, and most mosaics need none of this

    i, j = linear_sum_assignment(similar, maximize=True)
    return i.astype(np.int64), j.astype(np.int64)


def twice_assigned(similar: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Assign all rows to columns used up to twice, and all columns to rows likewise; returns the union of both.

    With each used only once, cells of a type that is more frequent on one side would be matched to another type.
    """
    n_rows, n_columns = similar.shape
    of_row, to_column = assigned(np.tile(similar, (1, 2)))
    to_row, of_column = assigned(np.tile(similar, (2, 1)))
    rows, columns = np.concatenate([of_row, to_row % n_rows]), np.concatenate([to_column % n_columns, of_column])
    once = np.unique(np.stack([rows, columns], axis=1), axis=0)
    return once[:, 0], once[:, 1]


def surest(similar: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask of pairs to keep, `(n_pairs,)`: all but the least similar tenth."""
    sure: NDArray[np.bool_] = similar >= np.quantile(similar, 1 - _KEPT)
    return sure


def _correlations(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.atleast_2d(np.corrcoef(x.T))
    return found


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size: float = max(float((a @ a) * (b @ b)) ** 0.5, 1e-12)
    return float(a @ b) / size
