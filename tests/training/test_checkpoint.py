"""A run that went on from a checkpoint is the unbroken run, bit for bit; other files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import mudata as md
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from helpers import files_under, joined, simulated, tiny
from midas import MIDAS, Config
from midas.training import fit, loop
from midas.training.loop import RunOptions
from midas.training.progress import Progress


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
    seconds: float = 0.0,
) -> tuple[MIDAS, list[dict[str, float]]]:
    model = MIDAS(mdata, config=config, seed=seed)
    run_options = RunOptions(
        progress=False,
        loggers=() if stop is None else (stop,),
        checkpoint=file,
        checkpoint_seconds=seconds,
        resume=resume,
    )
    assert model.mosaic is not None
    return model, fit(model.vae, model.discriminators, model.mosaic, config, seed, run_options).history


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


CONFIGS = {
    "plain": tiny(epochs=5),
    "by batch, bf16": tiny(epochs=5, sampling="by_batch", precision="bf16"),
    "compared within an epoch": tiny(epochs=5, objective={"adversarial_start": 0.5, "adversarial_warmup": 0.2}),
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
        run(mdata, MIDAS(mdata, config=tiny(epochs=4)).config, file, stop=StopAt(3, RuntimeError))

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


def test_cells_in_another_order_are_the_same_run(
    mdata: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of each cell goes by its name."""
    known = np.random.default_rng(0).integers(0, 256, (120, 3)).astype(np.uint8)
    monkeypatch.setattr(loop, "counterparts", lambda *_, **__: known)
    file = tmp_path / "run"
    whole, _ = run(mdata, tiny(epochs=4))
    with pytest.raises(RuntimeError):
        run(mdata, tiny(epochs=4), file, stop=StopAt(3, RuntimeError))
    other = joined({name: adata[::-1].copy() for name, adata in mdata.mod.items()})
    resumed, _ = run(other, tiny(epochs=4), file, resume=True)
    for key, value in whole.discriminators.state_dict().items():
        torch.testing.assert_close(resumed.discriminators.state_dict()[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_ctrl_c_in_the_midst_of_an_epoch_leaves_the_end_of_the_last_whole_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, file = CONFIGS[name], tmp_path / "run"
    mdata = simulated(n_cells=520 if name == "watched" else 120)
    whole, history = run(mdata, config)
    steps = [0]
    original = loop.train_step

    def interrupted(*arguments: object, **options: object) -> object:
        steps[0] += 1
        if steps[0] == loop.plan_training(whole.mosaic, config.training, 0).steps_per_epoch * 3 + 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        run(mdata, config, file, seconds=1e9)
    assert json.loads(safe_open(file, "pt").metadata()["position"])["epoch"] == 3
    model, resumed = run(mdata, config, file, resume=True)
    assert without_seconds(resumed) == without_seconds(history)
    for key, value in whole.vae.state_dict().items():
        assert torch.equal(model.vae.state_dict()[key], value), key


def test_the_first_epoch_is_written_at_once_and_for_all_to_read(mdata: md.MuData, tmp_path: Path) -> None:
    file, other = tmp_path / "run", tmp_path / "other"
    with pytest.raises(RuntimeError):
        run(mdata, tiny(), file, stop=StopAt(1, RuntimeError), seconds=1e9)
    assert json.loads(safe_open(file, "pt").metadata()["position"])["epoch"] == 1
    other.touch()
    assert file.stat().st_mode == other.stat().st_mode


def test_the_progress_bar_goes_on_from_the_steps_done(
    mdata: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError):
        run(mdata, tiny(epochs=4), tmp_path / "run", stop=StopAt(3, RuntimeError))
    begun: list[int] = []

    class Noted(Progress):
        def __init__(self, total_steps: int, *, done: int = 0, shown: bool) -> None:
            begun.append(done)
            super().__init__(total_steps, done=done, shown=shown)

    monkeypatch.setattr(loop, "Progress", Noted)
    run(mdata, tiny(epochs=4), tmp_path / "run", resume=True)
    assert begun == [9]  # three epochs of three steps


def test_without_resume_a_run_starts_anew(mdata: md.MuData, tmp_path: Path) -> None:
    file = tmp_path / "run"
    run(mdata, tiny(epochs=1), file)
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


def test_damaged_files_are_refused_and_may_be_replaced(mdata: md.MuData, tmp_path: Path) -> None:
    file = tmp_path / "run"
    run(mdata, tiny(), file)
    truncated(file)
    before = file.read_bytes()
    with pytest.raises(
        ValueError, match=r"expected a checkpoint of midas, found a damaged or foreign file.*Start without"
    ):
        run(mdata, tiny(), file, resume=True)
    assert file.read_bytes() == before
    run(mdata, tiny(), file)
    assert file.read_bytes() != before


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("other", [foreign, text])
def test_a_file_that_is_no_checkpoint_is_never_replaced(
    other: Callable[[Path], None], resume: bool, mdata: md.MuData, tmp_path: Path
) -> None:
    file = tmp_path / "analysis.py"
    other(file)
    before = file.read_bytes()
    with pytest.raises(
        FileExistsError, match=r"expected a checkpoint of midas, or no file yet, found another file.*Name another"
    ):
        run(mdata, tiny(), file, resume=resume)
    assert file.read_bytes() == before


def renamed(mdata: md.MuData, *, obs: bool) -> md.MuData:
    """One cell, or one gene, is another one."""
    parts = {name: adata.copy() for name, adata in mdata.mod.items()}
    first = mdata.obs_names[0] if obs else mdata["rna"].var_names[-1]
    for adata in parts.values():
        if obs:
            adata.obs_names = ["another" if cell == first else cell for cell in adata.obs_names]
        else:
            adata.var_names = ["gene999" if gene == first else gene for gene in adata.var_names]
    return joined(parts)


def without_one(mdata: md.MuData) -> md.MuData:
    """A cell that has proteins and something else has no proteins."""
    parts = {name: adata.copy() for name, adata in mdata.mod.items()}
    both = parts["adt"].obs_names.isin(parts["rna"].obs_names)
    parts["adt"] = parts["adt"][np.arange(len(both)) != np.flatnonzero(both)[0]].copy()
    return joined(parts)


def partly_measured(mdata: md.MuData) -> md.MuData:
    mdata["rna"].var["measured_batch2"] = np.arange(30) != 4
    return mdata


def counted_twice(mdata: md.MuData) -> md.MuData:
    """The same data, but for the counts of one modality."""
    mdata["rna"].X = mdata["rna"].X * 2
    return mdata


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda mdata: {"mdata": mdata, "config": tiny(learning_rate=0.5)}, "config"),
        (lambda mdata: {"mdata": mdata, "config": tiny(), "seed": 1}, "seed"),
        (lambda mdata: {"mdata": mdata[:100].copy(), "config": tiny()}, "cells"),
        (lambda mdata: {"mdata": renamed(mdata, obs=True), "config": tiny()}, "names of cells. Start"),
        (lambda mdata: {"mdata": counted_twice(mdata), "config": tiny()}, "counts. Start"),
        (lambda mdata: {"mdata": renamed(mdata, obs=False), "config": tiny()}, "names of features. Start"),
        (lambda mdata: {"mdata": without_one(mdata), "config": tiny()}, "names of cells, counts. Start"),
        (lambda mdata: {"mdata": partly_measured(mdata), "config": tiny()}, "measured features, counts. Start"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(
    change: Callable[[md.MuData], dict[str, object]], differs: str, mdata: md.MuData, tmp_path: Path
) -> None:
    file = tmp_path / "run"
    run(mdata, tiny(), file)
    with pytest.raises(ValueError, match=f"expected a checkpoint of the same run, found different {differs}"):
        run(**change(mdata), file=file, resume=True)  # type: ignore[arg-type]


def test_the_checkpoint_of_a_version_that_did_not_tell_of_its_data_is_refused(mdata: md.MuData, tmp_path: Path) -> None:
    file = tmp_path / "run"
    run(mdata, tiny(), file)
    with safe_open(file, framework="pt") as opened:
        position = json.loads(opened.metadata()["position"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    position["fingerprint"] = {
        key: value for key, value in position["fingerprint"].items() if "names" not in key and "measured" not in key
    }
    save_file(tensors, file, metadata={"position": json.dumps(position)})
    with pytest.raises(ValueError, match=r"found one of an older version, which does not tell names of cells, .*Start"):
        run(mdata, tiny(), file, resume=True)
