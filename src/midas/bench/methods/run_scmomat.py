"""scMoMaT at the settings of its tutorial: one matrix per batch and modality, 30 factors."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import scmomat
import torch
from task_file import Clock, arguments, read, write

FACTORS = 30
STEPS = 4000

args = arguments()
task = read(args.task)
batches = np.unique(task.batch).tolist()
counts: dict[str, Any] = {"nbatches": len(batches), "feats_name": {}}
order = np.concatenate([np.flatnonzero(task.batch == b) for b in batches])
# All cells of a batch must have the same modalities, so mixed batches are split.
parts: list[np.ndarray] = []
for b in batches:
    inside = task.batch == b
    parts += [
        rows
        for rows in (np.intersect1d(rows, np.flatnonzero(inside)) for rows in task.combinations().values())
        if len(rows)
    ]
counts["nbatches"] = len(parts)
for name, block in task.blocks.items():
    at = np.full(len(task.cells), -1)
    at[task.rows(name)] = np.arange(len(block.cells))
    keep = np.flatnonzero(block.common)
    matrices: list[Any] = []
    for rows in parts:
        if (at[rows] < 0).any():
            matrices.append(None)
            continue
        dense = block.counts[at[rows]][:, keep].toarray()
        kind = {"rna": "RNA", "adt": "protein", "atac": "ATAC"}[name]
        matrices.append(scmomat.preprocess(dense, modality=kind, log=False))
    counts[name] = matrices
    counts["feats_name"][name] = block.features[keep].to_numpy(dtype=str)
clock = Clock(None)
with contextlib.redirect_stdout(io.StringIO()):
    model = scmomat.scmomat_model(
        counts=counts,
        K=FACTORS,
        batch_size=0.1,
        interval=1000,
        lr=1e-2,
        lamb=0.001,
        seed=args.seed,
        device=torch.device("cpu"),
    )
    model.train_func(T=args.epochs or STEPS)
    factors = model.extract_cell_factors()
z = np.empty((len(task.cells), FACTORS), dtype=np.float32)
for rows, part in zip(parts, factors, strict=True):
    z[rows] = np.asarray(part)
write(args.out, task, {"embedding": z}, package="scmomat", train_cpu_s=clock.seconds)
