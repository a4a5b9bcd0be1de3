"""A page that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mudata as md
import pytest
from pages import HOSTILE, flat, hostile

import midas
from helpers import tiny
from midas.reporting import content


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "plane", flat)


@pytest.fixture(scope="session")
def integrated() -> tuple[midas.MIDAS, md.MuData]:
    mdata = hostile()
    return midas.MIDAS(mdata, config=tiny(epochs=3, validation_fraction=0.2)).fit(progress=False), mdata


@pytest.fixture(scope="session")
def page(integrated: tuple[midas.MIDAS, md.MuData], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    model, mdata = integrated
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "plane", flat)
        path = tmp_path_factory.mktemp("report") / "report.html"
        yield midas.report(model, mdata, path, title=f"Title {HOSTILE}", label="cell_type", features=["adt:PROT01"])
