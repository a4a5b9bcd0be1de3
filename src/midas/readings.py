"""How a model reads its own cells by fewer modalities than they have, and without their batch: as it would read a query's.

Such readings lie less surely where their cells belong, so that the confidence of a query's labels is judged by those of the
modalities that its cells have.
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
"""Enough to tell how often a reading errs."""
_FEWEST: Final = 100  # tell nothing of how often a reading errs
_MOST_COMBINATIONS: Final = 31  # of five modalities; of more, the smallest and the largest


@dataclass(frozen=True)
class Readings:
    """Biological states of some cells, read by each combination of modalities.

    Attributes
    ----------
    rows
        Of the cells in the model's table of cells, `(n,)`.
    c
        By combination (``"adt+rna"``), `(n, dim_c)`; NaN for cells that lack one of its modalities.
    """

    rows: NDArray[np.int64]
    c: Mapping[str, NDArray[np.float32]]

    def get(self, combination: str) -> NDArray[np.float32] | None:
        """States read by these modalities, those left out that the model has not; None where too few cells were."""
        known = {name for key in self.c for name in key.split("+")}
        found = self.c.get("+".join(name for name in combination.split("+") if name in known))
        return found if found is not None and int(np.isfinite(found).all(1).sum()) >= _FEWEST else None


def read_by_combination(vae: VAE, mosaic: Mosaic, rows: NDArray[np.int64] | None = None, *, seed: int) -> Readings:
    """Read some cells, 4,000 at most, by each combination of modalities that a hundred of them have.

    Parameters
    ----------
    vae
        Trained.
    mosaic
        Cells and their counts.
    rows
        Their rows in the model's table of cells, `(n_cells,)`; None where the table is of these cells in this order.
    seed
        Of the choice of cells.
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
