"""One method process: started, timed, ended when it takes too long, and measured with its children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.05
_GRACE_S = 5.0


@dataclass(frozen=True)
class Usage:
    """What a process took.

    Attributes
    ----------
    code
        Exit code; negative for a signal; None when it was ended for taking too long.
    wall_s, cpu_s
        Seconds; CPU of the process and its children.
    rss_mb
        Largest resident memory of the process or one of its children, in MB (10^6 bytes).
    """

    code: int | None
    wall_s: float
    cpu_s: float
    rss_mb: float


def measure(command: Sequence[str], *, log: Path, environment: Mapping[str, str], timeout: float) -> Usage:
    """Run a command in a process group of its own; what it writes goes to `log`."""
    start = time.perf_counter()
    with log.open("wb") as out:
        child = subprocess.Popen(
            list(command),
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,
        )
        late = False
        try:
            while True:
                # wait4 in place of Popen.wait: it tells what the child and its own children took.
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                if pid:
                    break
                if not late and time.perf_counter() - start > timeout:
                    late = True
                    os.killpg(child.pid, signal.SIGTERM)
                if late and time.perf_counter() - start > timeout + _GRACE_S:
                    os.killpg(child.pid, signal.SIGKILL)
                time.sleep(_POLL_S)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            child.returncode = -signal.SIGKILL
            raise
    child.returncode = os.waitstatus_to_exitcode(status)
    return Usage(
        code=None if late else child.returncode,
        wall_s=round(time.perf_counter() - start, 2),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 2),
        rss_mb=round(usage.ru_maxrss * 1024 / 1e6, 1),
    )
