"""The examples in the docstrings print what they say, and every public function of the downstream packages has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import midas
from midas import metrics, pl, pp, tl

mpl.use("Agg")
MODULES = [f"{p.__name__}.{m.name}" for p in (tl, pl, pp, metrics) for m in pkgutil.iter_modules(p.__path__)]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name), extraglobs={"midas": midas})
    plt.close("all")
    assert found.failed == 0


@pytest.mark.parametrize("package", [tl, pl, pp])
def test_every_public_function_has_an_example(package: ModuleType) -> None:
    functions = [getattr(package, name) for name in package.__all__ if name[0].islower()]
    assert [f.__name__ for f in functions if ">>>" not in (f.__doc__ or "")] == []
