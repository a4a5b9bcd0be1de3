"""Tasks made harder: less depth, types missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from midas import keys
from midas.metrics.labels import known_labels
from midas.metrics.tasks.build import joined, subset
from midas.metrics.tasks.draw import THIN
from midas.metrics.tasks.record import UNLABELLED, Task


def thinned(task: Task, fraction: float, *, modalities: Sequence[str] | None = None, seed: int = 0) -> Task:
    """Keep each count of a task with probability `fraction`, as in a shallower sequencing run; the truth is unchanged.

    Parameters
    ----------
    task
        Any.
    fraction
        From 0 to 1.
    modalities
        Modalities to thin; None for all.
    seed
        Of the draws.
    """
    if not 0 < fraction <= 1:
        msg = f"Expected a fraction above 0 and up to 1, found {fraction}."
        raise ValueError(msg)
    wanted = set(task.mdata.mod) if modalities is None else set(modalities)
    if wanted - set(task.truth.mod):
        msg = f"Expected modalities out of {', '.join(task.truth.mod)}, found {', '.join(sorted(wanted))}."
        raise ValueError(msg)
    parts = {}
    for i, (name, mod) in enumerate(task.mdata.mod.items()):
        counts = mod.X
        if name in wanted:
            rng = np.random.default_rng([seed, THIN, i])
            counts = sp.csr_matrix(counts, copy=True)
            counts.data = rng.binomial(np.rint(counts.data).astype(np.int64), fraction).astype(counts.dtype)
            counts.eliminate_zeros()
        parts[name] = ad.AnnData(counts, obs=mod.obs.copy(), var=mod.var.copy())
    thin = joined(parts, task.mdata.obs.copy(), {})
    return replace(task, name=f"{task.name}, {fraction:.0%} of the counts", mdata=thin)


def without_types(task: Task, *, unlabelled: Sequence[str] = keys.NO_LABEL) -> Task:
    """Remove one type from each batch of a task: the most frequent one from the first, the next from the second, and so on.

    Only types that also occur in other batches are removed. The cells are removed from the truth as well.

    Parameters
    ----------
    task
        With labels.
    unlabelled
        Labels that are not types, case-insensitive, in addition to ``unknown``, which the task gives to cells without a label.
    """
    if task.labels is None:
        raise ValueError("Expected a task with labels, found one without. Name their column with label_key=.")
    batch, labels = task.batch.to_numpy(), task.labels.to_numpy()
    batches = sorted(set(batch))
    table = pd.crosstab(labels, batch)
    is_type = known_labels(table.index, (*unlabelled, UNLABELLED))[1]
    common = table[is_type & ((table > 0).sum(axis=1) > 1)]
    types = common.sum(axis=1).sort_values(ascending=False, kind="stable").index.tolist()
    gone = np.zeros(len(batch), dtype=bool)
    left = (table > 0).sum(axis=1)
    for i, b in enumerate(batches):
        candidates = [t for t in types[i % max(len(types), 1) :] + types if table.loc[t, b] > 0 and left[t] > 1]
        if candidates:
            gone |= (batch == b) & (labels == candidates[0])
            left[candidates[0]] -= 1
    if not gone.any():
        raise ValueError("Expected types that several batches have, found none: no type can be taken from a batch.")
    return subset(task, ~gone, f"{task.name}, a type missing in each batch")
