"""Fixtures that several files use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import mudata as md
import pytest
from hypothesis import settings

from helpers import query_of, simulated, tiny
from midas import MIDAS

if "OMP_NUM_THREADS" in os.environ:
    # Else the first parallel loop of numba gives OpenMP, and with it torch, as many threads as there are cores again.
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

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


@pytest.fixture(scope="session")
def _query() -> md.MuData:
    return query_of()


@pytest.fixture
def query(_query: md.MuData) -> md.MuData:
    """Cells of two batches that `mdata` lacks, without ATAC; a copy that a test may change."""
    with md.set_options(pull_on_update=False):
        return _query.copy()


@pytest.fixture(scope="session")
def saved(fitted: MIDAS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `fitted`, with its cells' latents, without counts; not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(folder)
    return folder


@pytest.fixture(scope="session")
def saved_with_counts(fitted: MIDAS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, with counts of 60 cells."""
    folder = tmp_path_factory.mktemp("saved_with_counts") / "model"
    fitted.save(folder, with_counts=60)
    return folder
