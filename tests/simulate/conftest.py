"""A simulation that several files look at."""

from __future__ import annotations

import pytest
from small import CONFIG

from midas.simulate import Simulation, mosaic_with_truth


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    return mosaic_with_truth(CONFIG, seed=1)
