"""Pictures. Needs the extra ``plots``: ``pip install "midas-mosaic[plots]"``."""

from midas.pl.embedding import umap

__all__ = ["umap"]
