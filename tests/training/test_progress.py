"""Progress is a bar in a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import pytest

from midas.training.progress import Progress

RECORD = {"epoch": 2.0, "total": 12.5, "reconstruction_rna": 3.25, "kl_c": 0.125, "seconds": 1.0, "val_total": 99.5}


def shown(*, on: bool) -> None:
    with Progress(40, shown=on) as bar:
        for _ in range(25):
            bar.advance()
        bar.epoch(RECORD, 40)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")


@pytest.mark.usefixtures("terminal")
def test_an_epochs_terms_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    shown(on=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    for part in ("epoch 3", "total 12.5  held out 99.5  rna 3.25  kl c 0.125"):
        assert part in printed.err
    assert "seconds" not in printed.err


@pytest.mark.usefixtures("terminal")
def test_a_narrow_terminal_shows_the_total_and_no_part_of_a_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Progress(40, shown=True) as bar:
        bar.epoch({"epoch": 999.0, "reconstruction_rna": 1000.5, "kl_c": 10.25, "total": -1234.56}, 40)
    printed = capsys.readouterr().err
    assert "total -1234.6" in printed
    assert "rna" not in printed or "rna 1000.5" in printed
    assert "\u2026" not in printed


def test_outside_of_a_terminal_there_is_a_line_at_each_tenth_of_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(40, done=20, shown=True) as bar:
        for epoch in range(5, 10):
            for _ in range(4):
                bar.advance()
            bar.epoch({"epoch": float(epoch), "total": 12.5, "reconstruction_rna": 3.25}, 40)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("epoch 6: total 12.5; step 24 of 40, 0:00:00 passed, about 0:00:00 left")


def test_outside_of_a_terminal_there_is_a_line_each_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("midas.training.progress.time.monotonic", lambda: now)
    with Progress(1000, shown=True) as bar:
        for _ in range(7):
            now += 30.0
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"training; step {n} of 1" for n in (2, 4, 6)]
    assert lines[0].endswith("0:01:00 passed, about 8:19:00 left")


def test_steps_that_are_done_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with Progress(40, done=15, shown=False) as bar:
        for _ in range(5):
            bar.advance()
    assert bar._bar.tasks[0].completed == 20


def test_nothing_is_shown_when_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    shown(on=False)
    assert capsys.readouterr() == ("", "")
