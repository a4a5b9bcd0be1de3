"""Helpers shared by plots and report: two-dimensional layout of cells, and which columns get a colour scale."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas.expect import sklearn_seed
from midas.extras import needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


def umap_of(z: NDArray[Any], seed: int) -> NDArray[np.float32]:
    """UMAP coordinates of three cells or more, `(n_cells, 2)`."""
    n = len(z)
    logger.info(
        "Laying out %s cells; the first time in a process takes up to a minute while code is compiled.", f"{n:,}"
    )
    with needs("umap-learn", "plots"):
        import umap  # noqa: PLC0415 - optional, and slow to import

    reducer = umap.UMAP(
        n_neighbors=min(30, n - 1),
        min_dist=0.3,
        random_state=sklearn_seed(seed),
        n_jobs=1,
        init="spectral" if n > 10 else "random",  # spectral initialisation needs more than a few cells
    )
    return np.asarray(reducer.fit_transform(z), dtype=np.float32)


def is_number(values: pd.Series) -> bool:
    """Whether values are drawn with a colour scale instead of a legend."""
    return bool(pd.api.types.is_numeric_dtype(values)) and not pd.api.types.is_bool_dtype(values)
