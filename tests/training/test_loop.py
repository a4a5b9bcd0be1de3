"""Whole runs: the loss falls, the best epoch stays, early stopping winds down, interruptions leave a usable model."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import mudata as md
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from helpers import simulated, tiny
from midas import MIDAS, Config, NotFiniteError
from midas.training import fit, loop
from midas.training.loop import RunOptions
from midas.training.means import Means

# Weights as they are from the first step on.
RISEN = {"kl_warmup": 0.0, "adversarial_warmup": 0.0, "adversarial_start": 0.0}
WATCHED = {"epochs": 8, "batch_size": 128, "validation_fraction": 0.2, "patience": 1, "objective": RISEN}


class Sink:
    """A logger that keeps what it is given, and may do something at an epoch."""

    def __init__(self, at: Mapping[int, Callable[[], object]] | None = None) -> None:
        self.records: list[dict[str, float]] = []
        self.steps: list[int | None] = []
        self.status: str | None = None
        self._at = at or {}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.records.append(dict(metrics))
        self.steps.append(step)
        self._at.get(len(self.records) - 1, lambda: None)()

    def finalize(self, status: str) -> None:
        self.status = status


def run(model: MIDAS, *sinks: Sink) -> list[dict[str, float]]:
    assert model.mosaic is not None
    run_options = RunOptions(progress=False, loggers=sinks)
    return fit(model.vae, model.discriminators, model.mosaic, model.config, model.seed, run_options).history


def raising(error: BaseException) -> Callable[[], None]:
    def now() -> None:
        raise error

    return now


@pytest.fixture(scope="module")
def many() -> md.MuData:
    """Enough cells to hold some out."""
    return simulated(n_cells=520)


@pytest.mark.parametrize(("sampling", "schedule"), [("mixed", "warmup_stable_decay"), ("by_batch", "constant")])
def test_the_loss_falls(sampling: str, schedule: str, mdata: md.MuData) -> None:
    model = MIDAS(mdata, config=tiny(epochs=16, batch_size=24, sampling=sampling, schedule=schedule, objective=RISEN))
    history = run(model, sink := Sink())
    terms = ["total", "reconstruction_rna", "reconstruction_adt", "reconstruction_atac"]
    for term in [*terms, "batch_reconstruction"] if sampling == "mixed" else terms:
        first, last = (np.mean([record[term] for record in part]) for part in (history[:3], history[-3:]))
        # Batches are of one world, so there is little to tell them apart by.
        assert last < first - (0.02 if term == "batch_reconstruction" else 0.05) * abs(first), term
    per_epoch = 5 if sampling == "mixed" else 3 * 2  # 120 cells; three batches of 40
    assert sink.steps == [per_epoch * (i + 1) for i in range(16)]
    rates = [record["learning_rate"] for record in history]
    if schedule == "constant":
        assert set(rates) == {1e-3}
    else:
        assert rates[-1] < rates[0] <= max(rates) == 1e-3


def test_the_terms_of_an_epoch_are_kept_and_logged(mdata: md.MuData) -> None:
    sink = Sink()
    model = MIDAS(mdata, config=tiny(epochs=3)).fit(progress=False, loggers=[sink])
    history = model.history
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["seconds"].is_monotonic_increasing
    terms = {"reconstruction_rna", "reconstruction_adt", "reconstruction_atac", "batch_reconstruction"}
    terms |= {"kl_c", "kl_u", "alignment", "contrast", "depth", "total", "discriminator"}
    assert set(history.columns) == terms | {"epoch", "seconds", "learning_rate"}
    assert sink.records == history.to_dict("records")
    assert sink.status == "success"


def test_a_lightning_logger_writes_its_file(mdata: md.MuData, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="run", version=0)
    model = MIDAS(mdata, config=tiny(epochs=3)).fit(progress=False, loggers=[logger])
    with (tmp_path / "run" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["total"]) for row in rows] == pytest.approx(model.history["total"].tolist())
    assert [int(row["step"]) for row in rows] == [3, 6, 9]


def test_means_are_over_the_steps_that_had_the_term() -> None:
    """Hidden batches and resting discriminators do not count; what a modality costs counts in all steps."""
    means, weight = Means(), 10.0
    for batch, rna, adt, guess in [
        (2.0, 5.0, None, None),
        (None, 7.0, 3.0, None),
        (4.0, 6.0, 9.0, 0.5),
        (None, 2.0, None, 1.5),
    ]:
        total = weight * (batch or 0.0) + (rna or 0.0) + (adt or 0.0)
        terms = {"reconstruction_rna": rna, "reconstruction_adt": adt, "discriminator": guess, "total": total}
        step = {name: torch.tensor(value) for name, value in terms.items() if value is not None}
        # A step that hides the batch says 0.
        means.add({**step, "batch_reconstruction": torch.tensor(batch or 0.0)}, with_batch=batch is not None)
    found = means.terms(weight)
    assert found == {
        "reconstruction_rna": 5.0,
        "reconstruction_adt": 3.0,
        "discriminator": 1.0,
        "batch_reconstruction": 3.0,
        "total": weight * 3.0 + 5.0 + 3.0,
    }


def test_hiding_the_batch_in_some_steps_does_not_change_what_the_history_says_of_the_others(mdata: md.MuData) -> None:
    still = {"learning_rate": 1e-9, "discriminator_learning_rate": 1e-9, "batch_size": 12}
    records = [last(mdata, tiny(**still, objective={**RISEN, "batch_expert_dropout": p})) for p in (0.0, 0.5)]
    for term in ("batch_reconstruction", "total"):
        assert records[1][term] == pytest.approx(records[0][term], rel=0.1), term


# --- validation -------------------------------------------------------------------------------------------------------


def spoil(model: MIDAS) -> Callable[[], None]:
    """Make every later epoch worse."""

    def now() -> None:
        with torch.no_grad():
            for output in model.vae.decoder.outputs.values():
                for name, parameter in output.named_parameters():
                    if name.endswith("bias"):
                        parameter.add_(8.0)

    return now


def test_the_weights_of_the_best_epoch_stay(many: md.MuData) -> None:
    model = MIDAS(many, config=tiny(**{**WATCHED, "epochs": 5, "patience": None}))
    snapshots: list[dict[str, torch.Tensor]] = []

    def keep() -> None:
        snapshots.append({name: value.clone() for name, value in model.vae.state_dict().items()})

    history = run(model, Sink(dict.fromkeys(range(5), keep)), Sink({1: spoil(model)}))
    losses = [record["val_total"] for record in history]
    best = int(np.argmin(losses))
    assert best == 1
    for name, value in model.vae.state_dict().items():
        assert torch.equal(value, snapshots[best][name]), name
    assert not torch.equal(
        snapshots[best]["decoder.outputs.rna.linear.bias"], snapshots[-1]["decoder.outputs.rna.linear.bias"]
    )


def test_held_out_cells_are_scored_and_not_trained_on(many: md.MuData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    original = loop.train_step

    def watched(learner: object, minibatch: object, *rest: object, **options: object) -> object:
        seen.update(minibatch.index.tolist())  # type: ignore[attr-defined]
        return original(learner, minibatch, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_step", watched)
    model = MIDAS(many, config=tiny(**{**WATCHED, "epochs": 2}))
    history = run(model)
    assert {f"val_{name}" for name in ("total", "reconstruction_rna", "kl_c")} <= set(history[0])
    assert len(seen) == pytest.approx(0.8 * 520, abs=12)


def test_discriminators_weigh_more_where_there_are_many_cells(
    mdata: md.MuData, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="midas")
    monkeypatch.setattr("midas.config.objective._CELLS_TO_GROW_FROM", 60)
    MIDAS(mdata, config=tiny(epochs=1)).fit(progress=False)
    assert f"Discriminators are weighted {30 * (120 / 60) ** 0.5:.0f}." in caplog.text


def test_early_stopping_begins_the_fall_of_the_learning_rate(many: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="midas")
    model = MIDAS(many, config=tiny(**{**WATCHED, "epochs": 60}))
    history = run(model, Sink({7: spoil(model)}))
    assert 9 < len(history) < 20
    rates = [record["learning_rate"] for record in history]
    assert rates[8] == 1e-3
    assert all(a > b for a, b in zip(rates[8:-1], rates[9:], strict=True))
    assert rates[-1] < 0.3e-3
    assert "No better validation loss for 1 epochs: winding down." in caplog.text


def test_the_best_epoch_is_looked_for_once_all_weights_have_risen(many: md.MuData) -> None:
    rising = {"kl_warmup": 0.1, "adversarial_warmup": 0.1, "adversarial_start": 0.4}
    model = MIDAS(many, config=tiny(**{**WATCHED, "epochs": 10, "objective": rising}))
    assert model.mosaic is not None
    run = loop._Run(
        loop.learner_for(model.vae, model.discriminators, model.mosaic, model.config),
        model.mosaic,
        loop.plan_training(model.mosaic, model.config.training, 0),
        0,
        RunOptions(progress=False),
        {},
    )
    run.step = 0
    for epoch, step in enumerate([10, 15, 20]):  # of 40
        run.step = step
        assert "val_total" in run._validate(epoch)
    assert run.early_stopping.best_epoch == 2


def test_at_a_constant_rate_early_stopping_stops(many: md.MuData) -> None:
    model = MIDAS(many, config=tiny(**{**WATCHED, "epochs": 60, "schedule": "constant"}))
    assert len(run(model, Sink({4: spoil(model)}))) == 6


# --- interruptions and errors -----------------------------------------------------------------------------------------


def test_ctrl_c_leaves_a_usable_model(mdata: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink({1: raising(KeyboardInterrupt())})
    model = MIDAS(mdata, config=tiny(epochs=50)).fit(progress=False, loggers=[sink])
    assert len(model.history) == 2
    assert np.isfinite(model.latent()).all()
    assert model.correct("rna").shape == (120, 30)
    assert "Interrupted after 2 epochs; the model keeps the last weights" in caplog.text
    assert sink.status == "interrupted"


def test_ctrl_c_within_the_first_epoch_does_too(mdata: md.MuData, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train_step", interrupted)
    model = MIDAS(mdata, config=tiny()).fit(progress=False)
    assert model.history.empty
    assert np.isfinite(model.latent()).all()
    assert "fitted in 0 epochs" in repr(model)


def test_another_error_comes_out_and_loggers_are_told(mdata: md.MuData) -> None:
    sink = Sink({0: raising(RuntimeError("the disk is full"))})
    with pytest.raises(RuntimeError, match="the disk is full"):
        MIDAS(mdata, config=tiny()).fit(progress=False, loggers=[sink])
    assert sink.status == "failed"


def test_a_broken_objective_ends_the_run_and_says_where(mdata: md.MuData) -> None:
    model = MIDAS(mdata, config=tiny(learning_rate=1e6, epochs=30))
    with pytest.raises(NotFiniteError, match=r"found NaN or infinity: .*batch.*Lower training\.learning_rate"):
        model.fit(progress=False)


# --- choices that change little ---------------------------------------------------------------------------------------


def last(mdata: md.MuData, config: Config) -> dict[str, float]:
    return run(MIDAS(mdata, config=config))[-1]


def test_bfloat16_comes_close_to_float32(mdata: md.MuData) -> None:
    full, half = (last(mdata, tiny(epochs=6, precision=precision)) for precision in ("32", "bf16"))
    assert full["total"] != half["total"]
    for term in ("reconstruction_rna", "reconstruction_adt", "reconstruction_atac"):
        assert half[term] == pytest.approx(full[term], rel=0.03), term


def test_a_gentle_clip_slows_nothing_down_and_a_batch_may_be_hidden_always(mdata: md.MuData) -> None:
    assert last(mdata, tiny(gradient_clip=1e9))["total"] == pytest.approx(last(mdata, tiny())["total"], rel=1e-5)
    hidden = last(mdata, tiny(objective={"batch_expert_dropout": 1.0}))
    assert "batch_reconstruction" not in hidden
    assert last(mdata, tiny(objective={"batch_expert_dropout": 0.0}))["batch_reconstruction"] > 0.0
