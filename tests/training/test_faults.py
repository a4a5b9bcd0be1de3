"""A process that is killed leaves its last checkpoint whole; a full disk leaves nothing half-written; memory does not grow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mudata as md
import numpy as np
import pytest

from helpers import files_under, tiny
from midas import MIDAS
from midas.training.checkpoint import Checkpoint

EPOCHS = 30

# Each epoch is written, and said, so that the test knows that the run is under way; at the end, weights and totals go to a file.
RUN = """
import sys
from pathlib import Path
import numpy as np
from helpers import simulated, tiny
from midas import MIDAS
from midas.training.loop import RunOptions, fit

class Said:
    def log_metrics(self, metrics, step=None):
        print(int(metrics["epoch"]), flush=True)

model = MIDAS(simulated(), config=tiny(epochs=int(sys.argv[3])))
run_options = RunOptions(progress=False, loggers=(Said(),), checkpoint=Path(sys.argv[1]), checkpoint_seconds=0.0, resume=True)
history = fit(model.vae, model.discriminators, model.mosaic, model.config, 0, run_options).history
weights = {name: value.numpy() for name, value in model.vae.state_dict().items()}
np.savez(sys.argv[2], totals=[record["total"] for record in history], **weights)
"""


def start(checkpoint: Path, result: Path) -> subprocess.Popen[str]:
    # All runs in processes of their own: libraries that other tests load may change how a process rounds.
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(checkpoint), str(result), str(EPOCHS)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    file = tmp_path / "killed.ckpt"
    with start(file, tmp_path / "never.npz") as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        time.sleep(np.random.default_rng(0).uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert file.is_file()
    assert not (tmp_path / "never.npz").exists()

    results = []
    for checkpoint in (file, tmp_path / "unbroken.ckpt"):
        out = checkpoint.with_suffix(".npz")
        with start(checkpoint, out) as process:
            process.communicate()
        assert process.returncode == 0
        results.append(dict(np.load(out)))
    went_on, unbroken = results
    assert went_on.keys() == unbroken.keys()
    for name, value in went_on.items():
        assert np.array_equal(value, unbroken[name]), name


def test_a_full_disk_leaves_the_last_checkpoint_and_the_model(
    mdata: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "run.ckpt"
    model = MIDAS(mdata, config=tiny(epochs=1)).fit(progress=False, checkpoint=file)
    before = file.read_bytes()

    def full(_: object, path: Path, **__: object) -> None:
        Path(path).write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("midas.training.checkpoint.save_file", full)
    model.fit(progress=False, checkpoint=file)
    assert "The last checkpoint could not be written: [Errno 28] No space left on device" in caplog.text
    assert np.isfinite(model.latent()).all()
    assert file.read_bytes() == before
    assert files_under(tmp_path) == ["run.ckpt"]
    assert Checkpoint(file).path == file


def test_a_checkpoint_that_cannot_be_written_is_refused_at_once(mdata: md.MuData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place, found in ((tmp_path, "a folder"), (tmp_path / "file" / "run.ckpt", "which is no folder")):
        with pytest.raises(OSError, match=rf"expected .* found .*{found}"):
            MIDAS(mdata, config=tiny(epochs=1)).fit(progress=False, checkpoint=place)


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc")
def test_memory_does_not_grow_with_the_epochs(mdata: md.MuData) -> None:
    resident: list[float] = []

    class Noted:
        def log_metrics(self, metrics: object, step: int | None = None) -> None:
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    MIDAS(mdata, config=tiny(epochs=120)).fit(progress=False, loggers=[Noted()])
    # The least of several epochs: what the allocator holds for a moment, after other tests of the process, is no growth.
    assert min(resident[100:]) - min(resident[40:60]) < 5
