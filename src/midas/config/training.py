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
    """How the model is fitted. None means: follow from the size of the data (what was chosen is logged).

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
        How much of its former direction a step of theirs keeps (beta1 of AdamW). None, unlike the usual 0.9, as what they learn
        changes under them.
    schedule
        ``warmup_stable_decay``: rise over the first `warmup` share of the steps, stay, fall to zero over the last `decay`
        share; early stopping begins the fall early instead of cutting it off. ``constant``: stay.
    warmup, decay
        Shares of all steps.
    init
        ``means``: decoders expect the mean of every feature before the first step; see :mod:`midas.training.start`. ``random``:
        whatever comes of random weights, as published.
    bridge
        Whether modalities that no measured cells tie (a diagonal mosaic) are tied by cells that are matched by the genes which
        their features stand for; see :mod:`midas.bridging`. Nothing changes for other mosaics.
    sampling
        ``mixed``: a minibatch is drawn from all cells. ``by_batch``: from one batch at a time, in turn; smaller batches
        are drawn again until each had as many steps as the largest.
    max_cells_per_batch
        Cap of an epoch's draws from a batch under ``by_batch``.
    validation_fraction
        Share of cells held out to watch the loss and to choose the best epoch (at most 2,000 cells). None: a tenth of 5,000 cells
        and more; fewer are all needed, and with few the loss is best before the batches have mixed.
    patience
        Epochs without a better validation loss before training winds down; None turns early stopping off.
    gradient_clip
        Largest norm of the gradient; None for no clipping.
    precision
        ``bf16`` runs matrix products in bfloat16, ``auto`` where the hardware multiplies it faster.
    accelerator
        ``auto`` (a GPU of NVIDIA or AMD if there is one), ``cpu``, ``cuda`` or ``mps``.
    cuda_graphs
        Whether steps on a GPU are recorded and replayed, where one process trains; see :mod:`midas.training.recorded`.
    devices, num_nodes
        Processes to train with on each machine, one for each device, and machines; they share the cells of each step.
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
