"""Whether the latent states are independent of each other, match a known truth, and agree with a result on all data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from midas.metrics.embedding import label_micro_f1, neighbourhood_overlap
from midas.metrics.information import canonical_correlation, label_predictability, linear_r2
from midas.metrics.labels import known_labels
from midas.metrics.neighbours import neighbours
from midas.metrics.result import Result
from midas.metrics.scib import best_clustering, leiden
from midas.metrics.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

OVERLAP_KS: Final = (10, 30, 100, 300)
_NAN: Final = float("nan")
_FOLDS: Final = 5


def separation(task: Task, result: Result, unlabelled: tuple[str, ...], seed: int) -> dict[str, float]:
    """``batch_in_c`` and ``type_in_u`` from :func:`~midas.metrics.label_predictability`; both should be 0.

    NaN for a method without a technical state, or if fewer than two batches or types have five cells. If types are unevenly
    distributed over batches, they can be predicted even from a perfect u.
    """
    c = result.embedding.get(task.truth.obs_names)
    found = {"batch_in_c": _predictability(c, task.batch.to_numpy(), seed), "type_in_u": _NAN}
    if result.technical is not None and task.labels is not None:
        u, (labels, known) = result.technical.get(task.truth.obs_names), known_labels(task.labels, unlabelled)
        kept = np.isfinite(u).all(1) & known
        found["type_in_u"] = _predictability(u[kept], labels[kept], seed)
    return found


def known_state(task: Task, result: Result, state_key: str, seed: int) -> dict[str, float]:
    """``state_r2`` and ``state_correlation`` with the truth's state, available for simulated data; else NaN."""
    found = {"state_r2": _NAN, "state_correlation": _NAN}
    if state_key not in task.truth.obsm:
        return found
    state = np.asarray(task.truth.obsm[state_key], dtype=np.float64)
    kept = np.isfinite(state).all(1)
    state, c = state[kept], result.embedding.get(task.truth.obs_names)[kept]
    if len(state) < _FOLDS or not np.ptp(state, axis=0).any():
        return found
    return {"state_r2": linear_r2(state, c, seed=seed), "state_correlation": canonical_correlation(state, c)}


def like_full(
    task: Task, result: Result, full: Result | None, unlabelled: tuple[str, ...], seed: int
) -> dict[str, float]:
    """``full_overlap_<k>`` and ``full_label_f1``: similarity to the embedding of the same cells with all modalities.

    Labels are Leiden clusters named by their most frequent type, at the resolution with the highest NMI. Of cells that the task
    split, only the first part is used.
    """
    found = {f"full_overlap_{k}": _NAN for k in OVERLAP_KS} | {"full_label_f1": _NAN}
    if full is None or task.labels is None:
        return found
    z, other = result.embedding.get(task.truth.obs_names), full.embedding.get(task.origin)
    kept = np.isfinite(z).all(1) & np.isfinite(other).all(1) & ~task.origin.duplicated().to_numpy()
    if kept.sum() < 2:
        msg = f"Expected that the result with all modalities has cells of the task, found {int(kept.sum())} of {len(kept)}."
        raise ValueError(msg)
    overlap = neighbourhood_overlap(z[kept], other[kept], OVERLAP_KS)
    found |= {f"full_overlap_{k}": float(overlap[k]) for k in OVERLAP_KS if k < kept.sum()}
    types, known = known_labels(task.labels, unlabelled)
    kept &= known
    if len(set(types[kept])) > 1:
        named, reference = (_named(x[kept], types[kept], seed) for x in (z, other))
        found["full_label_f1"] = label_micro_f1(named, reference)
    return found


def _named(z: NDArray[np.float64], types: NDArray[np.str_], seed: int) -> NDArray[np.str_]:
    """Each cell's label: the most frequent type in its cluster."""
    graph = neighbours(z, seed=seed)
    clusters = best_clustering(leiden(graph, seed=seed), types)
    table = pd.crosstab(clusters, types)
    named: NDArray[np.str_] = table.idxmax(axis=1).loc[pd.Index(clusters)].to_numpy().astype(str)
    return named


def _predictability(x: ArrayLike, labels: NDArray[np.str_], seed: int) -> float:
    """NaN where there is nothing to tell apart."""
    sizes = np.unique(labels, return_counts=True)[1]
    return label_predictability(x, labels, folds=_FOLDS, seed=seed) if (sizes >= _FOLDS).sum() > 1 else _NAN
