"""How a model is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from midas.config.fields import ROUNDING, check_types
from midas.expect import expect

Schedule = Literal["constant", "warmup_stable_decay"]
Sampling = Literal["mixed", "by_batch"]
Initialisation = Literal["means", "random"]
Precision = Literal["auto", "32", "bf16"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class TrainingConfig:
    """How the model is fitted. None: chosen from the size of the data, and logged.

    Attributes
    ----------
    epochs
        Passes over the training cells, at most.
    batch_size
        Cells per step.
    learning_rate, discriminator_learning_rate
        Of AdamW, at the top of the schedule.
    weight_decay
        Of AdamW.
    discriminator_steps
        Steps of the discriminators for each step of the model.
    discriminator_momentum
        Momentum of the discriminators (beta1 of AdamW). 0 rather than the usual 0.9, as their target changes during
        training.
    schedule
        ``warmup_stable_decay``: linear warm-up over the first `warmup` fraction of the steps, then constant, then
        linear decay to zero over the last `decay` fraction; early stopping starts the decay early instead of skipping
        it. ``constant``: no change.
    warmup, decay
        Fractions of all steps.
    init
        ``means``: decoders are initialised to output the mean of every feature; see :mod:`midas.training.start`.
        ``random``: random weights, as published.
    bridge
        Whether modalities without shared cells (a diagonal mosaic) are linked by cells matched through the genes of
        their features; see :mod:`midas.bridging`. No effect on other mosaics.
    sampling
        ``mixed``: minibatches are drawn from all cells. ``by_batch``: from one batch at a time, in turn; smaller
        batches are repeated until each has as many steps as the largest.
    max_cells_per_batch
        Maximum number of cells drawn from a batch per epoch under ``by_batch``.
    validation_fraction
        Fraction of cells held out for validation and for choosing the best epoch (at most 2,000 cells). None: 0.1 from
        5,000 cells on, otherwise 0: small data need every cell for training, and there the validation loss is lowest
        before the batches have mixed.
    patience
        Epochs without a better validation loss before early stopping; None turns it off.
    gradient_clip
        Maximum norm of the gradient; None for no clipping.
    precision
        ``bf16`` runs matrix products in bfloat16, ``auto`` only where the hardware is faster with it.
    accelerator
        ``auto`` (an NVIDIA or AMD GPU if available), ``cpu``, ``cuda`` or ``mps``.
    cuda_graphs
        Whether training steps of a single process on a GPU run as CUDA graphs; see :mod:`midas.training.recorded`.
    devices, num_nodes
        Devices per machine, with one process each, and number of machines; the processes share the cells of each step.
    """

    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 2e-3
    discriminator_learning_rate: float = 4e-3
    weight_decay: float = 0.01
    discriminator_steps: int = 3
    discriminator_momentum: float = 0.0
    schedule: Schedule = "warmup_stable_decay"
    warmup: float = 0.05
    decay: float = 0.4
    init: Initialisation = "means"
    bridge: bool = True
    sampling: Sampling = "mixed"
    max_cells_per_batch: int = 10_000
    validation_fraction: float | None = None
    patience: int | None = 20
    gradient_clip: float | None = None
    precision: Precision = "auto"
    accelerator: Accelerator = "auto"
    cuda_graphs: bool = True
    devices: int = 1
    num_nodes: int = 1

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            expect(self, name, value is None or value >= 1, "1 or more, or none at all")
        for name in ("learning_rate", "discriminator_learning_rate"):
            expect(self, name, getattr(self, name) > 0, "a number above 0")
        expect(self, "weight_decay", self.weight_decay >= 0, "0 or more")
        expect(self, "discriminator_steps", self.discriminator_steps >= 1, "1 or more")
        expect(self, "discriminator_momentum", 0 <= self.discriminator_momentum < 1, "from 0 up to, not including, 1")
        expect(self, "devices", self.devices >= 1, "1 or more")
        expect(self, "num_nodes", self.num_nodes >= 1, "1 or more")
        n = self.devices * self.num_nodes
        enough = self.batch_size is None or self.batch_size >= n
        expect(self, "batch_size", enough, f"a cell or more for each of the {n} processes")
        expect(self, "max_cells_per_batch", self.max_cells_per_batch >= 1, "1 or more")
        expect(self, "warmup", 0 <= self.warmup <= 1, "a share from 0 to 1")
        expect(self, "decay", 0 <= self.decay <= 1 - self.warmup + ROUNDING, "a share from 0 to 1 - warmup")
        held_out = self.validation_fraction
        expect(
            self, "validation_fraction", held_out is None or 0 <= held_out < 1, "a share from 0 up to, not including, 1"
        )
        expect(self, "gradient_clip", self.gradient_clip is None or self.gradient_clip > 0, "above 0, or none at all")
