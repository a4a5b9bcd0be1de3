"""How far the model's fold changes are from those of the counts, beyond what few counts explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from midas.data.rows import measured_counts
from midas.inference import decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data import Mosaic
    from midas.inference import Encoded
    from midas.model import MIDAS

_ROWS_AT_ONCE = 4096
_BINS = 10
_LEAST_IN_BIN = 20
_LEAST_CELLS = 10


def model_error(
    model: MIDAS,
    mosaic: Mosaic,
    modality: str,
    columns: NDArray[np.int64],
    posterior: Encoded,
    groups: NDArray[np.int64],
    pseudocount: float,
    seed: int,
) -> NDArray[np.float64]:
    """Estimate the standard deviation of the model's error in log2 fold changes of each feature, `(n_features,)`.

    The measured cells are halved by chance. In each half, the fold changes of the counts differ from those that the model
    decodes for the same cells by the model's error, which both halves share, and by noise, which they do not: so the
    product of the two differences is the error's variance on average. Features of like abundance are averaged.
    Counts are first scaled, per batch and feature, to what the model decodes: a batch effect is no error.

    Parameters
    ----------
    columns
        Features, as columns of the schema.
    groups
        Group of each cell, -1 for none, `(n_cells,)`.

    Returns
    -------
    0 where nothing can be compared: no group has enough measured cells.
    """
    rows = mosaic.modalities[modality]
    cells = np.flatnonzero(rows.present & (groups >= 0)).astype(np.int64)
    n_batches, n_groups = len(mosaic.batches), int(groups.max()) + 1
    shape = (n_batches, 2, n_groups)
    half = np.random.default_rng(seed).integers(0, 2, len(cells))
    at = np.ravel_multi_index((mosaic.batch[cells], half, groups[cells]), shape)
    counted = np.zeros((int(np.prod(shape)), len(columns)))
    decoded = np.zeros_like(counted)
    for start in range(0, len(cells), _ROWS_AT_ONCE):
        block = cells[start : start + _ROWS_AT_ONCE]
        pick = _pick(at[start : start + len(block)], len(counted))
        c = posterior.mean[block]
        z = np.hstack([c, np.broadcast_to(model.standard_noise, (len(c), len(model.standard_noise)))])
        counted += np.asarray((pick @ measured_counts(mosaic, modality, block)[:, columns]).todense())
        decoded += pick @ np.concatenate(list(decode(model.vae, model.schema, z, modality, columns)))
    counted, decoded = (total.reshape(*shape, -1) for total in (counted, decoded))
    number = np.bincount(at, minlength=int(np.prod(shape))).reshape(*shape, 1)
    seen = counted.sum((1, 2), keepdims=True)
    use = rows.measured[:, None, None, columns] & (seen > 0)
    scale = np.where(use, decoded.sum((1, 2), keepdims=True) / np.where(seen > 0, seen, 1), 0.0)
    cells_of = (number * use).sum(0)
    raw, made = (counted * scale).sum(0), np.where(use, decoded, 0.0).sum(0)
    change = _log2_change(raw, cells_of, pseudocount)
    by_model = _log2_change(made.sum(0), cells_of.sum(0), pseudocount)
    product = (change[0] - by_model) * (change[1] - by_model)
    product[(cells_of < _LEAST_CELLS).any(0)] = np.nan
    total = made.sum((0, 1)) / np.maximum(cells_of.sum((0, 1)), 1)
    return np.sqrt(_by_abundance(product, total))


def _pick(at: NDArray[np.int64], n: int) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(len(at)), (at, np.arange(len(at)))), shape=(n, len(at)))


def _log2_change(total: NDArray[np.float64], cells: NDArray[np.int64], pseudocount: float) -> NDArray[np.float64]:
    """Of each group against the rest; groups are the last dimension but one."""
    others, rest = cells.sum(-2, keepdims=True) - cells, total.sum(-2, keepdims=True) - total
    with np.errstate(invalid="ignore", divide="ignore"):
        change: NDArray[np.float64] = np.log2((total / cells + pseudocount) / (rest / others + pseudocount))
    return change


def _by_abundance(product: NDArray[np.float64], abundance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of products `(n_groups, n_features)` over features of like abundance; never below zero."""
    known = np.flatnonzero(np.isfinite(product).any(0))
    variance = np.zeros(product.shape[1])
    if not len(known):
        return variance
    order = known[np.argsort(abundance[known], kind="stable")]
    bins = np.array_split(order, max(1, min(_BINS, len(order) // _LEAST_IN_BIN)))
    means = np.maximum([np.nanmean(product[:, members]) for members in bins], 0.0)
    centres = np.array([np.median(abundance[members]) for members in bins])
    variance[:] = np.interp(abundance, centres, means)
    return variance
