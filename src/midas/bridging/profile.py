"""Profiles of cells for matching across modalities: values by gene, and principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.sparse as sp

from midas.expect import sklearn_seed
from midas.neighbours import Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.modality import Transform

_DIRECTIONS: Final = 20
_NEIGHBOURS: Final = 15
_MOST_SDS: Final = 10  # clipping of z-scores: otherwise, a gene detected in few cells would dominate a component
_MOST_FEATURES: Final = 3_000  # most frequently detected features, which determine the main components
_DENSE: Final = 0.5  # fraction of non-zero counts above which a modality is treated as a protein panel


@dataclass(frozen=True)
class Profile:
    """Some cells of one modality.

    Attributes
    ----------
    genes
        Symbols, sorted, `(n_genes,)`.
    by_gene
        Gene values averaged over each cell's neighbours, standardised within batches, `(n_cells, n_genes)`.
    directions
        Principal components, standardised within batches beforehand, `(n_cells, n_directions)`.
    """

    genes: NDArray[np.str_]
    by_gene: NDArray[np.float64]
    directions: NDArray[np.float64]


def profile(
    counts: sp.csr_matrix, gene: NDArray[np.object_], batch: NDArray[np.int64], *, transform: Transform, seed: int
) -> Profile:
    """Compute gene values and principal components of cells.

    Parameters
    ----------
    counts
        `(n_cells, n_features)`.
    gene
        Gene symbol of each feature, `(n_features,)`; empty if there is none.
    batch
        Of each cell.
    transform
        Transform of the modality: ``binarize`` uses only zero or non-zero, ``identity`` is for values that are not
        counts.
    seed
        Of the decomposition.
    """
    normal = _normalised(counts, transform)
    genes, column = np.unique(gene[gene != ""].astype(str), return_inverse=True)
    linked = normal[:, np.flatnonzero(gene != "")]
    place = sp.csr_matrix((np.ones(len(column)), (np.arange(len(column)), column)), shape=(len(column), len(genes)))
    values = np.asarray((linked @ place).todense(), dtype=np.float64)
    directions = _directions(normal, batch, seed)
    smooth = np.empty_like(values)
    for code in np.unique(batch):
        mine = np.flatnonzero(batch == code)
        near = Index(directions[mine]).of_points(max(1, min(_NEIGHBOURS, len(mine) // 4)))[1]
        smooth[mine] = values[mine][near].mean(1)
    return Profile(genes, _standard(smooth, batch), directions)


def _normalised(counts: sp.csr_matrix, transform: Transform) -> sp.csr_matrix:
    """Log of depth-normalised counts; protein panels, with few zeros, are centred per cell instead."""
    x = sp.csr_matrix(counts, dtype=np.float64)
    if transform == "identity":
        return x
    if transform == "binarize":
        x.data[:] = 1.0
    if x.nnz > _DENSE * x.shape[0] * x.shape[1]:
        dense = np.log1p(np.asarray(x.todense()))
        return sp.csr_matrix(dense - dense.mean(1, keepdims=True))
    depth = np.asarray(x.sum(1)).ravel()
    scale = sp.diags_array(np.median(depth) / np.maximum(depth, 1.0))
    return sp.csr_matrix((scale @ x).log1p())


def _directions(normal: sp.csr_matrix, batch: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415 - slow to import, and most mosaics need none of this

    often = np.bincount(normal.indices, minlength=normal.shape[1])
    kept = np.sort(np.argsort(-often, kind="stable")[:_MOST_FEATURES])
    scaled = np.clip(_standard(np.asarray(normal[:, kept].todense()), batch), -_MOST_SDS, _MOST_SDS)
    rank = min(_DIRECTIONS, min(scaled.shape) - 1)
    left, size, _ = randomized_svd(scaled, max(1, rank), random_state=sklearn_seed(seed))
    found: NDArray[np.float64] = left * size
    return found


def _standard(values: NDArray[np.float64], batch: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standardise columns within batches; constant columns become zero."""
    out = np.zeros_like(values)
    for code in np.unique(batch):
        mine = batch == code
        spread = values[mine].std(0)
        out[mine] = (values[mine] - values[mine].mean(0)) / np.where(spread > 1e-9, spread, np.inf)
    return out
