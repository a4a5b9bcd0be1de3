"""Links between regulators and targets: whether imputed RNA shows the same ones as measured RNA."""

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
    """How well regulatory links are recovered.

    Attributes
    ----------
    precision
        Share of the strongest links in the imputed counts that are among the strongest in the measured ones.
    auprc
        Area under the precision-recall curve of these links; equals `chance` for an uninformative imputation.
    r
        Pearson r of the strengths of all links.
    chance
        Share of all links that count as true.
    n_links
        Number of links: regulators times targets.
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
    """Compare regulator-target links, as correlations of log1p counts over cells, between measured and imputed RNA.

    The strongest links in the measured counts, of either sign, count as true (He et al. 2024 ask whether regulatory links are
    kept in imputed counts). Correlation stands in for the many ways to infer a network: it needs only counts, and is the same for
    both.

    Parameters
    ----------
    measured, imputed
        Counts of the same cells and genes, `(n_cells, n_genes)`.
    genes
        Names of the columns.
    regulators
        Genes that regulate others, such as transcription factors; those not in `genes` are ignored.
    top
        Share of links, the strongest ones, that count as true.

    Raises
    ------
    ValueError
        If the two do not hold the same cells and genes, or fewer than two non-constant genes are left.

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
    """Pearson r between some of the columns and others."""
    standard = (values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1.0)
    found: NDArray[np.float64] = standard[:, rows].T @ standard[:, columns] / len(values)
    return found
