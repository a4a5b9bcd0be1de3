"""Fixtures that several files use."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import mudata as md
import pytest
from hypothesis import settings

from helpers import simulated, tiny
from midas import MIDAS

settings.register_profile("midas", deadline=None, derandomize=True, database=None)
settings.load_profile("midas")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command line sets the package's logging up for itself; a later test must not notice."""
    package = logging.getLogger("midas")
    before = package.level, package.handlers[:], package.propagate
    yield
    package.setLevel(before[0])  # also forgets what was cached about enabled levels
    package.handlers, package.propagate = before[1], before[2]


@pytest.fixture(scope="session")
def _mosaic() -> md.MuData:
    return simulated()


@pytest.fixture
def mdata(_mosaic: md.MuData) -> md.MuData:
    """A mosaic of three modalities in three batches, some cells unpaired; a copy that a test may change."""
    with md.set_options(pull_on_update=False):  # else copying sorts the cells anew
        return _mosaic.copy()


@pytest.fixture(scope="session")
def fitted(_mosaic: md.MuData) -> MIDAS:
    """A model trained on `mdata`, not to be changed."""
    return MIDAS(_mosaic, config=tiny()).fit(progress=False)
