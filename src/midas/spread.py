"""How much wider than the likelihood says measured counts scatter about what the model expects.

A Poisson count varies as much as its mean. Counts vary more: the model does not know all that a cell differs in, least of all
in a modality that it has not seen of the cell, and how a batch that never measured it would have. The excess e is estimated once
after training, and makes drawn counts scatter as measured ones do: Var(x) = m + e m^2 for mean m, as of a negative binomial with
theta = 1 / e.
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
"""From a modality and cells without it to how these borrow; None where nobody does."""

_POISSON: Final = 1e-4  # an excess that makes no difference
_EXCESS: Final = np.concatenate([[0], np.geomspace(0.003, 30, 24)]).astype(np.float32)
_CELLS: Final = 1000  # tell a number per feature well enough
_FEWEST: Final = 50  # tell nothing of it
_FEWEST_OF_BATCH: Final = 10


@dataclass(frozen=True)
class Spread:
    """Excess variance of one modality's counts.

    Attributes
    ----------
    excess
        By status of a cell, and feature, `(3, n_features)`: :data:`MEASURED`, :data:`UNMEASURED`, :data:`BATCH_UNMEASURED`.
    """

    excess: NDArray[np.float32]


def measurement_status(mosaic: Mosaic, modality: str, seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Status of each cell in a modality, `(n_cells,)`, by whether it was measured in it.

    Parameters
    ----------
    seen
        Whether the cell's state was found with the modality.

    Returns
    -------
    :data:`MEASURED`, :data:`UNMEASURED` where other cells of the batch were measured in it, :data:`BATCH_UNMEASURED` where none
    was.
    """
    present = mosaic.modalities[modality].present
    batches = np.unique(mosaic.batch[present])
    return np.where(seen, MEASURED, np.where(np.isin(mosaic.batch, batches), UNMEASURED, BATCH_UNMEASURED))


def find_spread(vae: VAE, mosaic: Mosaic, borrowing: Borrowers, *, seed: int) -> dict[str, Spread]:
    """Spread of each modality whose likelihood takes overdispersion and that 50 cells or more have; 1,000 at most are looked at.

    Parameters
    ----------
    vae
        Trained.
    mosaic
        Its training data.
    borrowing
        How cells without the modality borrow.
    seed
        Of the choice of cells.
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
    """How much batches differ: variance over squared mean of their mean counts, `(n_features,)`.

    Of a feature that one batch measured it is the median of the others'; 0 where there are none. Differences in composition are
    in it, too: of a batch that never measured the modality they are not known either.
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
    """Excess variance by feature, `(n_features,)`: the most likely of some values; 0 where nothing tells.

    Likelihood, not moments: these are ruled by the largest counts, and drawn small counts came out too close together.
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
    """Of negative binomial counts at each excess, `(len(_EXCESS), n_features)`, but for what all share."""
    total = np.empty((len(_EXCESS), mean.shape[1]))
    kept = sp.coo_matrix(x.multiply(use))
    row, column, counts = kept.row, kept.col, kept.data.astype(np.float64)
    for i, excess in enumerate(_EXCESS):
        theta = 1.0 / max(float(excess), _POISSON)
        at_any = -theta * np.log1p(mean / theta)
        at_counts = gammaln(counts + theta) - gammaln(theta) - counts * np.log(mean[row, column] + theta)
        total[i] = (at_any * use).sum(0) + np.bincount(column, at_counts, minlength=mean.shape[1])
    return total
