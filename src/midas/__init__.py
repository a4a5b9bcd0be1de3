"""MIDAS: mosaic integration of single-cell multimodal data."""
