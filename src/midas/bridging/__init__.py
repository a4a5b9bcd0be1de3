"""Bridges where a mosaic has none: cells of different modalities paired by the genes that their features stand for."""

from midas.bridging.bridge import Bridge, bridged

__all__ = ["Bridge", "bridged"]
