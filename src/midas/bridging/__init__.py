"""Diagonal integration: link modalities without shared cells by pseudo-cells composed of matched cells."""

from midas.bridging.by_genes import Bridge, bridged_by_genes
from midas.bridging.by_state import bridged_by_state

__all__ = ["Bridge", "bridged_by_genes", "bridged_by_state"]
