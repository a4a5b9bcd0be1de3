"""One command for work on this project: ``python dev.py setup | demo | test | lint | docs``.

Needs Python alone: `setup` makes a virtual environment in ``.venv`` and installs what ``requirements.lock`` lists; every other
verb runs `setup` first when that is missing or out of date.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "dev-setup.sha256"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")


class DevError(Exception):
    """Something that the user can mend; the text says how."""


# --------------------------------------------------------------------------------------------------------------- verbs


def setup() -> None:
    """Make .venv and install the locked packages and the project itself."""
    started = time.monotonic()
    if not LOCK.is_file():
        msg = f"Expected {LOCK.name} beside dev.py, found none. Get the whole repository."
        raise DevError(msg)
    STAMP.unlink(missing_ok=True)
    if not _works():
        _make_venv()
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install"]
    advice = "pip could not install the packages: see its message above. It needs access to a package index (PyPI)."
    _run(*pip, "-r", LOCK, failure=advice)
    # The lock file holds the build backend, so nothing is fetched for the project itself.
    _run(*pip, "--no-deps", "--no-build-isolation", "-e", ROOT, failure="pip could not install the project itself.")
    STAMP.write_text(_fingerprint(), encoding="utf-8")
    _say(f"ready in {time.monotonic() - started:.0f} s: {BIN}")


def demo() -> None:
    """Simulate a mosaic, integrate it, and draw, measure and report the result; everything goes to demo/."""
    script = ROOT / "benchmarks" / "demo.py"
    if not script.is_file():
        msg = f"Expected {script.relative_to(ROOT)}, found none. Get the whole repository."
        raise DevError(msg)
    folder = ROOT / "demo"
    folder.mkdir(exist_ok=True)
    mosaic, result = folder / "mosaic.h5mu", folder / "result.h5mu"
    midas = [PYTHON, "-m", "midas.cli"]
    # One thread: the demo is small, and two threads that wait for a busy core are far slower than one.
    _run(*midas, "simulate", "-o", mosaic, OMP_NUM_THREADS="1")
    _run(*midas, "inspect", mosaic, OMP_NUM_THREADS="1")
    outputs = ["-o", result, "--model", folder / "model", "--report", folder / "report.html"]
    _run(*midas, "integrate", mosaic, *outputs, "--impute", "--report-label", "cell_type", OMP_NUM_THREADS="1")
    _run(PYTHON, script, f"demo{os.sep}", OMP_NUM_THREADS="1")


def test() -> None:
    """Run the tests."""
    # By file, so that a model that a file's tests share is trained once.
    workers = ["-n", "2", "--dist", "loadfile"] if (os.cpu_count() or 1) >= 2 else []
    _run(PYTHON, "-m", "pytest", *workers, OMP_NUM_THREADS="1")


def lint() -> None:
    """Check style, formatting and types; all three, whatever the first finds."""
    failures = []
    for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        try:
            _run(PYTHON, "-m", *tool)
        except DevError as failure:
            failures.append(str(failure))
    if failures:
        raise DevError("; ".join(failures))


def docs() -> None:
    """Build the documentation, warnings being errors, and run its snippets."""
    pages = ROOT / "docs"
    out = pages / "_build" / "html"
    _run(PYTHON, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-a", "-b", "html", pages, out)
    _say(f"built: {out / 'index.html'}")
    _run(PYTHON, pages / "check_snippets.py", OMP_NUM_THREADS="1")


VERBS = {"setup": setup, "demo": demo, "test": test, "lint": lint, "docs": docs}

# ------------------------------------------------------------------------------------------------------------- private


def _fingerprint() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def _ready() -> bool:
    return LOCK.is_file() and STAMP.is_file() and STAMP.read_text(encoding="utf-8") == _fingerprint() and _works()


def _works() -> bool:
    """Whether .venv has a Python that starts, is new enough, and has pip: a copied or half-made one does not count."""
    test = f"import sys, pip; sys.exit(sys.version_info[:2] < {OLDEST})"
    try:
        return subprocess.run([PYTHON, "-c", test], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _make_venv() -> None:
    _say(f"making {VENV} with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    _run(
        sys.executable,
        "-m",
        "venv",
        VENV,
        failure="No virtual environment could be made. On Debian and Ubuntu install the package python3-venv.",
    )


def _run(*command: str | Path, failure: str | None = None, **variables: str) -> None:
    """Run a program in the root folder; only its exit code counts, not what it writes."""
    words = [str(word) for word in command]
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    environment |= {"PYTHONUNBUFFERED": "1", **variables}
    _say(" ".join(_short(word) for word in words))
    code = subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode
    if code:
        msg = f"exit code {code}: {' '.join(_short(word) for word in words)}"
        raise DevError(msg if failure is None else f"{failure} ({msg})")


def _short(word: str) -> str:
    path = Path(word)
    return str(path.relative_to(ROOT)) if path.is_absolute() and path.is_relative_to(ROOT) and path != ROOT else word


def _say(text: str) -> None:
    print(f"dev: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the verbs that the command line names, in order."""
    parser = argparse.ArgumentParser(prog="dev.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    for name, verb in VERBS.items():
        verbs.add_parser(name, help=(verb.__doc__ or "").strip())
    wanted = parser.parse_args().verb
    try:
        if wanted != "setup" and not _ready():
            setup()
        VERBS[wanted]()
    except DevError as failure:
        _say(f"failed. {failure}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    if sys.version_info[:2] < OLDEST:
        sys.exit(
            f"dev.py needs Python {OLDEST[0]}.{OLDEST[1]} or newer; this is {sys.version.split()[0]} ({sys.executable})."
        )
    sys.exit(main())
