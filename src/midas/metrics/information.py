"""Information in a latent space about labels, and about a state known from simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from midas.expect import sklearn_seed
from midas.metrics.inputs import same_cells
from midas.metrics.labels import known_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def label_predictability(
    x: ArrayLike, labels: ArrayLike, *, classifier: Literal["knn", "linear"] = "knn", folds: int = 5, seed: int = 0
) -> float:
    r"""How well labels can be predicted from an embedding: 1 for always, 0 for chance or worse.

    Cross-validated balanced accuracy `a` of `K` classes, scaled as :math:`\max((a - 1/K) / (1 - 1/K), 0)`. It should be 0 for
    batches in c, and for types in u if all batches contain the same types.

    Parameters
    ----------
    x
        `(n_cells, dim)`.
    labels
        Labels of the cells. Labels with fewer cells than folds are ignored, as are cells without a label (NaN).
    classifier
        15 nearest neighbours, or logistic regression on standardised dimensions.
    folds
        Number of cross-validation folds.
    seed
        Seed of the cross-validation.

    Examples
    --------
    >>> x, labels = np.repeat([[0.0], [9.0]], 50, axis=0), ["B"] * 50 + ["T"] * 50
    >>> bool(midas.metrics.label_predictability(x, labels) > 0.9)
    True
    """
    same_cells(x, labels)
    points, (names, known) = np.asarray(x, dtype=np.float64), known_labels(labels)
    points, names = points[known], names[known]
    classes, codes, sizes = np.unique(names, return_inverse=True, return_counts=True)
    kept = (sizes >= folds)[codes]
    if (sizes >= folds).sum() < 2:
        msg = (
            f"Expected two labels or more with at least {folds} cells, found {dict(zip(classes, sizes, strict=True))}."
        )
        raise ValueError(msg)
    n_train = int(kept.sum()) * (folds - 1) // folds
    guesser: Any = (
        KNeighborsClassifier(min(15, n_train))
        if classifier == "knn"
        else make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    )
    cut = StratifiedKFold(folds, shuffle=True, random_state=sklearn_seed(seed))
    guess = cross_val_predict(guesser, points[kept], names[kept], cv=cut)
    chance = 1 / (sizes >= folds).sum()
    return float(max((balanced_accuracy_score(names[kept], guess) - chance) / (1 - chance), 0.0))


def linear_r2(truth: ArrayLike, c: ArrayLike, *, folds: int = 5, seed: int = 0) -> float:
    """Cross-validated R^2 of a linear prediction of a known state from c, over all its dimensions together; 1 is perfect.

    0 is no better than predicting the mean; values below 0 can occur by chance.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(200, 2))
    >>> bool(midas.metrics.linear_r2(truth, truth @ rng.normal(size=(2, 4))) > 0.9)
    True
    """
    y, x = _matched(truth, c)
    guess = cross_val_predict(LinearRegression(), x, y, cv=KFold(folds, shuffle=True, random_state=sklearn_seed(seed)))
    return float(1 - ((y - guess) ** 2).sum() / ((y - y.mean(0)) ** 2).sum())


def canonical_correlation(truth: ArrayLike, c: ArrayLike) -> float:
    """Mean canonical correlation of a known state with c, from 0 to 1; 1 if each is a linear transformation of the other.

    With many dimensions and few cells there is correlation by chance: about ``sqrt(dim / n_cells)``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(200, 2))
    >>> round(midas.metrics.canonical_correlation(truth, truth @ rng.normal(size=(2, 4))), 2)
    1.0
    """
    y, x = _matched(truth, c)

    def basis(a: Any) -> Any:  # noqa: ANN401 - an array
        u, s, _ = np.linalg.svd(a - a.mean(0), full_matrices=False)
        return u[:, s > 1e-10 * max(s.max(initial=0), 1e-300)]

    return float(np.linalg.svd(basis(y).T @ basis(x), compute_uv=False).clip(0, 1).mean())


def _matched(truth: ArrayLike, c: ArrayLike) -> tuple[Any, Any]:
    same_cells(truth, c)
    y, x = np.asarray(truth, dtype=np.float64), np.asarray(c, dtype=np.float64)
    if len(y) != len(x) or y.ndim != 2 or x.ndim != 2:
        msg = f"Expected the same cells in truth and c, found shapes {y.shape} and {x.shape}."
        raise ValueError(msg)
    return y, x
