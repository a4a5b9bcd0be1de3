"""Choose the number of epochs and the batch size from the size of the data, and log them."""

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

# Measured on the data sets of benchmarks/RESULTS.md: quality plateaus at about this many steps.
_FEWEST_STEPS, _MOST_STEPS, _PASSES = 1200, 20_000, 60
_MAX_VALIDATION_CELLS = 2000
# With fewer cells, all are needed for training, and the validation loss is lowest before the batches have mixed.
_MIN_CELLS_TO_VALIDATE = 5_000
_VALIDATION_FRACTION = 0.1
# Above this many cells, garbage collection after reading is worthwhile.
_MANY_CELLS = 50_000


@dataclass(frozen=True)
class Plan:
    """Plan of a training run.

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
    """Split off validation cells, and choose settings that the configuration leaves open.

    Cells without any modality are excluded. At most half of each group of cells with the same batch and modalities is
    held out.
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
    """Default number of steps of a run from scratch, given the number of training cells."""
    return _steps(max(1, math.ceil(n_cells / batch_size)))


def _steps(per_epoch: int) -> int:
    return min(max(_FEWEST_STEPS, _PASSES * per_epoch), _MOST_STEPS)


def batch_size_for(n_cells: int) -> int:
    """Batch size by number of cells: 128 below 5,000, 256 below 50,000, then 512. Small data need more steps per epoch."""
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
