"""Cells of two modalities matched by the genes that both speak of, then by all that the matched cells have in common.

Genes are trusted only as far as the two modalities agree on how they vary together, which is seen without any cell that has both.
The refinement follows MaxFuse (Chen et al., Nature Biotechnology 2023): matched cells give canonical directions, and these give a
better match.
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
# How far genes agree with each other tells a wrong link from right ones only where there are some; fewer count alike.
_ENOUGH_TO_WEIGH: Final = 10
_WEIGHINGS: Final = 5  # rounds in which genes are judged by the genes that were trusted before
_ROUNDS: Final = 3  # of matching again by what matched cells have in common
_CANONICAL: Final = 10  # directions, at most, that matched cells are taken to have in common
_GENES_STILL: Final = 0.5  # weight of the linked genes beside these directions, which could drift away from them
_KEPT: Final = 0.9  # of the pairs; measured, see benchmarks/RESULTS.md


@dataclass(frozen=True)
class Links:
    """How two modalities agree on the genes that both have.

    Attributes
    ----------
    genes
        Symbols, `(n_genes,)`.
    weight
        Trust in each, `(n_genes,)`.
    agreement
        Correlation of the two modalities' gene-by-gene correlations; 1 is best.
    p_value
        Of that agreement, genes permuted.
    """

    genes: NDArray[np.str_]
    weight: NDArray[np.float64]
    agreement: float
    p_value: float

    @property
    def trusted(self) -> bool:
        """Whether the agreement is more than chance."""
        return len(self.genes) >= FEWEST_GENES and self.p_value <= _TRUSTED


def compare(first: Profile, second: Profile, *, seed: int) -> Links:
    """Find the genes that both modalities have, and how far the two agree on them."""
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
    """Pair cells of both sides; the less certain pairs are left out.

    Returns
    -------
    Positions in the first and in the second profile, each `(n_pairs,)`; a cell may stand in several pairs.
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
    """How well each gene's correlations with the trusted ones agree between the modalities, squared; a wrong link gets none."""
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
    """Directions in which matched cells vary together, each by how much they do."""
    white_a, white_b = _whitening(a[i]), _whitening(b[j])
    mine, yours = a[i] - a[i].mean(0), b[j] - b[j].mean(0)
    u, strength, vt = np.linalg.svd(white_a @ (mine.T @ yours / len(i)) @ white_b)
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
    """Pair rows with columns, each used once, so that the sum over pairs is largest."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - takes memory, and most mosaics need none of this

    i, j = linear_sum_assignment(similar, maximize=True)
    return i.astype(np.int64), j.astype(np.int64)


def twice_assigned(similar: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair all rows with columns that may be used twice, and all columns with rows likewise; both kinds of pairs, each once.

    Used once, cells of a type that is more frequent on one side would have to be paired with those of another type.
    """
    n_rows, n_columns = similar.shape
    of_row, to_column = assigned(np.tile(similar, (1, 2)))
    to_row, of_column = assigned(np.tile(similar, (2, 1)))
    rows, columns = np.concatenate([of_row, to_row % n_rows]), np.concatenate([to_column % n_columns, of_column])
    once = np.unique(np.stack([rows, columns], axis=1), axis=0)
    return once[:, 0], once[:, 1]


def surest(similar: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pairs to keep, `(n_pairs,)`: all but the least similar tenth."""
    sure: NDArray[np.bool_] = similar >= np.quantile(similar, 1 - _KEPT)
    return sure


def _correlations(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.atleast_2d(np.corrcoef(x.T))
    return found


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size: float = max(float((a @ a) * (b @ b)) ** 0.5, 1e-12)
    return float(a @ b) / size
