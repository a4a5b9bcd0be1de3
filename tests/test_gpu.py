"""What a GPU trains, reads and hands on is what a CPU would; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pytest

from helpers import on_gpu, query_of, simulated, tiny
from midas import MIDAS, transfer

pytestmark = on_gpu


@pytest.fixture(scope="module")
def model() -> MIDAS:
    return MIDAS(simulated(), config=tiny(accelerator="cuda")).fit(progress=False)


@pytest.fixture
def other_features() -> md.MuData:
    """A query that lacks some of the reference's features and has some of its own."""
    data = query_of()
    for adata in data.mod.values():
        adata.var_names = [f"new{name}" if i % 3 == 0 else name for i, name in enumerate(adata.var_names)]
    data.update()
    return data


class Stop:
    """A logger that interrupts the run at the end of an epoch."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if metrics["epoch"] == 3:
            raise KeyboardInterrupt


def test_all_verbs_say_what_they_say_on_a_cpu(model: MIDAS, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    there = MIDAS.load(tmp_path / "model", simulated())
    there.vae.to("cpu")
    np.testing.assert_allclose(model.latent(), there.latent(), rtol=1e-3, atol=1e-4)
    for name in model.modalities:
        for verb in ("impute", "correct"):
            here, expected = (getattr(m, verb)(name).X for m in (model, there))
            np.testing.assert_allclose(here, expected, rtol=1e-2, atol=1e-3)


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    config, file = tiny(accelerator="cuda", epochs=6, validation_fraction=0.2), tmp_path / "run.ckpt"
    stopped = MIDAS(simulated(), config=config).fit(progress=False, loggers=(Stop(),), checkpoint=file)
    assert stopped.interrupted
    went_on = MIDAS(simulated(), config=config).fit(progress=False, checkpoint=file, resume=True)
    assert len(went_on.history) == 6
    assert np.isfinite(went_on.latent()).all()


@pytest.mark.parametrize("mode", ["encode", "query_to_reference", "reference_to_query", "reciprocal"])
def test_a_query_with_features_of_its_own_is_mapped(mode: Any, model: MIDAS, other_features: md.MuData) -> None:
    quick = transfer.Query(
        other_features,
        config=transfer.TransferConfig(step_fraction=0.002, discriminator_warmup_steps=1),
        progress=False,
    )
    mapped = transfer.map_query(model, quick, mode=mode)
    assert np.isfinite(mapped.query.obsm["X_midas"]).all()
