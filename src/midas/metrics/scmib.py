"""scMIB (He et al. 2024): scIB scores of the embedding and of batch-corrected features, and modality alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples

from midas import keys
from midas.expect import sklearn_seed
from midas.metrics.embedding import foscttm, label_transfer_f1
from midas.metrics.inputs import finite_rows, same_cells
from midas.metrics.labels import cells_by_label, some_labels
from midas.metrics.scib import BATCH_SCORES, BIO_SCORES, ScibScores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ALIGNMENT: Final = ("modality_asw", "foscttm_score", "label_transfer")


@dataclass(frozen=True)
class ModalityScores:
    """How well modalities align, from 0 (r: from -1) to 1, 1 is best; NaN for scores that a method does not allow.

    Attributes
    ----------
    modality_asw
        :func:`modality_asw`.
    foscttm_score
        1 - FOSCTTM, mean over pairs of modalities.
    label_transfer
        Micro-F1 with 5 nearest neighbours, mean over ordered pairs of modalities.
    translated
        By target: AUROC for accessibility, Pearson r for counts; mean over sources.
    """

    modality_asw: float
    foscttm_score: float
    label_transfer: float
    translated: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean of all scores; NaN if one is missing, so that methods are compared on the same scores."""
        return float(np.mean([getattr(self, name) for name in ALIGNMENT] + list(self.translated.values())))


@dataclass(frozen=True)
class ScmibScores:
    """The three parts and their sum; NaN where a part is missing."""

    embedding: ScibScores
    features: ScibScores | None
    modality: ModalityScores

    @property
    def batch(self) -> float:
        """Mean of the batch scores of embedding and features."""
        return self._mean(BATCH_SCORES)

    @property
    def bio(self) -> float:
        """Mean of the bio scores of embedding and features."""
        return self._mean(BIO_SCORES)

    @property
    def overall(self) -> float:
        """0.3 batch + 0.3 modality + 0.4 bio."""
        return 0.3 * self.batch + 0.3 * self.modality.mean + 0.4 * self.bio

    def _mean(self, names: Sequence[str]) -> float:
        if self.features is None:
            return float("nan")
        return float(np.nanmean([[getattr(part, name) for name in names] for part in (self.embedding, self.features)]))

    def to_series(self) -> pd.Series:
        """All scores: of the embedding, of features (``features_``), of modalities, and the three sums (``scmib_``)."""
        nothing = dict.fromkeys([*BATCH_SCORES, *BIO_SCORES], float("nan"))
        features = nothing if self.features is None else self.features.to_series().to_dict()
        modality = {name: getattr(self.modality, name) for name in ALIGNMENT}
        modality |= {f"translated_{name}": value for name, value in self.modality.translated.items()}
        sums = {
            "scmib_batch": self.batch,
            "scmib_modality": self.modality.mean,
            "scmib_bio": self.bio,
            "scmib_overall": self.overall,
        }
        parts = self.embedding.to_series().to_dict() | {f"features_{name}": value for name, value in features.items()}
        return pd.Series(parts | modality | sums, dtype=float)


def modality_asw(latents: Mapping[str, ArrayLike], labels: ArrayLike) -> float:
    r"""Silhouette of modality within each label, scaled as in scIB for batches: 1 if modalities mix.

    :math:`\text{mean}_{\text{label}}\ \text{mean}_{i \in \text{label}} (1 - |s_i|)`, where :math:`s_i` is the silhouette width of
    a cell in one modality among the cells of its label in all modalities.

    Parameters
    ----------
    latents
        By modality, `(n_cells, dim)`, for the same cells.
    labels
        Labels of the cells. Cells without a label (NaN) or without finite values in every modality are ignored.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> c = rng.normal(size=(100, 3))
    >>> round(midas.metrics.modality_asw({"rna": c, "adt": c}, np.repeat(["B", "T"], 50)), 2)
    0.98
    """
    arrays, types = _shared(latents, labels)
    scores = []
    for cells in cells_by_label(types).values():
        in_label = [x[cells] for x in arrays.values()]
        modality = np.repeat(np.arange(len(in_label)), len(in_label[0]))
        if len(in_label) > 1 and len(modality) > len(in_label):
            scores.append(float((1 - np.abs(silhouette_samples(np.concatenate(in_label), modality))).mean()))
    return float(np.mean(scores)) if scores else float("nan")


def alignment(
    latents: Mapping[str, ArrayLike], labels: ArrayLike, *, unlabelled: Sequence[str] = keys.NO_LABEL
) -> dict[str, float]:
    """Score how well latents of the same cells from single modalities align.

    Parameters
    ----------
    latents
        By modality, `(n_cells, dim)`, with the same cells in the same order; two modalities or more. Only cells with finite
        values in all modalities are used.
    labels
        Of the cells.
    unlabelled
        Labels that mean "no label", case-insensitive. Such cells, and those with a missing label (NaN), are used for FOSCTTM
        only.

    Returns
    -------
    ``modality_asw``, ``foscttm_score``, ``label_transfer``.

    Examples
    --------
    >>> c = np.random.default_rng(0).normal(size=(100, 3))
    >>> midas.metrics.alignment({"rna": c, "adt": c}, np.repeat(["B", "T"], 50))["foscttm_score"]
    1.0
    """
    arrays, shared = _shared(latents, labels)
    types, known = some_labels(shared, unlabelled)
    # FOSCTTM covers both directions of a pair, so the mean over unordered pairs equals that over ordered ones.
    closer = [foscttm(arrays[a], arrays[b]) for a, b in combinations(arrays, 2)]
    of = {name: x[known] for name, x in arrays.items()}
    carried = [
        label_transfer_f1(of[a], types[known], of[b], types[known], k=5, average="micro", weights="distance")
        for a, b in permutations(arrays, 2)
    ]
    return {
        "modality_asw": modality_asw(of, types[known]),
        "foscttm_score": 1 - float(np.mean(closer)),
        "label_transfer": float(np.mean(carried)),
    }


def _shared(
    latents: Mapping[str, ArrayLike], labels: ArrayLike
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.object_]]:
    """Rows and labels of the cells that have finite values in all modalities."""
    same_cells(*latents.values(), labels)
    arrays = {name: np.asarray(x, dtype=np.float64) for name, x in latents.items()}
    values: NDArray[np.object_] = np.asarray(labels, dtype=object)
    found = {name: len(x) for name, x in arrays.items()} | {"labels": len(values)}
    if len(set(found.values())) > 1:
        msg = f"Expected the same cells in every modality, each with a label, found {found}."
        raise ValueError(msg)
    kept = finite_rows(*arrays.values())
    return {name: x[kept] for name, x in arrays.items()}, values[kept]


def feature_space(values: ArrayLike, *, n_components: int = 32, seed: int = 0) -> NDArray[np.float64]:
    """PCA of batch-corrected features of one modality, `(n_cells, n_components)`.

    Values above 1 are counts: each cell is scaled to the median sum, followed by log1p. Probabilities are used as they are, as
    are arrays with negative values (standardised or otherwise corrected), which are not counts.
    """
    x = np.asarray(values, dtype=np.float32)
    if x.max(initial=0) > 1 and x.min(initial=0) >= 0:
        total = x.sum(1, keepdims=True)
        x = np.log1p(x / np.maximum(total, 1e-12) * np.median(total))
    n = min(n_components, x.shape[0] - 1, x.shape[1])
    found: NDArray[np.float64] = PCA(
        n, svd_solver="randomized" if n < min(x.shape) else "full", random_state=sklearn_seed(seed)
    ).fit_transform(x)
    return found
