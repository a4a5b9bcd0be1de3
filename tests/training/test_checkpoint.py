"""A run that went on from a checkpoint is the unbroken run, bit for bit; other files are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import mudata as md
import pytest
import torch
from safetensors.torch import save_file

from helpers import files_under, simulated, tiny
from midas import MIDAS, Config
from midas.training import fit
from midas.training.loop import Surroundings


class StopAt:
    """Ends a run at an epoch."""

    def __init__(self, epoch: int, error: type[BaseException]) -> None:
        self.epoch, self.error = epoch, error

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if metrics["epoch"] == self.epoch:
            raise self.error


def run(
    mdata: md.MuData,
    config: Config,
    file: Path | None = None,
    *,
    stop: StopAt | None = None,
    resume: bool = False,
    seed: int = 0,
) -> tuple[MIDAS, list[dict[str, float]]]:
    model = MIDAS(mdata, config=config, seed=seed)
    around = Surroundings(
        progress=False,
        loggers=() if stop is None else (stop,),
        checkpoint=file,
        checkpoint_seconds=0.0,
        resume=resume,
    )
    assert model.mosaic is not None
    return model, fit(model.vae, model.discriminators, model.mosaic, config, seed, around)


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


CONFIGS = {
    "plain": tiny(epochs=5),
    "by batch, bf16": tiny(epochs=5, sampling="by_batch", precision="bf16"),
    "watched": tiny(epochs=6, batch_size=128, validation_fraction=0.2, patience=1, learning_rate=0.02),
}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("name", CONFIGS)
def test_going_on_gives_the_unbroken_run_bit_for_bit(name: str, error: type[BaseException], tmp_path: Path) -> None:
    config, file = CONFIGS[name], tmp_path / "run.safetensors"
    mdata = simulated(n_cells=520 if name == "watched" else 120)
    whole, history = run(mdata, config)
    with pytest.raises(RuntimeError) if error is RuntimeError else nullcontext():
        _, broken = run(mdata, config, file, stop=StopAt(2, error))
        assert len(broken) < len(history)
    assert files_under(tmp_path) == ["run.safetensors"]
    model, resumed = run(mdata, config, file, resume=True)
    assert without_seconds(resumed) == without_seconds(history)
    seconds = [record["seconds"] for record in resumed]
    assert seconds == sorted(seconds)
    for found, expected in ((model.vae, whole.vae), (model.discriminators, whole.discriminators)):
        for key, value in expected.state_dict().items():
            assert torch.equal(found.state_dict()[key], value), key


def test_the_epochs_before_are_not_run_again(mdata: md.MuData, tmp_path: Path) -> None:
    file = tmp_path / "run"
    with pytest.raises(RuntimeError):
        run(mdata, tiny(epochs=4), file, stop=StopAt(3, RuntimeError))

    class Epochs:
        def __init__(self) -> None:
            self.seen: list[float] = []

        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            self.seen.append(metrics["epoch"])

    sink = Epochs()
    MIDAS(mdata, config=tiny(epochs=4)).fit(progress=False, checkpoint=file, resume=True, loggers=[sink])
    assert sink.seen == [3]
    again = MIDAS(mdata, config=tiny(epochs=4)).fit(progress=False, checkpoint=file, resume=True, loggers=[sink])
    assert sink.seen == [3]
    assert len(again.history) == 4


def test_without_resume_a_run_starts_anew(mdata: md.MuData, tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("something else")
    _, history = run(mdata, tiny(), file)
    assert len(history) == 2
    _, again = run(mdata, tiny(), file, resume=True)
    assert again == history


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def foreign(file: Path) -> None:
    save_file({"x": torch.zeros(3)}, file)


def text(file: Path) -> None:
    file.write_text("hello")


@pytest.mark.parametrize("damage", [truncated, foreign, text])
def test_damaged_and_foreign_files_are_refused(
    damage: Callable[[Path], None], mdata: md.MuData, tmp_path: Path
) -> None:
    file = tmp_path / "run"
    run(mdata, tiny(), file)
    damage(file)
    before = file.read_bytes()
    with pytest.raises(
        ValueError, match=r"expected a checkpoint of midas, found a damaged or foreign file.*Start without"
    ):
        run(mdata, tiny(), file, resume=True)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda mdata: {"mdata": mdata, "config": tiny(learning_rate=0.5)}, "config"),
        (lambda mdata: {"mdata": mdata, "config": tiny(), "seed": 1}, "seed"),
        (lambda mdata: {"mdata": mdata[:100].copy(), "config": tiny()}, "cells"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(
    change: Callable[[md.MuData], dict[str, object]], differs: str, mdata: md.MuData, tmp_path: Path
) -> None:
    file = tmp_path / "run"
    run(mdata, tiny(), file)
    with pytest.raises(ValueError, match=f"expected a checkpoint of the same run, found another {differs}"):
        run(**change(mdata), file=file, resume=True)  # type: ignore[arg-type]
