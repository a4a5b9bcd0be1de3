"""The examples in the docstrings of the preparation run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import midas
from midas import pp

MODULES = [f"midas.pp.{module.name}" for module in pkgutil.iter_modules(pp.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name), extraglobs={"midas": midas})
    assert found.failed == 0


def test_every_public_function_has_an_example() -> None:
    functions = [getattr(pp, name) for name in pp.__all__ if name[0].islower()]
    assert [f.__name__ for f in functions if "Examples" not in (f.__doc__ or "")] == []
