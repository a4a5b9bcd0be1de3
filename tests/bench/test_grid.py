"""The grid with tiny methods: success, failure, too long, cannot, no environment, interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mudata as md
import pytest

from midas.bench import BenchmarkDataset, Method, Settings, Shape, run_grid
from midas.bench.grid import Instrument, Key
from midas.bench.registry import Environment
from midas.bench.table import runs

SHAPE = Shape(frozenset({"rna", "adt"}), frozenset({frozenset({"rna"}), frozenset({"rna", "adt"})}))
SETTINGS = Settings(cells=10, timeout=20)
HEAD = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
for name in ("--task", "--truth", "--out"):
    parser.add_argument(name, type=pathlib.Path)
parser.add_argument("--seed", type=int)
parser.add_argument("--seconds", type=float)
args = parser.parse_args()
"""
GOOD = """
args.out.write_bytes(b"result")
text = json.dumps({"train_cpu_s": 3.5, "given": args.seconds})
args.out.with_name("info.json").write_text(text)
"""


def never(folder: Path | None) -> md.MuData:
    raise AssertionError(folder)


SOURCE = BenchmarkDataset("toy", never, ("easy", "hard"), "nothing")


class Fakes:
    """Makes empty tasks, scores every result 0.5, and counts."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.scored: list[Path] = []

    def make(self, source: BenchmarkDataset, task: str, settings: Settings, folder: Path) -> Shape:
        assert (source, settings.cells) == (SOURCE, 10)
        for name in ("task.h5mu", "truth.h5mu"):
            (folder / name).write_text("")
        self.made.append(task)
        return SHAPE

    def score(self, source: BenchmarkDataset, task: str, folder: Path, result: Path) -> Mapping[str, float]:
        assert (folder / "truth.h5mu").is_file()
        assert result.read_bytes() == b"result"
        self.scored.append(result)
        return {"overall": 0.5}


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


def method(folder: Path, name: str, body: str = GOOD, **changes: object) -> Method:
    (folder / f"{name}.py").write_text(HEAD + body)
    return replace(Method(name, f"{name}.py", "a toy", folder=folder), **changes)


def go(out: Path, fakes: Fakes, *methods: Method, seeds: tuple[int, ...] = (0,), **changes: object) -> None:
    options: dict[str, Any] = {"settings": SETTINGS, "environments": out / "none", "retry": False} | changes
    instrument = Instrument(fakes.make, fakes.score)
    run_grid(out, [(SOURCE, "easy")], methods, seeds=seeds, instrument=instrument, **options)


def record(out: Path, name: str, seed: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Key("toy", "easy", name, seed).folder(out) / "run.json").read_text())
    return found


def test_a_run_leaves_its_result_its_costs_and_its_scores(tmp_path: Path, fakes: Fakes) -> None:
    go(tmp_path / "out", fakes, method(tmp_path, "good"), seeds=(0, 4))
    folder = Key("toy", "easy", "good", 4).folder(tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["log.txt", "result.npz", "run.json", "scores.json"]
    found = record(tmp_path / "out", "good", 4)
    assert (found["status"], found["reason"], found["train_cpu_s"]) == ("ok", None, 3.5)
    assert 0 < found["cpu_s"] <= 10
    assert 1 < found["rss_mb"] < 60  # of that script, not of this process, which started it
    assert fakes.made == ["easy"]
    table = runs(tmp_path / "out")
    assert table["score:overall"].tolist() == [0.5, 0.5]
    assert table["seed"].tolist() == [0, 4]


def test_cpu_and_memory_of_children_count(tmp_path: Path, fakes: Fakes) -> None:
    work = """
import subprocess, sys
code = "import time; x = bytearray(80_000_000); t = time.process_time()\\nwhile time.process_time() - t < 0.4: pass"
subprocess.run([sys.executable, "-c", code], check=True)
"""
    go(tmp_path / "out", fakes, method(tmp_path, "parent", work + GOOD))
    found = record(tmp_path / "out", "parent")
    assert found["cpu_s"] >= 0.4
    assert found["rss_mb"] >= 80


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('no good')", "exit code 1: RuntimeError: no good"),
        ("pass", "exit code 0: it said nothing"),  # ended well, but left no result
    ],
)
def test_a_failure_is_kept_with_its_last_words_and_the_others_go_on(
    tmp_path: Path, fakes: Fakes, body: str, reason: str
) -> None:
    go(tmp_path / "out", fakes, method(tmp_path, "bad", body), method(tmp_path, "good"))
    found = record(tmp_path / "out", "bad")
    assert (found["status"], found["reason"]) == ("failed", reason)
    assert (Key("toy", "easy", "bad", 0).folder(tmp_path / "out") / "log.txt").is_file()
    assert record(tmp_path / "out", "good")["status"] == "ok"
    assert len(fakes.scored) == 1


def test_a_result_that_cannot_be_scored_fails_alone_and_is_repeated_on_request(tmp_path: Path, fakes: Fakes) -> None:
    out, score = tmp_path / "out", fakes.score
    methods = method(tmp_path, "bad"), method(tmp_path, "good")

    def refuse(source: BenchmarkDataset, task: str, folder: Path, result: Path) -> Mapping[str, float]:
        if result.parts[-3] == "bad":
            raise ValueError("Expected an embedding\nof all cells.")
        return score(source, task, folder, result)

    fakes.score = refuse  # type: ignore[method-assign]
    go(out, fakes, *methods)
    found = record(out, "bad")
    assert (found["status"], found["reason"]) == ("failed", "could not be scored: Expected an embedding of all cells.")
    assert found["train_cpu_s"] == 3.5
    assert record(out, "good")["status"] == "ok"
    fakes.score = score  # type: ignore[method-assign]
    go(out, fakes, *methods)
    assert record(out, "bad")["status"] == "failed"
    go(out, fakes, *methods, retry=True)
    assert record(out, "bad")["status"] == "ok"
    assert [p.parts[-3] for p in fakes.scored] == ["good", "bad"]


def test_a_package_that_scoring_lacks_is_no_fault_of_the_result(tmp_path: Path, fakes: Fakes) -> None:
    def lacking(*_: object) -> Mapping[str, float]:
        raise ImportError("Expected the package igraph")

    fakes.score = lacking  # type: ignore[method-assign]
    with pytest.raises(ImportError, match="igraph"):
        go(tmp_path / "out", fakes, method(tmp_path, "good"))
    assert record(tmp_path / "out", "good")["status"] == "ok"


def test_a_method_that_takes_too_long_is_ended_with_its_children(tmp_path: Path, fakes: Fakes) -> None:
    body = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
time.sleep(60)
"""
    start = time.perf_counter()
    go(tmp_path / "out", fakes, method(tmp_path, "slow", body), settings=replace(SETTINGS, timeout=2.0))
    assert time.perf_counter() - start < 15
    found = record(tmp_path / "out", "slow")
    assert (found["status"], found["reason"]) == ("timeout", "took more than 2 s")
    child = Path("/proc") / (tmp_path / "pid").read_text()
    assert not child.exists() or "Z (zombie)" in (child / "status").read_text()


def test_what_a_method_cannot_do_is_said_and_not_run(tmp_path: Path, fakes: Fakes) -> None:
    refusing = method(tmp_path, "picky", "raise SystemExit(3)", refuses=lambda shape: f"has {len(shape.modalities)}")
    homeless = method(tmp_path, "homeless", environment=Environment("nowhere", ("nothing==1",)))
    ancient = method(tmp_path, "ancient", environment=Environment("old", (), newest=(3, 1), oldest=(3, 0)))
    go(tmp_path / "out", fakes, refusing, homeless, ancient)
    assert record(tmp_path / "out", "picky")["status"] == "cannot"
    assert record(tmp_path / "out", "picky")["reason"] == "has 2"
    assert record(tmp_path / "out", "homeless")["status"] == "missing"
    assert "midas bench OUT --setup --methods homeless" in record(tmp_path / "out", "homeless")["reason"]
    assert record(tmp_path / "out", "ancient")["reason"].startswith("needs Python 3.0 to 3.1, found 3.")
    assert fakes.scored == []


def test_only_methods_that_iterate_get_the_limit_and_equal_time_is_that_of_the_other(
    tmp_path: Path, fakes: Fakes
) -> None:
    ours, theirs = method(tmp_path, "ours"), method(tmp_path, "theirs", iterates=True)
    equal = replace(theirs, name="equal", as_long_as="ours")
    settings = replace(SETTINGS, seconds=7.0)
    go(tmp_path / "a", fakes, ours, theirs, equal, settings=settings)
    assert [record(tmp_path / "a", n)["given"] for n in ("ours", "theirs", "equal")] == [None, 7.0, 3.5]
    go(tmp_path / "b", fakes, equal, settings=settings)
    assert record(tmp_path / "b", "equal")["reason"] == "needs a finished run of ours on the same task and seed"
    go(tmp_path / "b", fakes, ours, equal, settings=settings)  # `missing` is tried again
    assert record(tmp_path / "b", "equal")["given"] == 3.5


def test_finished_runs_are_not_repeated_and_failures_only_on_request(tmp_path: Path, fakes: Fakes) -> None:
    marks = tmp_path / "marks"
    mark = f"with open({str(marks)!r}, 'a') as f: f.write(args.out.parts[-2] + args.out.parts[-4] + chr(10))\n"
    good, bad = method(tmp_path, "good", mark + GOOD), method(tmp_path, "bad", mark + "raise SystemExit(1)")
    for _ in range(2):
        go(tmp_path / "out", fakes, good, bad)
    assert len(marks.read_text().split()) == 2
    assert len(fakes.scored) == 1
    assert fakes.made == ["easy"]
    go(tmp_path / "out", fakes, good, bad, retry=True)
    assert len(marks.read_text().split()) == 3
    # A run that was scored by an older measure can be scored again by itself.
    (Key("toy", "easy", "good", 0).folder(tmp_path / "out") / "scores.json").unlink()
    go(tmp_path / "out", fakes, good, bad)
    assert len(fakes.scored) == 2
    assert len(marks.read_text().split()) == 3


def test_other_settings_want_another_folder(tmp_path: Path, fakes: Fakes) -> None:
    go(tmp_path / "out", fakes, method(tmp_path, "good"))
    with pytest.raises(ValueError, match="Choose another folder"):
        go(tmp_path / "out", fakes, method(tmp_path, "good"), settings=replace(SETTINGS, cells=11))


def test_a_grid_that_was_killed_goes_on(tmp_path: Path, fakes: Fakes) -> None:
    """Killed in the middle of its second run: the first is kept, nothing half-done is taken for a result."""
    stop = tmp_path / "stop"
    stop.write_text("")
    body = "import time\nargs.out.with_name('half').write_text('')\n"
    body += f"while pathlib.Path({str(stop)!r}).exists(): time.sleep(0.02)\n"
    method(tmp_path, "first")
    method(tmp_path, "second", body + GOOD)
    (tmp_path / "grid.py").write_text(
        f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from test_grid import Fakes, Method, go
here = Path({str(tmp_path)!r})
go(here / "out", Fakes(), *(Method(n, n + ".py", "", folder=here) for n in ("first", "second")))
"""
    )
    grid = subprocess.Popen([sys.executable, str(tmp_path / "grid.py")])
    second = Key("toy", "easy", "second", 0).folder(tmp_path / "out")
    until = time.perf_counter() + 30
    while not list(second.parent.glob(".0-*/0/half")) and time.perf_counter() < until:
        time.sleep(0.05)
    grid.send_signal(signal.SIGKILL)
    grid.wait()
    stop.unlink()
    assert not second.exists()
    assert list(second.parent.glob(".0-*"))
    go(tmp_path / "out", fakes, *(Method(n, f"{n}.py", "", folder=tmp_path) for n in ("first", "second")))
    assert record(tmp_path / "out", "second")["status"] == "ok"
    assert [p.name for p in second.parent.iterdir()] == ["0"]
    assert fakes.made == []
    assert [p.parts[-3] for p in fakes.scored] == ["second"]
