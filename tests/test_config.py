"""Configurations: refused before they surface deep in torch, and the same after a round trip through TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from midas import Config, NetworkConfig, ObjectiveConfig, TrainingConfig
from midas.transfer import read_settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": {"dim_c": 0}}, "NetworkConfig.dim_c: expected 1 or more, found 0"),
        ({"network": {"dim_u": 2.5}}, r"NetworkConfig.dim_u: expected int, found 2\.5"),
        ({"network": {"dropout": 1.0}}, "NetworkConfig.dropout: expected a share from 0 up to, not including, 1"),
        ({"network": {"encoder": []}}, "NetworkConfig.encoder: expected at least one layer"),
        ({"network": {"encoder": [16, 0]}}, "NetworkConfig.encoder: expected sizes of 1 or more"),
        ({"network": {"decoder": "512"}}, "NetworkConfig.decoder: expected whole numbers, found '512'"),
        (
            {"network": {"activation": "gelu"}},
            "NetworkConfig.activation: expected one of 'mish', 'silu', 'relu', found 'gelu'",
        ),
        ({"objective": {"kl_c": -1.0}}, r"ObjectiveConfig.kl_c: expected 0 or more, found -1\.0"),
        ({"objective": {"kl_c": float("nan")}}, "ObjectiveConfig.kl_c: expected a finite number, found nan"),
        ({"objective": {"batch_expert_dropout": 2.0}}, "ObjectiveConfig.batch_expert_dropout: expected a share"),
        ({"training": {"epochs": 0}}, "TrainingConfig.epochs: expected 1 or more, or none at all, found 0"),
        ({"training": {"epochs": True}}, "TrainingConfig.epochs: expected int"),
        ({"training": {"batch_size": "64"}}, "TrainingConfig.batch_size: expected int"),
        ({"training": {"learning_rate": 0.0}}, "TrainingConfig.learning_rate: expected a number above 0"),
        ({"training": {"decay": 0.99}}, "TrainingConfig.decay: expected a share from 0 to 1 - warmup"),
        ({"training": {"validation_fraction": 1.0}}, "TrainingConfig.validation_fraction: expected a share"),
        ({"training": {"gradient_clip": 0.0}}, "TrainingConfig.gradient_clip: expected above 0"),
        (
            {"training": {"precision": "16"}},
            "TrainingConfig.precision: expected one of 'auto', '32', 'bf16', found '16'",
        ),
        ({"training": {"precision": 32}}, "TrainingConfig.precision: expected one of 'auto', '32', 'bf16', found 32"),
        (
            {"training": {"accelerator": "gpu"}},
            "TrainingConfig.accelerator: expected one of 'auto', 'cpu', 'cuda', 'mps'",
        ),
        ({"training": {"learning_rate": float("inf")}}, "TrainingConfig.learning_rate: expected a finite number"),
        (
            {"training": {"devices": 4, "batch_size": 3}},
            "batch_size: expected a cell or more for each of the 4 processes",
        ),
        ({"preset": ["paper"]}, r"Expected a preset out of .*, found \['paper'\]"),
        ({"training": {"sampling": "all"}}, "TrainingConfig.sampling: expected one of 'mixed', 'by_batch'"),
        ({"training": {"discriminator_steps": 0}}, "TrainingConfig.discriminator_steps: expected 1 or more"),
        ({"training": {"lr": 1}}, r"Unknown in \[training\]: lr\. Expected some of: .*learning_rate"),
        (
            {"trainin": {}},
            r"Unknown in the configuration: trainin\. Expected some of: inference, network, objective, training",
        ),
        ({"preset": "pape"}, r"Expected a preset out of \['default', 'paper'\], found 'pape'"),
        ({"training": 5}, r"Expected \[training\] to be a table, found 5"),
    ],
)
def test_mistakes_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Config.from_dict(values)


CONFIGS = [
    Config(),
    Config.paper(),
    Config(
        NetworkConfig(dim_c=7, encoder=(5,), batch_encoder=()),
        ObjectiveConfig(alignment=0.0),
        TrainingConfig(epochs=3, patience=None, gradient_clip=1.5, precision="bf16"),
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_round_trip_through_toml_changes_nothing(config: Config, tmp_path: Path) -> None:
    config.to_toml(tmp_path / "config.toml")
    assert Config.from_toml(tmp_path / "config.toml") == config
    assert Config.from_dict(config.to_dict()) == config


def test_what_a_file_leaves_out_comes_from_its_preset(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('preset = "paper"\n[training]\nepochs = 10\npatience = 3\n[network]\ndim_c = 8\n')
    paper, found = Config.paper(), Config.from_toml(file)
    assert (found.training.epochs, found.training.patience, found.network.dim_c) == (10, 3, 8)
    assert found.network.encoder == paper.network.encoder
    assert found.training.learning_rate == paper.training.learning_rate
    assert found.objective == paper.objective


@pytest.mark.parametrize("text", ["[network\n", "[network]\ndim_c = 0\n", "network = 1\n"])
def test_an_error_in_a_file_names_the_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.toml: "):
        Config.from_toml(file)


def test_the_paper_preset_is_the_published_set_up() -> None:
    config = Config.paper()
    assert config.network == NetworkConfig(
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
    )
    assert config.network.dim_z == 34
    assert config.objective == ObjectiveConfig(
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
    )
    training = config.training
    assert training.learning_rate == training.discriminator_learning_rate == 1e-4
    assert (training.batch_size, training.epochs, training.discriminator_steps) == (256, 2000, 3)
    assert (training.sampling, training.max_cells_per_batch, training.schedule) == ("by_batch", 10_000, "constant")
    assert (training.validation_fraction, training.patience, training.precision) == (0.0, None, "32")


def test_shares_may_add_up_to_one() -> None:
    assert TrainingConfig(warmup=0.9, decay=0.1).decay == 0.1
    assert ObjectiveConfig(adversarial_warmup=0.9, adversarial_start=0.1).adversarial_start == 0.1
    with pytest.raises(ValueError, match="share from 0 to 1 - warmup"):
        TrainingConfig(warmup=0.9, decay=0.11)


def test_weights_may_step_up() -> None:
    objective = ObjectiveConfig(kl_warmup=0.0, adversarial=30.0, adversarial_start=0.15, adversarial_warmup=0.0)
    assert [objective.warmup_factors(progress) for progress in (0.0, 0.1, 0.15, 1.0)] == [
        (1, 0),
        (1, 0),
        (1, 1),
        (1, 1),
    ]


def test_types_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ObjectiveConfig()
    monkeypatch.setattr("midas.config.fields.get_type_hints", pytest.fail)
    assert ObjectiveConfig(kl_u=3.0).kl_u == 3.0


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nope.toml: expected a TOML file, found none\."):
        Config.from_toml(tmp_path / "nope.toml")
    with pytest.raises(FileNotFoundError, match="found a folder"):
        read_settings(tmp_path)
