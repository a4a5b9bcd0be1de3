"""The paper's ways of mapping and of telling unknown cells; tuning runs where it is, whatever the reference was trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mudata as md
import numpy as np
import pytest
import torch

from midas import MIDAS, keys, transfer
from midas.transfer import LabelConfig, Query, TransferConfig
from midas.transfer.tune import tuning_config


def test_the_papers_mapping_holds_nothing_in_place(fitted: MIDAS, query: md.MuData) -> None:
    options = replace(TransferConfig.paper(), step_fraction=0.01)
    mapped = transfer.reciprocal(fitted, Query(query, config=options, progress=False))
    before, after = fitted.vae.state_dict(), mapped.model.vae.state_dict()
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {"batch_encoder", "batch_decoder"}
    own = mapped.model.latent(query)
    np.testing.assert_allclose(mapped.query.obsm[keys.LATENT], own, rtol=1e-4, atol=1e-4)  # not shifted
    with pytest.raises(ValueError, match="unknown"):
        LabelConfig(unknown="novel")  # type: ignore[arg-type]


def test_settling_may_be_left_out(fitted: MIDAS, query: md.MuData) -> None:
    plain = transfer.encode(fitted, Query(query, config=TransferConfig(subtract_shift=False)))
    np.testing.assert_allclose(plain.query.obsm[keys.LATENT], fitted.latent(query), rtol=1e-4, atol=1e-5)
    shifted = transfer.encode(fitted, query)
    assert not np.allclose(shifted.query.obsm[keys.LATENT], plain.query.obsm[keys.LATENT], atol=1e-3)
    np.testing.assert_allclose(shifted.query.obs[keys.NOVELTY], plain.query.obs[keys.NOVELTY])


def test_unknown_cells_by_the_share_of_the_query(
    fitted: MIDAS, query: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = transfer.encode(fitted, query)
    share = np.where(np.arange(mapped.query.n_obs) < 30, 0.95, 0.1) + np.random.default_rng(0).normal(
        0, 0.01, mapped.query.n_obs
    )
    monkeypatch.setattr("midas.transfer.voting.share_of_query", lambda *_, **__: share)
    found = transfer.label_cells(mapped, "cell_type", config=LabelConfig(unknown="paper"))
    assert ((found.table["cell_type_transferred"] == "Unknown").to_numpy() == (share > 0.5)).all()
    np.testing.assert_array_equal(found.table["cell_type_unknown_score"], share)


def test_a_reference_of_several_processes_is_tuned_by_one(fitted: MIDAS) -> None:
    config = replace(fitted.config, training=replace(fitted.config.training, devices=4, num_nodes=2))
    found = tuning_config(config, 100, 200, TransferConfig()).training
    assert (found.devices, found.num_nodes) == (1, 1)


def test_a_reference_of_another_machine_is_tuned_on_this_one(saved: Path, query: md.MuData, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    card = json.loads((folder / "model.json").read_text())
    card["config"]["training"] |= {"accelerator": "mps", "devices": 4, "num_nodes": 2}
    (folder / "model.json").write_text(json.dumps(card))
    loaded = MIDAS.load(folder)
    training = loaded.config.training
    assert (training.accelerator, training.devices, training.num_nodes) == ("auto", 1, 1)
    mapped = transfer.query_to_reference(
        loaded, Query(query, config=TransferConfig(step_fraction=0.002), progress=False)
    )
    assert mapped.query.n_obs == query.n_obs
