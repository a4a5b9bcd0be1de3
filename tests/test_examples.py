"""The examples in the docstrings give what they say, and every public function has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from midas import metrics, pl, tl

mpl.use("Agg")
MODULES = [f"{p.__name__}.{m.name}" for p in (tl, pl, metrics) for m in pkgutil.iter_modules(p.__path__)]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_examples(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    plt.close("all")
    assert found.failed == 0


@pytest.mark.parametrize("package", [tl, pl])
def test_every_public_function_has_an_example(package: object) -> None:
    functions = [getattr(package, name) for name in package.__all__ if name[0].islower()]
    assert [f.__name__ for f in functions if ">>>" not in f.__doc__] == []
