"""Distances between batches by their batch effects, to choose the batches that a missing modality is borrowed from.

The counts of a batch in a modality that it never measured are best predicted from batches with similar counts in the
shared modalities, such as the halves of one experiment. Since batches also differ in cell composition, each is compared
with cells of the same biological state in the others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.sparse as sp

from midas.data.rows import measured_counts
from midas.draw import at_most
from midas.neighbours import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic

_MOST_OF_BATCH: Final = 300  # cells sampled per batch: enough for a precise mean
_MOST: Final = 30_000  # and over all batches
_MOST_FEATURES: Final = 5_000  # features compared: many batches x all peaks would not fit in memory
_NEIGHBOURS: Final = 10  # nearest neighbours averaged for the counts of a batch in a state
# Weight, in pairs of batches, of the mean over all modalities in the scale of one modality: the mean of few pairs is
# unreliable, and with a single pair any difference would look average.
_PAIRS_FOR_A_SCALE: Final = 2.0
_LEAST_SCALE: Final = math.log(2)  # a difference up to twice that by chance is small


def batch_distances(mosaic: Mosaic, c: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
    """Compute distances between batches from the counts of cells in the same state.

    Parameters
    ----------
    mosaic
        Cells and their counts.
    c
        Biological states of the cells, `(n_cells, dim_c)`; NaN rows for cells without a state.
    seed
        Random seed for subsampling cells and features.

    Returns
    -------
    `(n_batches, n_batches)`, in the order of the mosaic's batches: log ratio of the difference between two batches to
    that expected by chance, divided by approximately its mean over all pairs (at least log 2), averaged over shared
    modalities. 0 on the diagonal and for batches without a batch effect; NaN where two share no modality, or one has no
    cells.
    """
    n = len(mosaic.batches)
    order = mosaic.canonical_order()
    order = order[np.isfinite(c[order]).all(1)]
    rng = np.random.default_rng([seed, 13])
    most = max(1, min(_MOST_OF_BATCH, _MOST // max(1, n)))
    effects: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for name, rows in mosaic.modalities.items():
        there = order[rows.present[order]]
        members = {int(code): there[mosaic.batch[there] == code] for code in np.unique(mosaic.batch[there])}
        members = {code: cells[at_most(len(cells), most, rng)] for code, cells in members.items()}
        if len(members) < 2:
            continue
        codes = np.array(list(members))
        features = at_most(rows.measured.shape[1], _MOST_FEATURES, rng)
        effects.append((codes, _effects(mosaic, name, c, members, features)))
    return _on_one_scale(effects, n)


def _on_one_scale(effects: list[tuple[NDArray[np.int64], NDArray[np.float64]]], n: int) -> NDArray[np.float32]:
    """Average the effects over modalities, each scaled by its mean, for all `n` batches.

    Parameters
    ----------
    effects
        For each modality, the batches that have it, and their effects.
    """
    of_pairs = [effect[np.triu_indices(len(codes), 1)] for codes, effect in effects]
    of_pairs = [pairs[np.isfinite(pairs)] for pairs in of_pairs]
    every = np.concatenate([np.empty(0), *of_pairs])
    usual = every.mean() if len(every) else _LEAST_SCALE
    total, shared = np.zeros((n, n)), np.zeros((n, n))
    for (codes, effect), pairs in zip(effects, of_pairs, strict=True):
        mean = (pairs.sum() + _PAIRS_FOR_A_SCALE * usual) / (len(pairs) + _PAIRS_FOR_A_SCALE)
        at = np.ix_(codes, codes)
        total[at] += np.nan_to_num(effect / max(mean, _LEAST_SCALE))
        shared[at] += np.isfinite(effect)
    with np.errstate(invalid="ignore"):
        distances: NDArray[np.float32] = (total / np.where(shared > 0, shared, np.nan)).astype(np.float32)
    np.fill_diagonal(distances, 0)
    return distances


def _effects(
    mosaic: Mosaic,
    modality: str,
    c: NDArray[np.float32],
    members: dict[int, NDArray[np.int64]],
    features: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Difference between each two batches relative to chance, over those of `features` that both measured.

    Returns
    -------
    `(n, n)` log ratios, 0 where batches differ no more than by chance; NaN where they have no feature in common.
    """
    measured = mosaic.modalities[modality].measured[list(members)][:, features].astype(np.float64)
    cells = np.concatenate(list(members.values()))
    batch_of = np.repeat(np.arange(len(members)), [len(some) for some in members.values()])
    own, expected, error = np.zeros((3, *measured.shape))
    for row, some in enumerate(members.values()):
        x = _on_encoder_scale(mosaic, modality, some)[:, features]
        own[row] = np.asarray(x.mean(0)).ravel()
        error[row] = (np.asarray(x.multiply(x).mean(0)).ravel() - np.square(own[row])) / len(some)
        near = Index(c[some]).find(c[cells], _NEIGHBOURS)[1]
        # Counts of this batch in the states of each batch's cells: mean over nearest neighbours, as weights of this
        # batch's cells.
        weights = sp.csr_matrix(
            (np.full(near.size, 1 / near.shape[1]), (np.repeat(batch_of, near.shape[1]), near.ravel())),
            shape=(len(members), len(some)),
        )
        expected += np.asarray((weights @ x).todense()) * measured[row]
    sizes = np.bincount(batch_of).astype(np.float64)[:, None]
    effect = (own - expected / sizes / np.maximum(measured.sum(0), 1)) * measured
    squared = np.square(effect)
    sums = squared @ measured.T + measured @ squared.T - 2 * effect @ effect.T
    # Squared standard error of the difference of two means: its expectation by chance.
    chance = (error * measured) @ measured.T
    chance += chance.T
    both = measured @ measured.T > 0
    ratio = np.maximum(sums, 0) / np.where(chance > 0, chance, 1.0)
    effects: NDArray[np.float64] = np.where(both, np.log1p(np.maximum(ratio - 1, 0)), np.nan)
    return effects


def _on_encoder_scale(mosaic: Mosaic, modality: str, cells: NDArray[np.int64]) -> sp.csr_matrix:
    x = measured_counts(mosaic, modality, cells)
    x.data = mosaic.schema.modalities[modality].modality.encoded(x.data)
    return x
