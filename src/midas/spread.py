"""Overdispersion of measured counts around the model's expectation, relative to the likelihood.

The variance of a Poisson count equals its mean. Measured counts vary more: the model does not capture all differences
between cells, least of all in a modality that was not measured in the cell, or in none of the cells of its batch. The
excess e is estimated once after training, so that drawn counts match the variance of measured ones: Var(x) = m + e m^2
for mean m, as in a negative binomial with theta = 1 / e.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln

from midas.data.rows import measured_counts
from midas.decoding import BATCH_UNMEASURED, MEASURED, UNMEASURED, States, decode
from midas.inference import encode
from midas.likelihoods import LIKELIHOODS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.borrowing import Borrowing
    from midas.data.mosaic import Mosaic
    from midas.nn import VAE

Borrowers: TypeAlias = "Callable[[str, Mosaic], Borrowing | None]"
"""Maps a modality and cells without it to their :class:`Borrowing`; None if no cell borrows."""

_POISSON: Final = 1e-4  # smaller excess is treated as none
_EXCESS: Final = np.concatenate([[0], np.geomspace(0.003, 30, 24)]).astype(np.float32)
_CELLS: Final = 1000  # enough to estimate one number per feature
_FEWEST: Final = 50  # with fewer cells, no estimate
_FEWEST_OF_BATCH: Final = 10


@dataclass(frozen=True)
class Spread:
    """Excess variance of one modality's counts.

    Attributes
    ----------
    excess
        By measurement status and feature, `(3, n_features)`: :data:`MEASURED`, :data:`UNMEASURED`,
        :data:`BATCH_UNMEASURED`.
    """

    excess: NDArray[np.float32]


def measurement_status(mosaic: Mosaic, modality: str, seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Measurement status of each cell in a modality, `(n_cells,)`.

    Parameters
    ----------
    seen
        Whether the modality was used to encode the cell.

    Returns
    -------
    :data:`MEASURED`, :data:`UNMEASURED` where other cells of the batch were measured in it, :data:`BATCH_UNMEASURED` where none
    was.
    """
    present = mosaic.modalities[modality].present
    batches = np.unique(mosaic.batch[present])
    return np.where(seen, MEASURED, np.where(np.isin(mosaic.batch, batches), UNMEASURED, BATCH_UNMEASURED))


def find_spread(vae: VAE, mosaic: Mosaic, borrowing: Borrowers, *, seed: int) -> dict[str, Spread]:
    """Estimate overdispersion per modality, from 50 to 1,000 cells, where the likelihood supports it.

    Parameters
    ----------
    vae
        Trained.
    mosaic
        Its training data.
    borrowing
        See :data:`Borrowers`.
    seed
        Random seed for subsampling cells.
    """
    order = mosaic.canonical_order()
    found = {}
    for name, part in mosaic.schema.modalities.items():
        there = order[mosaic.modalities[name].present[order]]
        if not LIKELIHOODS[part.modality.likelihood].takes_overdispersion or len(there) < _FEWEST:
            continue
        if len(there) > _CELLS:
            there = np.sort(np.random.default_rng([seed, 9]).choice(there, _CELLS, replace=False))
        some = mosaic.load(there)
        whole = encode(vae, some, tuple(some.modalities))
        seen = unseen = _excess(vae, some, name, States(whole.mean, depths=whole.depths))
        others = encode(vae, some, tuple(other for other in some.modalities if other != name))
        if int(np.isfinite(others.mean).all(1).sum()) >= _FEWEST:
            states = States(others.mean, depths=others.depths, borrowing=borrowing(name, some))
            unseen = _excess(vae, some, name, states)
        between = _between_batches(some, name)
        found[name] = Spread(np.stack([seen, unseen, unseen + between + unseen * between]))
    return found


def _between_batches(mosaic: Mosaic, modality: str) -> NDArray[np.float32]:
    """Squared coefficient of variation of the batches' mean counts, `(n_features,)`.

    Features measured in only one batch get the median over the others; 0 where there are none. Differences in cell
    composition are included: they are also unknown for a batch that never measured the modality.
    """
    measured = mosaic.modalities[modality].measured
    sizes = np.bincount(mosaic.batch, minlength=len(mosaic.batches))
    members = sp.csr_matrix((1.0 / sizes[mosaic.batch], (mosaic.batch, np.arange(mosaic.n_cells))))
    means = np.full(measured.shape, np.nan)
    means[: members.shape[0]] = (members @ measured_counts(mosaic, modality, np.arange(mosaic.n_cells))).toarray()
    means[~measured | (sizes < _FEWEST_OF_BATCH)[:, None]] = np.nan
    several = (np.isfinite(means).sum(0) > 1) & (np.nan_to_num(means).sum(0) > 0)
    known = np.nanvar(means[:, several], axis=0, ddof=1) / np.square(np.nanmean(means[:, several], 0))
    between = np.full(measured.shape[1], np.median(known) if several.any() else 0, dtype=np.float32)
    between[several] = known
    return between


def _excess(vae: VAE, mosaic: Mosaic, modality: str, states: States) -> NDArray[np.float32]:
    """Maximum-likelihood excess variance of each feature over a grid of values, `(n_features,)`; 0 without data.

    Not by moments, which are dominated by the largest counts: the variance of small drawn counts was then too low.
    """
    rows = mosaic.modalities[modality]
    width = mosaic.schema.modalities[modality].n_features
    likelihood, start = np.zeros((len(_EXCESS), width)), 0
    for block in decode(vae, mosaic.schema, states, modality, np.arange(width)):
        at = np.arange(start, start + len(block))
        start += len(block)
        use = rows.measured[mosaic.batch[at]] & np.isfinite(block)
        likelihood += _log_likelihood(measured_counts(mosaic, modality, at), np.where(use, block, 1.0), use)
    best: NDArray[np.float32] = _EXCESS[likelihood.argmax(0)]
    return best


def _log_likelihood(x: sp.csr_matrix, mean: NDArray[np.float32], use: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Negative binomial log-likelihood at each excess, `(len(_EXCESS), n_features)`, up to a constant."""
    total = np.empty((len(_EXCESS), mean.shape[1]))
    kept = sp.coo_matrix(x.multiply(use))
    row, column, counts = kept.row, kept.col, kept.data.astype(np.float64)
    for i, excess in enumerate(_EXCESS):
        theta = 1.0 / max(float(excess), _POISSON)
        at_any = -theta * np.log1p(mean / theta)
        at_counts = gammaln(counts + theta) - gammaln(theta) - counts * np.log(mean[row, column] + theta)
        total[i] = (at_any * use).sum(0) + np.bincount(column, at_counts, minlength=mean.shape[1])
    return total
