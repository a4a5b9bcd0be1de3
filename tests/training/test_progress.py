"""The progress bar shows the terms, or nothing."""

from __future__ import annotations

import pytest

from midas.training.progress import Progress

RECORD = {"epoch": 2.0, "total": 12.5, "reconstruction_rna": 3.25, "kl_c": 0.125, "seconds": 1.0, "val_total": 99.5}


def shown(*, on: bool) -> None:
    with Progress(40, shown=on) as bar:
        for _ in range(25):
            bar.advance()
        bar.epoch(RECORD, 40)


def test_an_epochs_terms_are_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    shown(on=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    for part in ("epoch 3", "held out 99.5", "total 12.5", "rna 3.25", "kl c 0.125"):
        assert part in printed.err
    assert "seconds" not in printed.err


def test_nothing_is_shown_when_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    shown(on=False)
    assert capsys.readouterr() == ("", "")
