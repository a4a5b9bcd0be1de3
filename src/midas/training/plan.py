"""How long to train and in what portions: chosen from the data's size, and said."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.data.loader import steps_per_epoch
from midas.memory import release_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.config import TrainingConfig
    from midas.data.mosaic import Mosaic

logger = logging.getLogger(__name__)

# Measured on the sets of benchmarks/RESULTS.md: quality has levelled off at about this many steps.
_FEWEST_STEPS, _MOST_STEPS, _PASSES = 1200, 20_000, 60
_MAX_VALIDATION_CELLS = 2000
# With fewer cells than this, each is needed for training, and the best validation loss comes before the batches have mixed.
_MIN_CELLS_TO_VALIDATE = 5_000
_VALIDATION_FRACTION = 0.1
# Above this many cells, garbage collection after reading pays.
_MANY_CELLS = 50_000


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes
    ----------
    train, validation
        Cells, in canonical order.
    batch_size
        Cells per step.
    epochs
        Passes, at most.
    steps_per_epoch
        Steps in each.
    order
        All cells, in canonical order.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    batch_size: int
    epochs: int
    steps_per_epoch: int
    order: NDArray[np.int64]

    @property
    def total_steps(self) -> int:
        """Steps of a full run."""
        return self.epochs * self.steps_per_epoch


def plan_training(mosaic: Mosaic, training: TrainingConfig, seed: int) -> Plan:
    """Hold out cells, and choose what the configuration leaves open.

    Cells without any modality are not trained on. At most half of each batch-and-combination group is held out.
    """
    order = mosaic.canonical_order()
    usable = order[mosaic.measured_in(tuple(mosaic.modalities))[order]]
    rng = np.random.default_rng([seed, 1])
    validation = _hold_out(mosaic, usable, training.validation_fraction, rng)
    train = usable[~np.isin(usable, validation)]
    batch_size = training.batch_size or batch_size_for(len(train))
    sizes = np.bincount(mosaic.model_batch[train] + 1)  # -1 for cells of no batch of the model
    per_epoch = steps_per_epoch(sizes, batch_size, training)
    epochs = training.epochs
    if epochs is None:
        epochs = max(1, math.ceil(_steps(per_epoch) / per_epoch))
    plan = Plan(train, validation, batch_size, epochs, per_epoch, order)
    release_memory(cycles=mosaic.n_cells > _MANY_CELLS)
    logger.info(
        "Training on %s cells, %s held out: at most %s epochs of %s steps, %s cells a step.",
        f"{len(train):,}",
        f"{len(validation):,}",
        f"{epochs:,}",
        f"{per_epoch:,}",
        f"{batch_size:,}",
    )
    return plan


def full_steps(n_cells: int, batch_size: int) -> int:
    """Steps of a run from scratch on so many training cells, where the configuration leaves it open."""
    return _steps(max(1, math.ceil(n_cells / batch_size)))


def _steps(per_epoch: int) -> int:
    return min(max(_FEWEST_STEPS, _PASSES * per_epoch), _MOST_STEPS)


def batch_size_for(n_cells: int) -> int:
    """128 up to 5,000 cells, 256 up to 50,000, then 512: small data need many steps, large data few passes."""
    return 128 if n_cells < 5_000 else 256 if n_cells < 50_000 else 512


def _hold_out(
    mosaic: Mosaic, order: NDArray[np.int64], fraction: float | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    if fraction is None:
        fraction = _VALIDATION_FRACTION if len(order) >= _MIN_CELLS_TO_VALIDATE else 0.0
    if fraction == 0:
        return np.empty(0, dtype=np.int64)
    fraction = min(fraction, _MAX_VALIDATION_CELLS / len(order))
    kind, _ = pd.factorize(mosaic.combinations().to_numpy()[order])
    group = kind * len(mosaic.batches) + mosaic.batch[order]
    held = []
    for name in np.unique(group):
        members = order[group == name]
        held.append(rng.permutation(members)[: min(round(fraction * len(members)), len(members) // 2)])
    return np.concatenate(held)
