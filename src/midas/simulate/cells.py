"""Cells: a tree of types, a continuous branch, batches, and the modalities of each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from midas.simulate.config import CELLS, HIDING, MODALITIES, WORLD, SimulationConfig, generator

FORK: Final = 0.4  # position on the branch at which the two mature ends separate


@dataclass(frozen=True)
class SimulatedCells:
    """All cells in order: `obs`, state (cells x latent), and for each modality which cells have it (cells,)."""

    obs: pd.DataFrame
    state: NDArray[np.float32]
    has: Mapping[str, NDArray[np.bool_]]
    starts: NDArray[np.int64]  # first cell of each batch, and the end


def rows_of(batches: list[int], cells: SimulatedCells) -> NDArray[np.bool_]:
    """Whether each cell is of one of the batches, `(n_cells,)`."""
    return np.isin(cells.obs["batch"].cat.codes.to_numpy(), batches)


def _tree(n_leaves: int, start: NDArray[np.float64], rng: np.random.Generator, step: float = 1.0) -> list[Any]:
    """Positions (latent,) of the leaves of a balanced tree; steps shrink by 0.7 from split to split."""
    if n_leaves == 1:
        return [start]
    left, right = (start + step * rng.standard_normal(start.size) for _ in range(2))
    half = n_leaves // 2
    return _tree(n_leaves - half, left, rng, 0.7 * step) + _tree(half, right, rng, 0.7 * step)


def type_centres(config: SimulationConfig, seed: int) -> NDArray[np.float64]:
    """Positions of the types (types x latent); the branch starts from the last leaf."""
    rng = generator(seed, WORLD)
    centres = _tree(config.n_types - 2 * config.branch, np.zeros(config.n_latent), rng)
    if config.branch:
        centres += [centres[-1] + rng.standard_normal(config.n_latent) for _ in range(2)]
    return np.stack(centres)


def make_cells(config: SimulationConfig, seed: int) -> SimulatedCells:
    """Draw every cell's batch, type, position on the branch, state and modalities."""
    centres, types, sizes = type_centres(config, seed), config.types, config.batch_sizes
    world = generator(seed, WORLD, 1)
    weight, order = world.normal(0, 0.5, len(types)), world.permutation(len(types))
    has = {m: np.zeros(config.n_cells, dtype=np.bool_) for m in MODALITIES}
    starts = np.concatenate([[0], np.cumsum(sizes)])
    kinds, positions, states = [], [], []
    for b, (size, pattern) in enumerate(zip(sizes, config.patterns, strict=True)):
        rng = generator(seed, CELLS, b)
        frequency = np.exp(weight + config.proportion_variation * rng.standard_normal(len(types)))
        missing = config.types_missing_per_batch
        frequency[order[(b * missing + np.arange(missing)) % len(types)]] = 0
        kind = rng.choice(len(types), size, p=frequency / frequency.sum())
        position, state = rng.random(size), centres[kind]
        if config.branch:
            position, state = _along_branch(kind - (len(types) - 3), position, state, centres[-3:])
        kinds.append(kind)
        positions.append(position if config.branch else np.full(size, np.nan))
        states.append(state + config.cell_noise * rng.standard_normal(state.shape))
        for m, present in _presence(pattern, int(size), config, generator(seed, HIDING, b)).items():
            has[m][starts[b] : starts[b + 1]] = present
    kind = np.concatenate(kinds)
    leaves = config.n_types - 2 * config.branch  # of the tree without the branch, which belongs to the last of them
    lineage = np.where((kind < leaves - leaves // 2) | (leaves == 1), "lineage1", "lineage2")
    width = max(6, len(str(config.n_cells)))
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical.from_codes(
                np.repeat(np.arange(len(sizes)), sizes).astype(np.int64), categories=pd.Index(config.batches)
            ),
            "cell_type": pd.Categorical.from_codes(kind.astype(np.int64), categories=pd.Index(types)),
            "lineage": pd.Categorical(lineage),
            "branch_position": np.concatenate(positions),
        },
        index=pd.Index([f"cell{i + 1:0{width}d}" for i in range(config.n_cells)]),
    )
    return SimulatedCells(obs, np.concatenate(states).astype(np.float32), has, starts)


def _along_branch(
    kind: NDArray[np.int64], uniform: NDArray[np.float64], state: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place cells of kind 0 (progenitor), 1 and 2 (mature) on the branch; others (below 0) stay, at position NaN."""
    fork = ends[0] + FORK * (ends[1:].mean(0) - ends[0])
    position = np.where(kind < 0, np.nan, np.where(kind == 0, FORK * uniform, FORK + (1 - FORK) * uniform))
    state = state.copy()
    for k, (origin, end) in enumerate(((ends[0], fork), (fork, ends[1]), (fork, ends[2]))):
        at = kind == k
        state[at] = origin + uniform[at, None] * (end - origin)
    return position, state


def _presence(
    pattern: frozenset[str], size: int, config: SimulationConfig, rng: np.random.Generator
) -> dict[str, NDArray[np.bool_]]:
    """Which cells of a batch have which of its modalities, each (size,)."""
    names = [m for m in MODALITIES if m in pattern]
    lost = np.full(size, -1)
    if len(names) > 1:
        unpaired = rng.random(size) < config.unpaired_fraction
        lost[unpaired] = rng.integers(len(names), size=int(unpaired.sum()))
    return {m: lost != k for k, m in enumerate(names)}
