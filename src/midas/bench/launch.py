"""Run a command and record its time and memory: ``python launch.py usage.json command ...``.

A small separate process that does not import this package: a child's peak memory includes what its parent held when starting it.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(target: Path, command: list[str]) -> None:
    """Wait for the command, also after a termination request, which is sent to the whole process group."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    start = time.perf_counter()
    code = subprocess.Popen(command).wait()
    wall = time.perf_counter() - start
    took = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    usage = {
        "code": code,
        "wall_s": wall,
        "cpu_s": took.ru_utime + took.ru_stime,
        "rss_mb": took.ru_maxrss * unit / 1e6,
    }
    target.write_text(json.dumps(usage), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
