"""The grid: run every data set, task, method and seed; the folder of a run is either complete or absent.

``OUT/settings.json`` holds what all runs share, ``OUT/tasks/<dataset>/<task>/`` the mosaic and its truth, and
``OUT/runs/<dataset>/<task>/<method>/<seed>/`` a run: ``run.json`` (status, seconds, memory), ``result.npz``, ``log.txt``, and
``scores.json`` once it is scored. Finished runs are not repeated, so an interrupted grid resumes where it stopped.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import midas
from midas.bench.data import BenchmarkDataset
from midas.bench.environments import interpreter
from midas.bench.process import measure
from midas.bench.registry import Method, Shape
from midas.files import replacing

logger = logging.getLogger(__name__)

Status = Literal["ok", "failed", "timeout", "cannot", "missing"]
FINAL = ("ok", "cannot", "failed", "timeout")  # `missing` is retried, as its environment may exist by now


@dataclass(frozen=True)
class Settings:
    """Settings shared by all runs of one table.

    Attributes
    ----------
    cells
        Maximum number of cells per task, drawn at random within batches; None for all.
    seconds
        CPU seconds of training allowed for methods that train in epochs; None for their recommended length.
    timeout
        Wall-clock seconds after which a method is terminated.
    threads
        Number of threads per method.
    """

    cells: int | None = 2000
    seconds: float | None = None
    timeout: float = 7200.0
    threads: int = 1


@dataclass(frozen=True)
class Key:
    """Identifies a run."""

    dataset: str
    task: str
    method: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Its folder."""
        return out / "runs" / self.dataset / self.task / self.method / str(self.seed)


@dataclass(frozen=True)
class TaskFiles:
    """A task on disk."""

    task: Path
    truth: Path
    shape: Shape


@dataclass(frozen=True)
class Instrument:
    """How tasks are made and results are scored; :mod:`midas.bench.scoring` has the actual implementation."""

    make: Callable[[BenchmarkDataset, str, Settings, Path], Shape]
    score: Callable[[BenchmarkDataset, str, Path, Path], Mapping[str, float]]


def run_grid(
    out: Path,
    cells: Iterable[tuple[BenchmarkDataset, str]],
    methods: Iterable[Method],
    *,
    seeds: Iterable[int],
    settings: Settings,
    environments: Path,
    instrument: Instrument,
    retry: bool = False,
) -> None:
    """Run everything that has not been run, and score everything that has not been scored.

    Parameters
    ----------
    out
        Folder of the table.
    cells
        Data sets, combined with one task each.
    methods, seeds
        Methods and seeds to run on each task.
    settings
        Settings, the same for all runs in `out`.
    environments
        Folder with the environments of the methods.
    instrument
        Makes tasks and scores results.
    retry
        Whether to repeat runs that failed, timed out or could not be scored.

    Raises
    ------
    ValueError
        If `out` holds runs with other settings.
    """
    _keep_settings(out, settings)
    methods, seeds = list(methods), list(seeds)
    for source, task in cells:
        files = _task_files(out, source, task, settings, instrument)
        for key, method in _runs(source, task, methods, seeds):
            _clean(key.folder(out), retry=retry)
            if _status(key.folder(out)) not in FINAL:
                _run(out, key, method, files, settings, environments)
            _score(out, key, source, files, instrument)


def _runs(source: BenchmarkDataset, task: str, methods: list[Method], seeds: list[int]) -> Iterator[tuple[Key, Method]]:
    for seed in seeds:
        for method in methods:
            yield Key(source.name, task, method.name, seed), method


def _keep_settings(out: Path, settings: Settings) -> None:
    file = out / "settings.json"
    wanted = asdict(settings)
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found != wanted:
            msg = (
                f"{out}: expected runs at {wanted}, found runs at {found}. Choose another folder, or the same settings."
            )
            raise ValueError(msg)
        return
    _write_json(file, wanted)


def _own(folder: Path) -> bool:
    """Whether a folder belongs to a grid, and may thus be recreated; killed runs leave folders without a card."""
    return not any(folder.iterdir()) or (folder / "run.json").is_file() or (folder / "task.h5mu").is_file()


def _task_files(
    out: Path, source: BenchmarkDataset, task: str, settings: Settings, instrument: Instrument
) -> TaskFiles:
    folder = out / "tasks" / source.name / task
    card = folder / "shape.json"
    if not card.is_file():
        logger.info("Making task %s of %s.", task, source.name)
        with replacing(folder, replaceable=_own) as scratch:
            scratch.mkdir()
            shape = instrument.make(source, task, settings, scratch)
            combinations = sorted(sorted(names) for names in shape.combinations)
            _write_json(scratch / "shape.json", {"modalities": sorted(shape.modalities), "combinations": combinations})
    found = json.loads(card.read_text(encoding="utf-8"))
    shape = Shape(frozenset(found["modalities"]), frozenset(frozenset(names) for names in found["combinations"]))
    return TaskFiles(folder / "task.h5mu", folder / "truth.h5mu", shape)


def _clean(folder: Path, *, retry: bool) -> None:
    """Remove what a killed run left next to its folder, and a failed run that is to be repeated."""
    for scratch in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(scratch, ignore_errors=True)
    if retry and _status(folder) in {"failed", "timeout"}:
        shutil.rmtree(folder)


def _status(folder: Path) -> str | None:
    file = folder / "run.json"
    return None if not file.is_file() else str(json.loads(file.read_text(encoding="utf-8"))["status"])


def _run(out: Path, key: Key, method: Method, files: TaskFiles, settings: Settings, environments: Path) -> None:
    record: dict[str, Any] = asdict(key)
    limit = settings.seconds if method.iterates else None
    reason = method.refuses(files.shape)
    status: Status = "cannot" if reason else "ok"
    python = interpreter(method, environments)
    if reason is None and isinstance(python, str):
        status, reason = "missing", python
    if reason is None and method.as_long_as is not None:
        like = replace(key, method=method.as_long_as).folder(out) / "run.json"
        told = json.loads(like.read_text(encoding="utf-8")).get("train_cpu_s") if like.is_file() else None
        if told is None:
            status, reason = "missing", f"needs a finished run of {method.as_long_as} on the same task and seed"
        limit = told
    with replacing(key.folder(out), replaceable=_own) as scratch:
        scratch.mkdir()
        if reason is None:
            logger.info("%s, %s, %s, seed %d.", key.dataset, key.task, key.method, key.seed)
            status, reason, measured = _ran(Path(python), method, files, key.seed, limit, settings, scratch)
            record |= measured
        _write_json(scratch / "run.json", {**record, "status": status, "reason": reason, "limit_s": limit})
    if status in {"failed", "timeout"}:
        logger.warning("%s on %s, %s: %s", key.method, key.dataset, key.task, reason)


def _ran(
    python: Path, method: Method, files: TaskFiles, seed: int, limit: float | None, settings: Settings, folder: Path
) -> tuple[Status, str | None, dict[str, Any]]:
    """Run the script in `folder`; return its status, the reason, and its time and memory."""
    command = [str(python), str(method.folder / method.script), "--task", str(files.task.absolute())]
    command += ["--truth", str(files.truth.absolute()), "--out", str(folder / "result.npz"), "--seed", str(seed)]
    if limit is not None:
        command += ["--seconds", str(limit)]
    log = folder / "log.txt"
    usage = measure(command, log=log, environment=_environment(method, settings.threads), timeout=settings.timeout)
    measured: dict[str, Any] = {"wall_s": usage.wall_s, "cpu_s": usage.cpu_s, "rss_mb": usage.rss_mb}
    info = folder / "info.json"
    if info.is_file():
        measured |= json.loads(info.read_text(encoding="utf-8"))
        info.unlink()
    if usage.code is None:
        return "timeout", f"took more than {settings.timeout:g} s", measured
    if usage.code or not (folder / "result.npz").is_file():
        lines = [
            line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        last = " ".join(lines[-1:])[:300] or "it said nothing"
        return "failed", f"exit code {usage.code}: {last}", measured
    return "ok", None, measured


def _environment(method: Method, threads: int) -> dict[str, str]:
    found = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        found[name] = str(threads)
    if method.environment is None:
        found["PYTHONPATH"] = str(Path(midas.__file__).parents[1])
    return found


def _score(out: Path, key: Key, source: BenchmarkDataset, files: TaskFiles, instrument: Instrument) -> None:
    folder = key.folder(out)
    if _status(folder) != "ok" or (folder / "scores.json").is_file():
        return
    try:
        scores = instrument.score(source, key.task, files.task.parent, folder / "result.npz")
        content = {name: float(value) for name, value in scores.items()}
    except ImportError:
        raise  # a missing scoring package is not the result's fault; it is scored later
    except Exception as error:  # noqa: BLE001 - a result may be wrong in any way, and the other runs go on
        _could_not_be_scored(folder, key, error)
        return
    _write_json(folder / "scores.json", content)


def _could_not_be_scored(folder: Path, key: Key, error: Exception) -> None:
    """Mark a successful run as failed, with the reason."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    reason = f"could not be scored: {said}"
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    _write_json(folder / "run.json", {**record, "status": "failed", "reason": reason})
    logger.warning("%s on %s, %s: %s", key.method, key.dataset, key.task, reason)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    with replacing(file) as scratch:
        scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
