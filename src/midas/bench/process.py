"""Start a method's process, measure it with its children, and terminate it on timeout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_GRACE_S: Final = 5.0
_LAUNCHER: Final = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Usage:
    """Resources that a process used.

    Attributes
    ----------
    code
        Exit code; negative for a signal; None if it was terminated on timeout.
    wall_s, cpu_s
        Wall-clock seconds, and CPU seconds of the process and its children.
    rss_mb
        Peak resident memory of the process or one of its children, in MB (10^6 bytes).
    """

    code: int | None
    wall_s: float
    cpu_s: float
    rss_mb: float


def measure(command: Sequence[str], *, log: Path, environment: Mapping[str, str], timeout: float) -> Usage:
    """Run a command in its own process group, with its output written to `log`."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch, log.open("wb") as out:
        told = Path(scratch) / "usage.json"
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(told), *command],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,
        )
        late = False
        try:
            launcher.wait(timeout)
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(launcher.pid, signal.SIGTERM)
            try:
                launcher.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(launcher.pid, signal.SIGKILL)
        except BaseException:  # Ctrl-C too: the method must not outlive its caller
            os.killpg(launcher.pid, signal.SIGKILL)
            raise
        finally:
            launcher.wait()
        # Without the launcher's record (it was killed), only the time is known.
        found = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else {}
    return Usage(
        code=None if late else found.get("code", -signal.SIGKILL),
        wall_s=round(found.get("wall_s", time.perf_counter() - start), 2),
        cpu_s=round(found.get("cpu_s", float("nan")), 2),
        rss_mb=round(found.get("rss_mb", float("nan")), 1),
    )
