"""Cells put together of matched ones, where no measured cells tie a mosaic's modalities: diagonal integration."""

from midas.bridging.by_genes import Bridge, bridged_by_genes
from midas.bridging.by_state import bridged_by_state

__all__ = ["Bridge", "bridged_by_genes", "bridged_by_state"]
