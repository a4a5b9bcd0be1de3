"""MOFA+ (mofapy2): batches as groups, modalities as views; missing modalities are missing values."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from mofapy2.run.entry_point import entry_point
from task_file import Clock, arguments, normalised, read, write

FACTORS = 15
MOST_FEATURES = 5000  # the tool uses dense matrices; its documentation advises keeping variable features

args = arguments()
task = read(args.task)
groups = np.unique(task.batch).tolist()
rows_of = {group: np.flatnonzero(task.batch == group) for group in groups}
views = list(task.blocks)
values, features = {}, {}
for name, block in task.blocks.items():
    if name == "adt":
        # Not centred per cell, so that imputed values can be converted back to counts.
        whole: Any = np.log1p(block.counts.toarray())
    else:
        whole = normalised(name, block.counts)
    dense: Any = whole if isinstance(whole, np.ndarray) else whole.toarray()
    keep = np.sort(np.argsort(-dense.var(0), kind="stable")[:MOST_FEATURES])
    keep = keep[dense[:, keep].var(0) > 0]
    features[name] = block.features[keep]
    full = np.full((len(task.cells), len(keep)), np.nan)
    full[task.rows(name)] = dense[:, keep]
    for batch in np.unique(block.batch):
        column = f"measured_{batch}"
        var = task.mdata[name].var
        if column in var:
            unmeasured = np.flatnonzero(~var[column].to_numpy(dtype=bool)[keep])
            full[np.ix_(rows_of[batch], unmeasured)] = np.nan
    values[name] = full

clock = Clock(None)
with contextlib.redirect_stdout(io.StringIO()):
    tool = entry_point()
    tool.set_data_options(scale_views=True, scale_groups=False)
    tool.set_data_matrix(
        [[values[view][rows_of[group]] for group in groups] for view in views],
        likelihoods=["gaussian"] * len(views),
        views_names=views,
        groups_names=groups,
        samples_names=[task.cells[rows_of[group]].tolist() for group in groups],
        # A gene and its protein may have the same name; the tool requires unique names.
        features_names=[(f"{view}:" + features[view]).tolist() for view in views],
    )
    tool.set_model_options(factors=FACTORS, spikeslab_weights=True, ard_factors=len(groups) > 1, ard_weights=True)
    tool.set_train_options(iter=args.epochs or 1000, convergence_mode="fast", seed=args.seed, quiet=True, verbose=False)
    tool.build()
    tool.run()

order = np.concatenate([rows_of[group] for group in groups])
expected = tool.model.getExpectations()
z = np.empty((len(task.cells), np.asarray(expected["Z"]["E"]).shape[1]))
z[order] = np.asarray(expected["Z"]["E"])
arrays: dict[str, Any] = {"embedding": z}
for view, weights in zip(views, expected["W"], strict=True):
    # Undo the tool's scaling and centring per group: the scale of the view, the mean of the feature.
    fitted = z @ np.asarray(weights["E"]).T
    known = values[view]
    scale = np.nanstd(known - np.nanmean(known, 0))
    guess = fitted * scale + np.nanmean(known, 0)
    arrays[f"imputed/{view}"] = np.clip(guess, 0, 1) if view == "atac" else np.expm1(np.maximum(guess, 0))
    arrays[f"features/{view}"] = features[view].to_numpy(dtype=str)
write(args.out, task, arrays, package="mofapy2", train_cpu_s=clock.seconds)
