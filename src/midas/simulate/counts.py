"""Counts, drawn in blocks of rows and kept sparse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from midas.simulate.cells import SimulatedCells
from midas.simulate.config import COUNTS, EFFECT, MODALITIES, SimulationConfig, generator
from midas.simulate.features import Features

BLOCK_ENTRIES: Final = 8_000_000  # dense entries of a block of rows, 32 MB in float32


def draw_counts(
    features: Features, cells: SimulatedCells, batches: Iterable[int], config: SimulationConfig, seed: int
) -> sp.csr_matrix:
    """Draw the counts of all cells of `batches` (cells x features)."""
    m, n_features = MODALITIES.index(features.name), len(features.base)
    rows = max(1, BLOCK_ENTRIES // n_features)
    blocks = []
    for b in batches:
        effect = generator(seed, EFFECT, m, b)
        depth_of_batch = features.depth * np.exp(config.depth_shift * effect.standard_normal())
        level = features.base + (config.batch_strength * effect.standard_normal(n_features)).astype(np.float32)
        state = cells.state[cells.starts[b] : cells.starts[b + 1]]
        # A separate stream for each kind of number, so that results do not depend on the block size.
        library, *streams = (generator(seed, COUNTS, m, b, k) for k in range(4))
        depth = depth_of_batch * np.exp(config.library_spread * library.standard_normal((len(state), 1)))
        for i in range(0, len(state), rows):
            block = slice(i, i + rows)
            rate = _rates(features, state[block], level, depth[block].astype(np.float32), streams[0])
            blocks.append(draw_poisson(rate, streams[1], streams[2], binary=features.binary))
    return sp.csr_matrix(sp.vstack(blocks, format="csr"))


def _rates(
    features: Features,
    state: NDArray[np.float32],
    level: NDArray[np.float32],
    depth: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Compute expected counts (cells x features); state (cells x latent), level (features,), depth (cells x 1)."""
    rate = state @ features.loadings.T
    rate += level
    if features.noise is not None:
        rate += features.noise * rng.standard_normal(rate.shape, dtype=np.float32)
    rate -= rate.max(axis=1, keepdims=True)
    np.exp(rate, out=rate)
    rate *= (1 - features.background) * depth / rate.sum(axis=1, keepdims=True)
    if features.background > 0:
        ambient = np.exp(level - level.max())
        rate += features.background * depth * (ambient / ambient.sum())
    return rate


def draw_poisson(
    rate: NDArray[np.float32], first: np.random.Generator, rest: np.random.Generator, *, binary: bool
) -> sp.csr_matrix:
    """Poisson counts of `rate` (cells x features), or whether they are non-zero; exact, and fast if most are zero.

    A Poisson count is the number of arrivals before time `rate`. The first arrival, at an exponential time, separates zero from
    non-zero; arrivals in the remaining time are drawn for the non-zero entries only.
    """
    arrival = first.random(rate.shape, dtype=np.float32)
    np.negative(arrival, out=arrival)
    np.log1p(arrival, out=arrival)
    arrival += rate  # remaining time after the first arrival
    hit = arrival > 0
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(hit, axis=1))])
    flat = np.flatnonzero(hit)
    indices = (flat % rate.shape[1]).astype(np.int32)
    data = np.ones(flat.size, dtype=np.float32)
    if not binary:
        data += rest.poisson(arrival.ravel()[flat])
    return sp.csr_matrix((data, indices, indptr.astype(np.int32)), shape=rate.shape)
