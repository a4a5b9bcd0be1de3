"""Trimodal mosaics with known truth."""

from midas.simulate.config import MODALITIES, SimulationConfig
from midas.simulate.make import TRUTH, Simulation, mosaic, mosaic_with_truth

__all__ = ["MODALITIES", "TRUTH", "Simulation", "SimulationConfig", "mosaic", "mosaic_with_truth"]
