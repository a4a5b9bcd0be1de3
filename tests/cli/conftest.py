"""A working folder for commands."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import simulated, tiny
from midas.io import write_mudata


@pytest.fixture(autouse=True)
def _warnings_as_before() -> Iterator[None]:
    with warnings.catch_warnings():
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a mosaic and a small configuration."""
    write_mudata(tmp_path / "in.h5mu", simulated())
    tiny().to_toml(tmp_path / "tiny.toml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path
