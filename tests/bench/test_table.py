"""Aggregation with known answers, and what is written of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from midas.bench.figures import write_figures
from midas.bench.table import runs, summarise, write_tables


def put(out: Path, method: str, seed: int, scores: dict[str, float] | None, task: str = "split", **run: object) -> None:
    folder = out / "runs" / "wnn" / task / method / str(seed)
    folder.mkdir(parents=True)
    record = {"status": "ok", "reason": None, "cpu_s": 10.0, "wall_s": 20.0, "rss_mb": 500.0} | run
    (folder / "run.json").write_text(json.dumps(record))
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps(scores))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    put(tmp_path, "pca", 0, {"overall": 0.25, "foscttm": 0.5}, limit_s=9.0)
    put(tmp_path, "midas", 0, {"overall": 0.5, "foscttm": 0.1, "r_adt": 0.4})
    put(tmp_path, "midas", 1, {"overall": 0.7, "foscttm": 0.3, "r_adt": 0.4}, cpu_s=30.0)
    put(tmp_path, "midas", 2, {"overall": 0.6, "foscttm": 0.2, "r_adt": 0.4}, cpu_s=20.0)
    put(tmp_path, "totalvi", 0, None, status="cannot", reason="needs RNA in every cell", cpu_s=None)
    put(tmp_path, "mofa", 0, {"overall": 0.3}, cpu_s=5.0)
    put(tmp_path, "mofa", 1, None, status="failed", reason="exit code 1: ouch")
    put(tmp_path, "midas", 0, {"overall": 0.9}, task="given")
    return tmp_path


def row(summary: pd.DataFrame, method: str, task: str = "split") -> pd.Series[Any]:
    found = summary[(summary["method"] == method) & (summary["task"] == task)]
    assert len(found) == 1
    return found.iloc[0]


def test_mean_and_spread_over_seeds(out: Path) -> None:
    summary = summarise(runs(out))
    midas = row(summary, "midas")
    assert midas["overall"] == pytest.approx(0.6)
    assert midas["overall sd"] == pytest.approx(0.1)
    assert midas["r_adt sd"] == pytest.approx(0, abs=1e-12)
    assert (midas["cpu_s"], midas["cpu_s sd"]) == (20, 10)
    assert (midas["seeds"], midas["status"]) == (3, "ok")
    assert pd.isna(row(summary, "pca")["overall sd"])  # one seed has no spread
    assert row(summary, "midas", "given")["overall"] == 0.9


def test_a_seed_that_failed_marks_the_row_and_does_not_count(out: Path) -> None:
    mofa = row(summarise(runs(out)), "mofa")
    assert (mofa["seeds"], mofa["status"], mofa["reason"], mofa["overall"]) == (1, "failed", "exit code 1: ouch", 0.3)


def test_rows_come_in_the_order_of_the_registries(out: Path) -> None:
    summary = summarise(runs(out))
    assert list(zip(summary["task"], summary["method"], strict=True)) == [
        ("given", "midas"),
        ("split", "midas"),
        ("split", "totalvi"),
        ("split", "mofa"),
        ("split", "pca"),
    ]


def test_nothing_run_is_an_empty_table(tmp_path: Path) -> None:
    summary = summarise(runs(tmp_path))
    assert summary.empty
    assert "status" in summary


def test_the_written_table_says_best_missing_and_why(out: Path) -> None:
    (out / "settings.json").write_text(json.dumps({"cells": 1000, "seconds": 30.0, "timeout": 60, "threads": 1}))
    write_tables(out, scores=("overall", "foscttm", "r_adt", "never"), titles={"overall": "Overall"})
    text = (out / "table.md").read_text()
    assert "| method | Overall | foscttm | r_adt | CPU s | wall s | peak MB |" in text
    assert (
        "| midas | **0.600** ± 0.100 | **0.200** ± 0.100 | **0.400** ± 0.000 | 20.0 ± 10.0 | 20.0 ± 0.0 | 500 ± 0 |"
        in text
    )
    assert "†: stopped after a given time of training" in text
    assert "| † pca | 0.250 | 0.500 | · | 10.0 | 20.0 | 500 |" in text  # farther from the truth is not best
    assert "- totalvi: cannot; needs RNA in every cell" in text
    assert "- mofa: failed (1 seeds succeeded); exit code 1: ouch" in text
    assert "at most 1,000 cells of each task; no more than 30 CPU seconds" in text
    assert "- totalvi: scvi-tools, defaults" in text
    assert "- wnn: PBMC CITE-seq" in text
    table = pd.read_csv(out / "table.csv")
    assert len(table) == 5
    assert "overall sd" in table


def test_figures_are_drawn_of_what_there_is(out: Path) -> None:
    pytest.importorskip("matplotlib")
    files = write_figures(out, summarise(runs(out)), ("overall", "foscttm", "never"), "overall", {})
    assert [f.name for f in files] == [
        "heat_wnn_given.png", "heat_wnn_split.png", "quality_over_seconds.png", "memory.png",
    ]  # fmt: skip
    assert all(f.stat().st_size > 5000 for f in files)
