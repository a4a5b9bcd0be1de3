"""Every size, weight and choice of the model and of its training: frozen, validated, to and from TOML."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from midas.expect import expect

Activation = Literal["mish", "silu", "relu"]
Schedule = Literal["constant", "warmup_stable_decay"]
Sampling = Literal["mixed", "by_batch"]
Start = Literal["means", "random"]
Precision = Literal["auto", "32", "bf16"]
Depth = Literal["observed", "latent"]
Misleading = Literal["cells", "batches"]

_CELLS_TO_GROW_FROM = 3_000


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the networks (He et al. 2024, Methods).

    Attributes
    ----------
    dim_c, dim_u
        Dimensions of the biological state and of the technical noise.
    activation
        Non-linearity of every hidden layer; a hidden layer is Linear, LayerNorm, activation, dropout.
    dropout, discriminator_dropout
        Share of hidden units that are set to zero in a training step, in the model and in the discriminators.
    thinning
        Largest share of a cell's counts that a training step hides from the encoders; each cell's share is drawn between zero
        and this. The decoders still have to give the whole cell, so encoders learn not to lean on single counts.
    depth
        How deeply a cell was sequenced, for modalities that have a depth (:class:`midas.Modality`). ``observed``: taken from the
        cell's total, so that the encoders see a cell of mean depth and z need not say it. ``latent``: for z to say, as published.
    encoder
        Hidden sizes from a modality's input to z. The first layer is the modality's own, the rest is shared.
    decoder
        Hidden sizes from z to the outputs, shared by the modalities.
    block_encoder, block_decoder
        Sizes that a block of features (a chromosome) passes before the encoder and after the decoder.
    fewest_for_blocks
        A modality of fewer features than this is one block, as blocks of few features tell little each.
    fewest_for_depth
        A modality of fewer features than this has no depth, nor have the cells of a batch that measured fewer: the total over a
        small panel is ruled by a few of its features, so it tells what the cell is.
    batch_encoder, batch_decoder
        Hidden sizes of the networks from batch to z and from u to batch.
    discriminator
        Hidden sizes of the networks that guess the batch from c.
    """

    dim_c: int = 32
    dim_u: int = 2
    activation: Activation = "silu"
    dropout: float = 0.0
    discriminator_dropout: float = 0.0
    thinning: float = 0.6
    depth: Depth = "observed"
    encoder: tuple[int, ...] = (512, 128)
    decoder: tuple[int, ...] = (128, 512)
    block_encoder: tuple[int, ...] = (128, 32)
    block_decoder: tuple[int, ...] = (32, 128)
    fewest_for_blocks: int = 10_000
    fewest_for_depth: int = 150
    batch_encoder: tuple[int, ...] = (16, 16)
    batch_decoder: tuple[int, ...] = (16, 16)
    discriminator: tuple[int, ...] = (128, 64)

    def __post_init__(self) -> None:
        _check_types(self)
        expect(self, "dim_c", self.dim_c >= 1, "1 or more")
        expect(self, "dim_u", self.dim_u >= 1, "1 or more")
        expect(self, "fewest_for_blocks", self.fewest_for_blocks >= 0, "0 or more")
        expect(self, "fewest_for_depth", self.fewest_for_depth >= 0, "0 or more")
        for name in ("dropout", "discriminator_dropout", "thinning"):
            expect(self, name, 0 <= getattr(self, name) < 1, "a share from 0 up to, not including, 1")
        for name in ("encoder", "decoder", "block_encoder", "block_decoder"):
            expect(self, name, len(getattr(self, name)) >= 1, "at least one layer")
        for f in dataclasses.fields(self):
            sizes = getattr(self, f.name)
            if isinstance(sizes, tuple):
                expect(self, f.name, all(size >= 1 for size in sizes), "sizes of 1 or more")

    @property
    def dim_z(self) -> int:
        """Dimension of z = (c, u).

        Examples
        --------
        >>> midas.NetworkConfig(dim_c=8, dim_u=2).dim_z
        10
        """
        return self.dim_c + self.dim_u


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the objective's terms; a modality's own weight is in :class:`midas.Modality`.

    Attributes
    ----------
    batch_reconstruction
        Cross entropy of the batch, guessed from u (gamma).
    kl_c, kl_u
        Kullback-Leibler divergence of c and of u from the prior; the second is 1 + beta_x.
    alignment
        Squared distance of single-modality samples from their mean (alpha).
    adversarial
        Cross entropy of the discriminators, which the encoders raise (beta_s).
    adversarial_growth
        With more than 3,000 cells the weight of the discriminators grows with the square root of their number, at most by this
        factor; 1 for the same weight at any size. More cells tell batches apart by ever smaller differences.
    mislead
        ``batches``: a cell that the discriminators are sure of is pushed little, as it may be of a type that only its batch has,
        and a batch that they are sure of as a whole is pushed; see :meth:`midas.nn.Discriminators.confusion`. ``cells``: the
        cross entropy of each cell alone.
    batch_expert_dropout
        Share of training steps in which cells are encoded without their batch.
    kl_rise, adversarial_rise
        Shares of all steps over which the weights of both divergences, and of the discriminators, rise from zero: c is to hold
        what the cells are before it is made small and alike in all batches.
    adversarial_from
        Share of all steps after which the discriminators' weight begins to rise.
    counterparts
        Whether a cell's batch is only to be guessed among the batches that hold cells like it, so that types which not all
        batches have are left alone; see :mod:`midas.training.counterparts`. Found when the discriminators' weight begins to rise.
    """

    batch_reconstruction: float = 1000.0
    kl_c: float = 1.0
    kl_u: float = 20.0
    alignment: float = 50.0
    adversarial: float = 30.0
    adversarial_growth: float = 2.0
    mislead: Misleading = "batches"
    batch_expert_dropout: float = 0.1
    kl_rise: float = 0.3
    adversarial_rise: float = 0.15
    adversarial_from: float = 0.15
    counterparts: bool = True

    def __post_init__(self) -> None:
        _check_types(self)
        for f in dataclasses.fields(self):
            if f.name not in {"mislead", "counterparts"}:
                expect(self, f.name, getattr(self, f.name) >= 0, "0 or more")
        expect(self, "adversarial_growth", self.adversarial_growth >= 1, "1 or more")
        for name in ("batch_expert_dropout", "kl_rise", "adversarial_rise"):
            expect(self, name, getattr(self, name) <= 1, "a share from 0 to 1")
        most = 1 - self.adversarial_rise
        expect(self, "adversarial_from", self.adversarial_from <= most, "a share from 0 to 1 - adversarial_rise")

    def for_cells(self, n_cells: int) -> ObjectiveConfig:
        """Weights for so many training cells.

        Examples
        --------
        >>> midas.ObjectiveConfig(adversarial=30, adversarial_growth=2).for_cells(6_750).adversarial
        45.0
        """
        growth = min(max(1.0, math.sqrt(n_cells / _CELLS_TO_GROW_FROM)), self.adversarial_growth)
        return dataclasses.replace(self, adversarial=growth * self.adversarial)

    @property
    def risen_at(self) -> float:
        """Share of all steps from which on no weight changes any more.

        Examples
        --------
        >>> midas.ObjectiveConfig(kl_rise=0.2, adversarial_from=0.1, adversarial_rise=0.5).risen_at
        0.6
        """
        return max(self.kl_rise, self.adversarial_from + self.adversarial_rise)

    def at(self, progress: float) -> ObjectiveConfig:
        """Weights once this share of all steps has been done.

        Examples
        --------
        >>> midas.ObjectiveConfig(adversarial=30, adversarial_from=0.25, adversarial_rise=0.5).at(0.5).adversarial
        15.0
        """

        def risen(start: float, over: float) -> float:
            return 1.0 if progress >= start + over else max(0.0, (progress - start) / over)

        kl, adversarial = risen(0.0, self.kl_rise), risen(self.adversarial_from, self.adversarial_rise)
        return dataclasses.replace(
            self, kl_c=kl * self.kl_c, kl_u=kl * self.kl_u, adversarial=adversarial * self.adversarial
        )


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
    start
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
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
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
    start: Start = "means"
    bridge: bool = True
    sampling: Sampling = "mixed"
    max_cells_per_batch: int = 10_000
    validation_fraction: float | None = None
    patience: int | None = 20
    gradient_clip: float | None = None
    precision: Precision = "auto"
    accelerator: str = "auto"
    cuda_graphs: bool = True
    devices: int = 1
    num_nodes: int = 1

    def __post_init__(self) -> None:
        _check_types(self)
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
        expect(self, "max_cells_per_batch", self.max_cells_per_batch >= 1, "1 or more")
        expect(self, "warmup", 0 <= self.warmup <= 1, "a share from 0 to 1")
        expect(self, "decay", 0 <= self.decay <= 1 - self.warmup, "a share from 0 to 1 - warmup")
        held_out = self.validation_fraction
        expect(
            self, "validation_fraction", held_out is None or 0 <= held_out < 1, "a share from 0 up to, not including, 1"
        )
        expect(self, "gradient_clip", self.gradient_clip is None or self.gradient_clip > 0, "above 0, or none at all")


@dataclass(frozen=True)
class InferenceConfig:
    """How counts are decoded once the model is trained.

    Attributes
    ----------
    neighbours
        A cell that lacks a modality gets counts of it from the mean state of so many cells of the training data that measured
        it and are nearest to it in c, those of batches that measure alike before others. 0: from its own state alone.
    spread
        Whether drawn counts scatter as widely about what the model expects as measured counts do, where the likelihood (Poisson)
        leaves no room for that.
    """

    neighbours: int = 40
    spread: bool = True

    def __post_init__(self) -> None:
        _check_types(self)
        expect(self, "neighbours", self.neighbours >= 0, "0 or more")


@dataclass(frozen=True)
class Config:
    """All choices of a run.

    ``Config()`` is what measures best (see the benchmarks); ``Config.paper()`` is the published set-up.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)

    @classmethod
    def paper(cls) -> Config:
        """Build the set-up of the paper: sizes, weights, optimiser, and 2,000 passes over the largest batch.

        Examples
        --------
        >>> midas.Config.paper().objective.adversarial
        30.0
        """
        return cls(
            # Everything that has a part in the result is named, so that no change of a default reaches this preset.
            network=NetworkConfig(
                dim_c=32,
                dim_u=2,
                activation="mish",
                dropout=0.2,
                discriminator_dropout=0.2,
                thinning=0.0,
                depth="latent",
                encoder=(1024, 128),
                decoder=(128, 1024),
                block_encoder=(128, 32),
                block_decoder=(32, 128),
                fewest_for_blocks=0,
                fewest_for_depth=0,
                batch_encoder=(16, 16),
                batch_decoder=(16, 16),
                discriminator=(128, 64),
            ),
            objective=ObjectiveConfig(
                batch_reconstruction=1000.0,
                kl_c=1.0,
                kl_u=5.0,
                alignment=50.0,
                adversarial=30.0,
                adversarial_growth=1.0,
                mislead="cells",
                batch_expert_dropout=0.1,
                kl_rise=0.0,
                adversarial_rise=0.0,
                adversarial_from=0.0,
                counterparts=False,
            ),
            training=TrainingConfig(
                epochs=2000,
                batch_size=256,
                learning_rate=1e-4,
                discriminator_learning_rate=1e-4,
                weight_decay=0.01,
                discriminator_steps=3,
                discriminator_momentum=0.9,
                schedule="constant",
                start="random",
                bridge=False,
                sampling="by_batch",
                max_cells_per_batch=10_000,
                validation_fraction=0.0,
                patience=None,
                gradient_clip=None,
                precision="32",
            ),
            inference=InferenceConfig(neighbours=0, spread=False),
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Build from nested tables as :meth:`to_dict` writes them; ``preset = "paper"`` changes what is left out.

        Examples
        --------
        >>> midas.Config.from_dict({"training": {"epochs": 5}}).training.epochs
        5
        """
        presets: dict[str, Callable[[], Config]] = {"default": cls, "paper": cls.paper}
        name = values.get("preset", "default")
        if name not in presets:
            msg = f"Expected a preset out of {sorted(presets)}, found {name!r}."
            raise ValueError(msg)
        base = presets[name]()
        tables = {f.name for f in dataclasses.fields(cls)}
        _refuse_unknown("the configuration", set(values) - {"preset"}, tables)
        parts = {table: _override(table, getattr(base, table), values.get(table, {})) for table in tables}
        return cls(**parts)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested tables of plain values; None is written as "none", as TOML has no null.

        Examples
        --------
        >>> midas.Config().to_dict()["network"]["dim_c"]
        32
        """
        return {
            table: {
                key: "none" if value is None else list(value) if isinstance(value, tuple) else value
                for key, value in dataclasses.asdict(getattr(self, table)).items()
            }
            for table in (f.name for f in dataclasses.fields(self))
        }

    @classmethod
    def from_toml(cls, path: str | Path) -> Config:
        """Read a TOML file with the tables ``[network]``, ``[objective]``, ``[training]`` and ``[inference]``.

        Examples
        --------
        >>> midas.Config().to_toml("config.toml")
        >>> midas.Config.from_toml("config.toml") == midas.Config()
        True
        """
        text = Path(path).read_text(encoding="utf-8")
        try:
            return cls.from_dict(tomllib.loads(text))
        except (ValueError, TypeError) as error:
            msg = f"{path}: {error}"
            raise ValueError(msg) from error

    def to_toml(self, path: str | Path) -> None:
        """Write a TOML file that :meth:`from_toml` reads back to an equal configuration.

        Examples
        --------
        >>> midas.Config().to_toml("config.toml")
        """
        Path(path).write_text(tomli_w.dumps(self.to_dict()), encoding="utf-8")


def _check_types(owner: Any) -> None:  # noqa: ANN401 - any of the dataclasses above
    """Refuse values of another type, which a TOML file or a typing slip brings, before they surface deep in torch."""
    for name, hint in get_type_hints(type(owner)).items():
        value = getattr(owner, name)
        if get_origin(hint) is Literal:
            expect(owner, name, value in get_args(hint), f"one of {', '.join(get_args(hint))}")
        elif get_origin(hint) is tuple:
            expect(owner, name, isinstance(value, tuple) and all(type(v) is int for v in value), "whole numbers")
        else:
            allowed = tuple(get_args(hint)) or (hint,)
            whole_is_fine = float in allowed and type(value) is int
            expect(owner, name, type(value) in allowed or whole_is_fine, " or ".join(t.__name__ for t in allowed))


def _override(table: str, base: Any, values: Any) -> Any:  # noqa: ANN401 - any of the dataclasses above
    names = {f.name for f in dataclasses.fields(base)}
    if not isinstance(values, dict):
        msg = f"Expected [{table}] to be a table, found {values!r}."
        raise TypeError(msg)
    _refuse_unknown(f"[{table}]", set(values), names)
    return dataclasses.replace(
        base,
        **{
            key: None if value == "none" else tuple(value) if isinstance(value, list) else value
            for key, value in values.items()
        },
    )


def _refuse_unknown(place: str, found: set[str], known: set[str]) -> None:
    if found - known:
        msg = f"Unknown in {place}: {', '.join(sorted(found - known))}. Expected some of: {', '.join(sorted(known))}."
        raise ValueError(msg)
