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
import torch

from helpers import files_under, simulated, tiny
from midas import MIDAS
from midas.training.checkpoint import Checkpoint
from midas.training.loop import Surroundings, fit

EPOCHS = 30

# Each epoch is written, and said, so that the test knows that the run is under way.
RUN = """
import sys
from pathlib import Path
from helpers import simulated, tiny
from midas import MIDAS
from midas.training.loop import Surroundings, fit

class Said:
    def log_metrics(self, metrics, step=None):
        print(int(metrics["epoch"]), flush=True)

model = MIDAS(simulated(), config=tiny(epochs=int(sys.argv[2])))
around = Surroundings(progress=False, loggers=(Said(),), checkpoint=Path(sys.argv[1]), checkpoint_seconds=0.0, resume=True)
fit(model.vae, model.discriminators, model.mosaic, model.config, 0, around)
"""


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    file, epochs = tmp_path / "run.ckpt", EPOCHS
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(file), str(epochs)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        time.sleep(np.random.default_rng(0).uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert file.is_file()

    results = []
    for checkpoint in (file, None):
        model = MIDAS(simulated(), config=tiny(epochs=epochs))
        around = Surroundings(progress=False, checkpoint=checkpoint, resume=True)
        assert model.mosaic is not None
        history = fit(model.vae, model.discriminators, model.mosaic, model.config, 0, around)
        results.append((model.vae.state_dict(), [record["total"] for record in history]))
    assert results[0][1] == results[1][1]
    for name, value in results[0][0].items():
        assert torch.equal(value, results[1][0][name]), name


def test_a_full_disk_leaves_the_last_checkpoint(
    mdata: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.ckpt"
    model = MIDAS(mdata, config=tiny(epochs=1)).fit(progress=False, checkpoint=file)
    before = file.read_bytes()

    def full(_: object, path: Path, **__: object) -> None:
        Path(path).write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("midas.training.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        model.fit(progress=False, checkpoint=file)
    assert file.read_bytes() == before
    assert files_under(tmp_path) == ["run.ckpt"]
    assert Checkpoint(file).path == file


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc")
def test_memory_does_not_grow_with_the_epochs(mdata: md.MuData) -> None:
    resident: list[float] = []

    class Noted:
        def log_metrics(self, metrics: object, step: int | None = None) -> None:
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    MIDAS(mdata, config=tiny(epochs=60)).fit(progress=False, loggers=[Noted()])
    assert max(resident[50:]) - max(resident[20:30]) < 5
