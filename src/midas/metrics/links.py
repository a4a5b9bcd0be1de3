"""Links of regulators to their targets: whether imputed RNA shows those that measured RNA shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas.metrics.fold_change import pearson
from midas.metrics.inputs import dense, same_cells

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class LinkRecovery:
    """How well links are recovered.

    Attributes
    ----------
    precision
        Share of the strongest links of the imputed counts that are among the strongest of the measured ones.
    auprc
        Area under the curve of precision and recall of these; `chance` for none of them.
    r
        Pearson r of the strengths of all links.
    chance
        Share of the links that count as true.
    n_links
        Regulators times targets.
    """

    precision: float
    auprc: float
    r: float
    chance: float
    n_links: int


def link_recovery(
    measured: ArrayLike | sp.spmatrix | pd.DataFrame,
    imputed: ArrayLike | sp.spmatrix | pd.DataFrame,
    genes: Sequence[str],
    regulators: Sequence[str],
    *,
    top: float = 0.05,
) -> LinkRecovery:
    """Compare links of regulators to targets, as the correlation of log1p counts over cells, in measured and imputed RNA.

    The links that measured counts show best, in either direction, count as true (He et al. 2024 ask whether regulatory links are
    kept in imputed counts). Correlation stands for the many ways to infer a network: it needs no more than counts, and is the
    same on both sides.

    Parameters
    ----------
    measured, imputed
        Counts of the same cells and genes, `(n_cells, n_genes)`.
    genes
        Names of the columns.
    regulators
        Genes that regulate others, such as transcription factors; those not among `genes` are passed over.
    top
        Share of the links, the strongest, that count.

    Raises
    ------
    ValueError
        When the two are not of the same cells and genes, or less than two genes that vary are left.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> state = rng.normal(size=(200, 2))
    >>> counts = rng.poisson(np.exp(state @ rng.normal(size=(2, 30))))
    >>> genes = [f"G{i}" for i in range(30)]
    >>> midas.metrics.link_recovery(counts, counts, genes, ["G0", "G1"]).precision
    1.0
    """
    same_cells(measured, imputed)
    x, y = (np.log1p(dense(values).astype(np.float64)) for values in (measured, imputed))
    if x.shape != y.shape or x.shape[1] != len(genes):
        msg = f"Expected the same cells and genes, found shapes {x.shape} and {y.shape} and {len(genes)} names."
        raise ValueError(msg)
    if not 0 < top < 1:
        msg = f"Expected top to be a share between 0 and 1, found {top}."
        raise ValueError(msg)
    known = np.isfinite(x).all(1) & np.isfinite(y).all(1)
    x, y = x[known], y[known]
    names = pd.Index(list(genes))
    vary = (x.std(0) > 0) & (y.std(0) > 0) if len(x) else np.zeros(len(names), dtype=bool)
    tf = vary & names.isin(list(regulators))
    if not tf.any() or vary.sum() < 2:
        found = f"{int(tf.sum())} regulators and {int(vary.sum())} genes that vary in {len(x):,} cells"
        msg = f"Expected a regulator among the genes and another gene, found {found}."
        raise ValueError(msg)
    other = names[tf].to_numpy()[:, None] != names[vary].to_numpy()[None]
    strength, guess = (_correlations(values, tf, vary)[other] for values in (x, y))
    return _compared(strength, guess, top)


def _compared(strength: NDArray[np.float64], guess: NDArray[np.float64], top: float) -> LinkRecovery:
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - slow to import

    n = max(1, round(top * strength.size))
    true, best = (_strongest(values, n) for values in (strength, guess))
    return LinkRecovery(
        precision=float(true[best].mean()),
        auprc=float(average_precision_score(true, np.abs(guess))),
        r=pearson(strength, guess),
        chance=float(true.mean()),
        n_links=int(strength.size),
    )


def _strongest(values: NDArray[np.float64], n: int) -> NDArray[np.bool_]:
    chosen = np.zeros(values.size, dtype=bool)
    chosen[np.argsort(-np.abs(values), kind="stable")[:n]] = True
    return chosen


def _correlations(values: NDArray[Any], rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pearson r of some of the columns with others."""
    standard = (values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1.0)
    found: NDArray[np.float64] = standard[:, rows].T @ standard[:, columns] / len(values)
    return found
