"""Encode a model's own cells from subsets of their modalities and without their batch, as a query would be encoded.

Fewer modalities place a cell less accurately. The confidence of a query's labels is therefore calibrated on reference
cells encoded from the same modalities as the query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from midas.draw import at_most
from midas.inference import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.nn import VAE

MOST_CELLS: Final = 4000
"""Enough cells to estimate error rates."""
_FEWEST: Final = 100  # with fewer cells, error rates are not estimated
_MOST_COMBINATIONS: Final = 31  # all of five modalities; with more, the smallest subsets and the full set


@dataclass(frozen=True)
class Readings:
    """Biological states of some cells, encoded from each combination of modalities.

    Attributes
    ----------
    rows
        Row numbers in the model's table of cells, `(n,)`.
    c
        By combination (``"adt+rna"``), `(n, dim_c)`; NaN for cells that lack one of its modalities.
    """

    rows: NDArray[np.int64]
    c: Mapping[str, NDArray[np.float32]]

    def get(self, combination: str) -> NDArray[np.float32] | None:
        """States for a combination, ignoring modalities unknown to the model; None if there are too few cells."""
        known = {name for key in self.c for name in key.split("+")}
        found = self.c.get("+".join(name for name in combination.split("+") if name in known))
        return found if found is not None and int(np.isfinite(found).all(1).sum()) >= _FEWEST else None


def read_by_combination(vae: VAE, mosaic: Mosaic, rows: NDArray[np.int64] | None = None, *, seed: int) -> Readings:
    """Encode up to 4,000 cells from each combination of modalities that at least 100 of them have.

    Parameters
    ----------
    vae
        Trained.
    mosaic
        Cells and their counts.
    rows
        Their row numbers in the model's table of cells, `(n_cells,)`; None if the table has the same cells in the same
        order.
    seed
        Random seed for subsampling cells.
    """
    order = mosaic.canonical_order()
    order = order[at_most(len(order), MOST_CELLS, np.random.default_rng([seed, 15]))]
    some = mosaic.load(order)
    present = {name: part.present for name, part in some.modalities.items()}
    found = {}
    for names in _combinations(tuple(present)):
        having = np.logical_and.reduce([present[name] for name in names])
        if int(having.sum()) < _FEWEST:
            continue
        c = encode(vae, some, names, with_batch=False).mean[:, : vae.dim_c]
        found["+".join(names)] = np.where(having[:, None], c, np.float32(np.nan))
    return Readings(order if rows is None else rows[order], found)


def _combinations(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    every = [some for size in range(1, len(names) + 1) for some in combinations(names, size)]
    return every if len(every) <= _MOST_COMBINATIONS else [*every[: _MOST_COMBINATIONS - 1], every[-1]]
