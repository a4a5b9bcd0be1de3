"""All scores of a result on a task, as one row of a table."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas import keys
from midas.metrics.counts import count_scores
from midas.metrics.embedding import foscttm, label_transfer_f1
from midas.metrics.inputs import finite_rows
from midas.metrics.labels import known_labels, some_labels
from midas.metrics.result import Result, Route, Values
from midas.metrics.scib import scib
from midas.metrics.scmib import ALIGNMENT, ModalityScores, ScmibScores, alignment, feature_space
from midas.metrics.states import known_state, like_full, separation
from midas.metrics.tasks import Task, sample
from midas.metrics.tasks.record import UNLABELLED
from midas.metrics.wnn import weighted_neighbours
from midas.modality import preset

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from midas.metrics.neighbours import Neighbours
    from midas.model import MIDAS


def evaluate(
    task: Task,
    result: Result,
    *,
    full: Result | None = None,
    unlabelled: tuple[str, ...] = keys.NO_LABEL,
    state_key: str = keys.TRUTH,
    n_cells: int = 2_000,
    seed: int = 0,
) -> pd.Series:
    """Score a result against the truth of its task.

    Parameters
    ----------
    task
        Task with labels.
    result
        What the method returned. Rows of an array with non-finite values are treated as left out, so arrays may be padded with
        NaN; only the embedding needs all cells.
    full
        Result of the same method for the same cells with all modalities (the task ``full`` or ``paired``); None for no
        comparison.
    unlabelled
        Labels that mean "no label", case-insensitive, in addition to ``unknown``, which the task gives to cells without a label.
    state_key
        Name of the true biological state in the truth's obsm, available for simulated data.
    n_cells
        Number of cells, drawn from all batches in proportion, on which decoded counts are scored.
    seed
        Seed of that draw and of clustering.

    Returns
    -------
    The scores of :class:`~midas.metrics.scmib.ScmibScores`; ``imputed_<modality>_<score>`` of counts that the task hides;
    ``translated_<sources>_<target>_<score>``; ``split_foscttm`` and ``split_label_f1`` of cells whose modalities the task split
    into separate cells; ``batch_in_c`` and ``type_in_u``, which should be 0; ``state_r2`` and ``state_correlation`` if the true
    state is known; ``full_overlap_<k>`` and ``full_label_f1`` (of clusters named by their most frequent label) against `full`.
    NaN where the task or the result does not allow a score.
    """
    if task.labels is None:
        raise ValueError("Expected a task with labels, found one without. Name their column with label_key=.")
    cells = task.truth.obs_names
    z = result.embedding.get(cells)
    missing = ~np.isfinite(z).all(1)
    if missing.any():
        msg = f"Expected an embedding of all {len(cells)} cells, found none of {int(missing.sum())}."
        raise ValueError(msg)
    unlabelled = tuple(dict.fromkeys((*unlabelled, UNLABELLED)))
    (labels, known), batch = some_labels(task.labels, unlabelled), task.batch.to_numpy()
    result = _given(result)
    drawn = cells[sample(batch, n_cells, seed=seed)]
    counts = _translated(task, result, drawn, seed) | _imputed(task, result, drawn, seed)
    space = _corrected_graph(task, result, cells[known], seed)
    scores = ScmibScores(
        embedding=scib(z, batch, labels, unlabelled=unlabelled, seed=seed),
        features=None if space is None else scib(space, batch[known], labels[known], unlabelled=(), seed=seed),
        modality=_modality_scores(task, result, counts, unlabelled),
    )
    states = separation(task, result, unlabelled, seed) | known_state(task, result, state_key, seed)
    states |= like_full(task, result, full, unlabelled, seed)
    apart = _taken_apart(task, z, unlabelled)
    return pd.Series(scores.to_series().to_dict() | counts | apart | states, dtype=float)


def _given(result: Result) -> Result:
    """The result without rows that contain non-finite values, for each array separately."""
    return replace(
        result,
        modality_latents={name: _whole_rows(values) for name, values in result.modality_latents.items()},
        corrected={name: _whole_rows(values) for name, values in result.corrected.items()},
        imputed={name: _whole_rows(values) for name, values in result.imputed.items()},
        translated={route: _whole_rows(values) for route, values in result.translated.items()},
    )


def _whole_rows(values: Values) -> Values:
    rows = np.flatnonzero(finite_rows(values.array))
    return Values(values.cells[rows], values.array[rows], values.features)


def midas_result(model: MIDAS, task: Task, *, n_cells: int | None = None, seed: int = 0) -> Result:
    """Collect everything that can be scored from a model trained on ``task.mdata``.

    Latents of single modalities and translations are computed from the truth, which includes the modalities that the task hid.
    Modalities that the model was not trained on are left out.

    Parameters
    ----------
    model
        Trained on ``task.mdata``.
    task
        The task that the model was trained on.
    n_cells
        Number of cells whose counts are translated and imputed, drawn from all batches in proportion; None for all.
    seed
        Seed of that draw.
    """
    own = model.mosaic if model.mosaic is not None else model.read(task.mdata, batch_key=task.batch_key)
    truth = model.read(task.truth, batch_key=task.batch_key)
    kept = None if n_cells is None else task.truth.obs_names[sample(task.batch.to_numpy(), n_cells, seed=seed)]
    latents = {m: _whole_rows(Values(truth.cells, model.latent(truth, modalities=[m]))) for m in model.modalities}
    translated: dict[Route, Values] = {}
    for target in model.modalities:
        for sources in _routes(model.modalities, target):
            translated[sources, target] = _table(model.translate(sources, target, truth), kept)
    return Result(
        embedding=_whole_rows(Values(own.cells, model.latent(own))),
        technical=_whole_rows(Values(own.cells, model.latent(own, part="u"))),
        modality_latents=latents,
        corrected={m: _table(model.correct(m, own), None) for m in model.modalities},
        imputed={m: _table(model.impute(m, own), kept) for m in model.modalities},
        translated=translated,
    )


def _table(adata: AnnData, cells: pd.Index | None) -> Values:
    rows = slice(None) if cells is None else np.flatnonzero(adata.obs_names.isin(cells))
    return Values(adata.obs_names[rows], np.asarray(adata.X)[rows].astype(np.float32), adata.var_names)


def _routes(modalities: tuple[str, ...], target: str) -> list[tuple[str, ...]]:
    """Each other modality, and each pair of them."""
    others = sorted(set(modalities) - {target})
    return [sources for n in (1, 2) for sources in combinations(others, n)]


def _compared(task: Task, values: Values, modality: str, cells: pd.Index, seed: int) -> dict[str, float]:
    """Scores of predicted counts, over the cells and features that truth and prediction share and the batch measured."""
    true = task.truth[modality]
    there = cells[cells.isin(true.obs_names) & cells.isin(values.cells)]
    names = true.var_names.astype(str)
    columns = np.full(len(names), -1) if values.features is None else values.features.get_indexer(names)
    if not len(there) or not (columns >= 0).any():
        return dict.fromkeys(_NO_SCORES, float("nan"))
    at = np.flatnonzero(columns >= 0)
    x: Any = true.X[true.obs_names.get_indexer(there)][:, at]
    x = x.toarray() if hasattr(x, "toarray") else np.asarray(x)
    if _is_binary(task, modality):
        x = (x > 0).astype(np.float32)
    measured = task.measured(modality).loc[task.batch.loc[there].to_numpy()].to_numpy()[:, at]
    guess = values.array[values.cells.get_indexer(there)][:, columns[at]]
    return count_scores(guess, x, measured=measured, seed=seed).to_dict()


_NO_SCORES = ("r_counts_cell", "r_counts_feature", "r_log1p_cell", "r_log1p_feature", "auroc", "average_precision")


def _is_binary(task: Task, modality: str) -> bool:
    """Whether a modality is scored as binary: chromatin accessibility, or counts of 0 and 1 only."""
    kind = preset(modality)
    if kind is not None:
        return kind.transform == "binarize"
    x: Any = task.truth[modality].X
    return bool(np.isin(np.unique(x.data if hasattr(x, "tocsr") else x), (0, 1)).all())


def _translated(task: Task, result: Result, cells: pd.Index, seed: int) -> dict[str, float]:
    found: dict[str, float] = {}
    modalities = tuple(task.truth.mod)
    for target in modalities:
        for sources in _routes(modalities, target):
            values = result.translated.get((sources, target))
            scores = (
                dict.fromkeys(_NO_SCORES, float("nan"))
                if values is None
                else _compared(task, values, target, cells, seed)
            )
            found |= {f"translated_{'+'.join(sources)}_{target}_{name}": value for name, value in scores.items()}
    return found


def _imputed(task: Task, result: Result, cells: pd.Index, seed: int) -> dict[str, float]:
    """Scores of the counts that the task hides."""
    found: dict[str, float] = {}
    for modality in task.truth.mod:
        values = result.imputed.get(modality)
        shown = task.mdata[modality].obs_names if modality in task.mdata.mod else pd.Index([])
        hidden = cells[~cells.isin(shown)]
        scores = (
            dict.fromkeys(_NO_SCORES, float("nan"))
            if values is None
            else _compared(task, values, modality, hidden, seed)
        )
        found |= {f"imputed_{modality}_{name}": value for name, value in scores.items()}
    return found


def _corrected_graph(task: Task, result: Result, cells: pd.Index, seed: int) -> NDArray[np.float64] | Neighbours | None:
    wanted = [m for m in task.truth.mod if m in result.corrected]
    if set(wanted) != set(task.truth.mod):
        return None
    spaces = []
    for modality in wanted:
        values = result.corrected[modality].get(cells)
        if not np.isfinite(values).all():
            return None
        spaces.append(feature_space(values, seed=seed))
    return spaces[0] if len(spaces) == 1 else weighted_neighbours(spaces)


def _modality_scores(
    task: Task, result: Result, counts: dict[str, float], unlabelled: tuple[str, ...]
) -> ModalityScores:
    nan, modalities = float("nan"), list(task.truth.mod)
    aligned = dict.fromkeys(ALIGNMENT, nan)
    if len(modalities) > 1 and set(modalities) <= set(result.modality_latents):
        latents = [result.modality_latents[m] for m in modalities]
        shared = task.truth.obs_names
        for values in latents:
            shared = shared[shared.isin(values.cells)]
        # The truth contains a cell that the task split several times; it is used once.
        shared = shared[~task.origin.loc[shared].duplicated().to_numpy()]
        labels = None if task.labels is None else task.labels.loc[shared].to_numpy()
        if len(shared) > 1 and labels is not None and known_labels(labels, unlabelled)[1].any():
            of = {m: values.get(shared) for m, values in zip(modalities, latents, strict=True)}
            aligned = alignment(of, labels, unlabelled=unlabelled)
    translated = {}
    if len(modalities) > 1:
        for target in modalities:
            score = "auroc" if _is_binary(task, target) else "r_log1p_feature"
            routes = _routes(tuple(modalities), target)
            translated[target] = float(
                np.mean([counts[f"translated_{'+'.join(of)}_{target}_{score}"] for of in routes])
            )
    return ModalityScores(**aligned, translated=translated)


def _taken_apart(task: Task, z: NDArray[np.float64], unlabelled: tuple[str, ...]) -> dict[str, float]:
    """FOSCTTM and label transfer (10 neighbours, macro-F1, both ways) between the split measurements of a cell."""
    found = {"split_foscttm": float("nan"), "split_label_f1": float("nan")}
    repeated = task.origin.duplicated(keep=False).to_numpy()
    if not repeated.any() or task.labels is None:
        return found
    cells, origin = task.truth.obs_names, task.origin.to_numpy()
    parts: dict[str, NDArray[np.int64]] = {}
    for modality, adata in task.mdata.mod.items():
        at = np.flatnonzero(repeated & cells.isin(adata.obs_names))
        parts[modality] = at[np.argsort(origin[at])]  # the same cells in the same order
    sizes = {len(at) for at in parts.values()}
    if len(sizes) != 1:
        return found
    labels, has_label = known_labels(task.labels, unlabelled)
    closer, carried = [], []
    for a, b in combinations(parts.values(), 2):
        closer.append(foscttm(z[a], z[b]))
        known = has_label[a]
        if not known.any():
            carried.append(float("nan"))
            continue
        for x, y in ((a[known], b[known]), (b[known], a[known])):
            carried.append(label_transfer_f1(z[x], labels[x], z[y], labels[y]))
    return {"split_foscttm": float(np.mean(closer)), "split_label_f1": float(np.mean(carried))}
