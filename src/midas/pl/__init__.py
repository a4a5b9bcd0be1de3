"""Plots. Needs the extra ``plots``: ``pip install "midas-mosaic[plots]"``.

Every function returns the axes that it drew in, takes ``save=`` for a file, and ``ax=`` for axes of
yours where it draws one panel.
"""

from midas.pl.bars import contributions
from midas.pl.confusion import confusion
from midas.pl.counts import imputed
from midas.pl.dynamics import along_pseudotime, correlation
from midas.pl.embedding import embedding, umap
from midas.pl.fold_change import fold_changes
from midas.pl.grid import grid
from midas.pl.overview import mosaic
from midas.pl.scores import accessibility, unknown_score
from midas.pl.training import history

__all__ = [
    "accessibility",
    "along_pseudotime",
    "confusion",
    "contributions",
    "correlation",
    "embedding",
    "fold_changes",
    "grid",
    "history",
    "imputed",
    "mosaic",
    "umap",
    "unknown_score",
]
