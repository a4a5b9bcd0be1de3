"""Benchmarks are commands, too long for tests; at least what they import is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "benchmarks"
IMPORT_ALL = """
import importlib, sys
names = sys.argv[1:]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"midas", *names}:
            raise
        print(error.name)
"""


def test_benchmarks_import_what_is_there() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert "transfer_peers" in names
    path = os.pathsep.join([str(FOLDER), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *names],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {
        "scmidas",
        "pytest_benchmark",
    }  # of the authors' package; of the extra for tests
