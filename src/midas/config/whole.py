"""The complete configuration of a run: presets, to and from TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from midas.config.fields import overridden, read_toml, refuse_unknown
from midas.config.inference import InferenceConfig
from midas.config.network import NetworkConfig
from midas.config.objective import ObjectiveConfig
from midas.config.training import TrainingConfig


@dataclass(frozen=True)
class Config:
    """The complete configuration of a run.

    ``Config()`` performs best in the benchmarks; ``Config.paper()`` is the published set-up.
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
            # Every value that affects the result is explicit, so that changed defaults do not affect this preset.
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
                bottleneck=64,
                min_features_for_bottleneck=None,
                block_encoder=(128, 32),
                block_decoder=(32, 128),
                min_features_for_blocks=0,
                min_features_for_depth=0,
                min_features_for_geometric_mean=0,
                batch_encoder=(16, 16),
                batch_decoder=(16, 16),
                discriminator=(128, 64),
            ),
            objective=ObjectiveConfig(
                batch_reconstruction=1000.0,
                kl_c=1.0,
                kl_u=5.0,
                alignment=50.0,
                contrast=0.0,
                adversarial=30.0,
                adversarial_growth=1.0,
                adversarial_reward="cells",
                batch_expert_dropout=0.1,
                kl_warmup=0.0,
                adversarial_warmup=0.0,
                adversarial_start=0.0,
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
                init="random",
                bridge=False,
                sampling="by_batch",
                max_cells_per_batch=10_000,
                validation_fraction=0.0,
                patience=None,
                gradient_clip=None,
                precision="32",
            ),
            inference=InferenceConfig(n_neighbors=0, spread=False),
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Build from nested tables as :meth:`to_dict` writes them; ``preset = "paper"`` changes the defaults.

        Examples
        --------
        >>> midas.Config.from_dict({"training": {"epochs": 5}}).training.epochs
        5
        """
        presets: dict[str, Callable[[], Config]] = {"default": cls, "paper": cls.paper}
        name = values.get("preset", "default")
        if not isinstance(name, str) or name not in presets:
            msg = f"Expected a preset out of {sorted(presets)}, found {name!r}."
            raise ValueError(msg)
        base = presets[name]()
        tables = {f.name for f in dataclasses.fields(cls)}
        refuse_unknown("the configuration", set(values) - {"preset"}, tables)
        parts = {table: overridden(table, getattr(base, table), values.get(table, {})) for table in tables}
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
        try:
            return cls.from_dict(read_toml(path))
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
