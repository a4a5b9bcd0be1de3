"""``midas bench`` from the command to the table, with tiny methods and a source that makes its own data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import mudata as md
import pytest
from typer.testing import CliRunner, Result

from helpers import simulated
from midas.bench import BenchmarkDataset, Method, data, registry, scoring, table
from midas.cli import app

SCRIPT = """
from task_file import arguments, joined_components, read, write
args = arguments()
task = read(args.task)
write(args.out, task, {"embedding": joined_components(task, args.seed)}, train_cpu_s=1.0)
"""


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False)


@pytest.fixture
def _toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One data set, three methods, and a score that needs no other package."""

    def load(folder: Path | None) -> md.MuData:
        assert folder == tmp_path
        return simulated()

    def score(source: BenchmarkDataset, task: str, folder: Path, result: Path) -> Mapping[str, float]:
        assert result.is_file()
        return {scoring.OVERALL: 0.25}

    (tmp_path / "task_file.py").symlink_to(registry.SCRIPTS / "task_file.py")
    (tmp_path / "good.py").write_text(SCRIPT)
    (tmp_path / "bad.py").write_text("raise RuntimeError('ouch')")
    methods = {
        "good": Method("good", "good.py", "components", folder=tmp_path),
        "bad": Method("bad", "bad.py", "fails", folder=tmp_path),
        "never": Method("never", "good.py", "refuses", refuses=lambda _: "is not in the mood", folder=tmp_path),
    }
    sources = {"toy": BenchmarkDataset("toy", load, ("given",), "It shows nothing.")}
    for module in (registry, table):
        monkeypatch.setattr(module, "METHODS", MappingProxyType(methods))
    for module in (data, table):
        monkeypatch.setattr(module, "SOURCES", MappingProxyType(sources))
    monkeypatch.setattr(scoring, "score", score)


@pytest.mark.usefixtures("_toys")
def test_from_command_to_table(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    command = (str(out), "--data", str(tmp_path), "--methods", "good,bad,never", "--seeds", "0,2", "--cells", "90")
    result = bench(*command, "--setup")
    assert result.exit_code == 0, result.output
    text = (out / "table.md").read_text()
    assert "| good | **0.250** ± 0.000 |" in text
    assert "- bad: failed; exit code 1: RuntimeError: ouch" in text
    assert "- never: cannot; is not in the mood" in text
    assert "- toy: It shows nothing." in text
    assert {p.name for p in out.glob("*.png")} == {"heat_toy_given.png", "quality_over_seconds.png", "memory.png"}
    assert bench(*command, "--quiet").output == ""  # nothing left to do
    other = bench(*command[:-1], "80")
    assert other.exit_code == 1
    assert "Choose another folder" in other.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "magic"), "found magic"),
        (("--datasets", "nowhere"), "found nowhere"),
        (("--tasks", "nothing"), "found nothing"),
        (("--datasets", "wnn", "--seeds", "one"), "found 'one'"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_written(
    tmp_path: Path, options: tuple[str, str], message: str
) -> None:
    result = bench(str(tmp_path / "out"), *options)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "out").exists()
