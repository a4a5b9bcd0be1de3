"""Small configurations, and how simulations are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from midas.simulate import SimulationConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray


CONFIG = SimulationConfig(n_cells=2000)
SMALL = SimulationConfig(n_cells=120, n_genes=60, n_proteins=8, n_peaks=90, n_chromosomes=5)


def with_changes(config: SimulationConfig, **changes: object) -> SimulationConfig:
    values: dict[str, Any] = {**config.to_dict(), **changes}
    return SimulationConfig(**values)


def log_normalised(counts: sp.csr_matrix) -> NDArray[np.float64]:
    dense = counts.toarray().astype(np.float64)
    return np.log1p(1000 * dense / dense.sum(1, keepdims=True))


def knn_accuracy(embedding: NDArray[np.floating], labels: pd.Series) -> float:
    return float(cross_val_score(KNeighborsClassifier(15), embedding, labels.astype(str), cv=4).mean())


def assert_equal(a: md.MuData, b: md.MuData) -> None:
    pd.testing.assert_frame_equal(a.obs, b.obs)
    np.testing.assert_array_equal(a.obsm["X_truth"], b.obsm["X_truth"])
    assert list(a.mod) == list(b.mod)
    for name in a.mod:
        pd.testing.assert_frame_equal(a[name].obs, b[name].obs)
        pd.testing.assert_frame_equal(a[name].var, b[name].var)
        assert (a[name].X != b[name].X).nnz == 0
