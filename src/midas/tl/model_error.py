"""Error of the model's fold changes: their distance from those of the counts, and the sampling noise of the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from midas.data.rows import measured_counts
from midas.decoding import States, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data import Mosaic
    from midas.inference import Posterior
    from midas.model import MIDAS

_ROWS_AT_ONCE = 4096
_BINS = 10
_LEAST_IN_BIN = 20


def model_error(
    model: MIDAS,
    mosaic: Mosaic,
    modality: str,
    columns: NDArray[np.int64],
    posterior: Posterior,
    groups: NDArray[np.int64],
    pseudocount: float,
) -> NDArray[np.float64]:
    """Estimate the standard deviation of the error in the model's log2 fold changes.

    A model fits the mean counts of groups, including their noise. The variance is therefore the sampling variance of the counts'
    own fold changes plus the mean squared distance between these and the model's for the same cells, over features of similar
    abundance. This is an upper bound: a model that sees through the noise is closer. Counts are first scaled, per batch and
    feature, to the decoded values, as a batch effect is not an error.

    Parameters
    ----------
    columns
        Column indices of the features in the schema.
    groups
        Group of each cell, -1 for none, `(n_cells,)`.

    Returns
    -------
    `(n_groups, n_features)`. A group without measured cells gets the largest error of the other groups; 0 if nothing was
    measured.
    """
    rows = mosaic.modalities[modality]
    cells = np.flatnonzero(rows.present & (groups >= 0)).astype(np.int64)
    shape = (len(mosaic.batches), int(groups.max()) + 1)
    at = np.ravel_multi_index((mosaic.batch[cells], groups[cells]), shape)
    sums = np.zeros((3, int(np.prod(shape)), len(columns)))  # sums of counts, of their squares, and of decoded values
    for start in range(0, len(cells), _ROWS_AT_ONCE):
        block = cells[start : start + _ROWS_AT_ONCE]
        pick = sp.csr_matrix(
            (np.ones(len(block)), (at[start : start + len(block)], np.arange(len(block)))), (sums.shape[1], len(block))
        )
        x = measured_counts(mosaic, modality, block)[:, columns].astype(np.float64)
        z = np.hstack(
            [posterior.mean[block], np.broadcast_to(model.standard_noise, (len(block), len(model.standard_noise)))]
        )
        sums[0] += (pick @ x).toarray()
        sums[1] += (pick @ x.multiply(x)).toarray()
        sums[2] += pick @ np.concatenate(list(decode(model.vae, model.schema, States(z), modality, columns)))
    counted, squares, decoded = sums.reshape(3, *shape, -1)
    seen = counted.sum(1, keepdims=True)
    use = rows.measured[:, None, columns] & (seen > 0)
    scale = np.where(use, decoded.sum(1, keepdims=True) / np.where(seen > 0, seen, 1), 0.0)
    n = (np.bincount(at, minlength=sums.shape[1]).reshape(*shape, 1) * use).sum(0).astype(np.float64)
    raw, made = (counted * scale).sum(0), (decoded * use).sum(0)
    spread = (squares * scale**2).sum(0)
    return _error(raw, spread, made, n, pseudocount)


def _error(
    raw: NDArray[np.float64],
    squares: NDArray[np.float64],
    made: NDArray[np.float64],
    n: NDArray[np.float64],
    pseudocount: float,
) -> NDArray[np.float64]:
    """Compute the error from sums over the cells of each group, `(n_groups, n_features)`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.square(_change(raw, n, pseudocount) - _change(made, n, pseudocount))
        noise = _noise(raw, squares, made, n, pseudocount)
        noise += _noise(_rest(raw), _rest(squares), _rest(made), _rest(n), pseudocount)
        abundance = made.sum(0) / n.sum(0)
    largest = np.nanmax(np.where(np.isfinite(noise), noise, 0.0), axis=0)
    noise = np.where(np.isfinite(noise), noise, largest)
    error: NDArray[np.float64] = np.sqrt(noise + _by_abundance(distance, abundance))
    return error


def _rest(total: NDArray[np.float64]) -> NDArray[np.float64]:
    rest: NDArray[np.float64] = total.sum(0) - total
    return rest


def _change(total: NDArray[np.float64], n: NDArray[np.float64], pseudocount: float) -> NDArray[np.float64]:
    change: NDArray[np.float64] = np.log2((total / n + pseudocount) / (_rest(total) / _rest(n) + pseudocount))
    return change


def _noise(
    raw: NDArray[np.float64],
    squares: NDArray[np.float64],
    made: NDArray[np.float64],
    n: NDArray[np.float64],
    pseudocount: float,
) -> NDArray[np.float64]:
    """Sampling variance of log2 means; at least that of Poisson counts with the decoded mean."""
    variance = np.maximum(squares / n - (raw / n) ** 2, made / n)
    noise: NDArray[np.float64] = variance / n / ((raw / n + pseudocount) * np.log(2)) ** 2
    return noise


def _by_abundance(values: NDArray[np.float64], abundance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of values `(n_groups, n_features)` over features of similar abundance, `(n_features,)`."""
    known = np.flatnonzero(np.isfinite(values).any(0) & np.isfinite(abundance))
    if not len(known):
        return np.zeros(values.shape[1])
    order = known[np.argsort(abundance[known], kind="stable")]
    bins = np.array_split(order, max(1, min(_BINS, len(order) // _LEAST_IN_BIN)))
    means = [np.mean(values[:, members][np.isfinite(values[:, members])]) for members in bins]
    centres = [np.median(abundance[members]) for members in bins]
    mean: NDArray[np.float64] = np.interp(np.nan_to_num(abundance), centres, means)
    return mean
