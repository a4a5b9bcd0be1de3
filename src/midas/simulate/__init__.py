"""Trimodal mosaics with known truth."""

from midas.keys import TRUTH
from midas.simulate.config import MODALITIES, SimulationConfig
from midas.simulate.make import Simulation, mosaic, mosaic_with_truth

__all__ = ["MODALITIES", "TRUTH", "Simulation", "SimulationConfig", "mosaic", "mosaic_with_truth"]
