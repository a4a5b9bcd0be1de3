"""Virtual environments of the methods, created from PyPI; if one cannot be created, the reason is kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from midas.bench.registry import TORCH, Environment, Method

logger = logging.getLogger(__name__)

_STAMP = "environment.json"
_LINES = 5  # last lines of pip's output to keep


def default_folder() -> Path:
    """The user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "midas" / "bench"


def prepare(methods: Iterable[Method], folder: Path, *, python: str = sys.executable) -> dict[str, str | None]:
    """Create the environments that are missing or out of date.

    Parameters
    ----------
    methods
        Methods whose environments are created.
    folder
        Folder that contains them, one subfolder each.
    python
        Interpreter used to create them.

    Returns
    -------
    By environment, why it could not be created; None for usable ones.
    """
    found: dict[str, str | None] = {}
    for method in methods:
        environment = method.environment
        if environment is not None and environment.name not in found:
            found[environment.name] = _made(environment, folder, python)
    return found


def interpreter(method: Method, folder: Path) -> Path | str:
    """The Python that runs a method, or why there is none."""
    environment = method.environment
    if environment is None:
        return Path(sys.executable)
    place = folder / environment.name
    state = _state(place)
    if state.get("requirements") == _fingerprint(environment) and state.get("reason") is None:
        return _python(place)
    reason = state.get("reason") or environment.unsuited()
    return reason or f"its environment has not been made: midas bench OUT --setup --methods {method.name}"


def _made(environment: Environment, folder: Path, python: str) -> str | None:
    place = folder / environment.name
    state = _state(place)
    if state.get("requirements") == _fingerprint(environment) and state.get("reason") is None:
        return None
    version = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.split()
    reason = environment.unsuited((int(version[0]), int(version[1])))
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if reason is None:
        logger.info("Making %s in %s.", environment.name, place)
        reason = _installed(environment, place, python)
    card = {"requirements": _fingerprint(environment), "reason": reason}
    (place / _STAMP).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return reason


def _installed(environment: Environment, place: Path, python: str) -> str | None:
    """Install; return why it failed."""
    with tempfile.TemporaryDirectory() as scratch:
        # All environments use the same torch; otherwise each would download gigabytes of its own.
        constraint = Path(scratch) / "constraints.txt"
        constraint.write_text(f"{TORCH}\n", encoding="utf-8")
        pip = [str(_python(place)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        steps = [
            [python, "-m", "venv", "--clear", str(place)],
            [*pip, "--constraint", str(constraint), *environment.requirements],
        ]
        if environment.bare:
            steps.append([*pip, "--no-deps", *environment.bare])
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False, env=_plain())
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
                return "could not be installed: " + " ".join(errors[-_LINES:])
    return None


def _plain() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}


def _python(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _state(place: Path) -> dict[str, str | None]:
    file = place / _STAMP
    if not file.is_file():
        return {}
    state: dict[str, str | None] = json.loads(file.read_text(encoding="utf-8"))
    return state if state.get("reason") is not None or _python(place).exists() else {}


def _fingerprint(environment: Environment) -> str:
    text = "\n".join([*environment.requirements, *environment.bare])
    return hashlib.sha256(text.encode()).hexdigest()
