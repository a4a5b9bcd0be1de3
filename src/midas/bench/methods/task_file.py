"""Shared by all method scripts: command line, reading tasks, normalisation, and writing results.

Runs in the environment of each method, so it may use numpy, scipy, pandas, scikit-learn, anndata and mudata, but never midas.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.decomposition import PCA

MEASURED = "measured_"  # var["measured_<batch>"]: whether the batch measured the feature; True if the column is missing
COMPONENTS = 30


@dataclass(frozen=True)
class Arguments:
    """The command line of every method script."""

    task: Path
    truth: Path
    out: Path
    seed: int
    seconds: float | None
    epochs: int | None
    threads: int


def arguments() -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", type=Path, required=True, help="the mosaic, .h5mu")
    parser.add_argument(
        "--truth", type=Path, required=True, help="the same cells with all that is known of them, .h5mu"
    )
    parser.add_argument("--out", type=Path, required=True, help="the result, .npz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="end the training after so many CPU seconds")
    parser.add_argument("--epochs", type=int, help="train for so many epochs in place of the method's own advice")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    warnings.filterwarnings("ignore")
    return Arguments(**vars(parser.parse_args()))


@dataclass(frozen=True)
class Block:
    """One modality: the cells that have it.

    Attributes
    ----------
    cells, features
        Names.
    counts
        CSR, cells x features.
    batch
        Of each cell.
    common
        Features that every batch of the modality measured.
    """

    cells: pd.Index
    features: pd.Index
    counts: sp.csr_matrix
    batch: NDArray[np.str_]
    common: NDArray[np.bool_]


@dataclass(frozen=True)
class Task:
    """A mosaic as its file holds it: all cells, their batches, and the modalities."""

    mdata: mudata.MuData
    cells: pd.Index
    batch: NDArray[np.str_]
    blocks: dict[str, Block]

    def rows(self, name: str) -> NDArray[np.intp]:
        """Row numbers, among all cells, of the cells of a modality."""
        return self.cells.get_indexer(self.blocks[name].cells)

    def combinations(self) -> dict[tuple[str, ...], NDArray[np.intp]]:
        """Row numbers of the cells that have exactly these modalities."""
        has = np.stack([self.cells.isin(block.cells) for block in self.blocks.values()], axis=1)
        names = np.asarray(list(self.blocks))
        patterns = np.unique(has, axis=0)
        return {tuple(names[p].tolist()): np.flatnonzero((has == p).all(1)) for p in patterns}


def read(path: Path, only: Sequence[str] | None = None) -> Task:
    """Read a task or its truth; of the truth, `only` the modalities that the task has."""
    with mudata.set_options(pull_on_update=False):
        mdata = mudata.read_h5mu(path)
        if only is not None:
            obs = mdata.obs
            mdata = mudata.MuData({name: mdata[name] for name in only}, obs=pd.DataFrame(index=obs.index))
            mdata.obs = obs
    cells = pd.Index(mdata.obs_names.astype(str))
    batch = mdata.obs["batch"].astype(str).to_numpy(dtype=str)
    blocks = {}
    for name, mod in mdata.mod.items():
        own = batch[cells.get_indexer(mod.obs_names.astype(str))]
        # Some libraries expect the batch in the modality's own obs.
        mod.obs["batch"] = pd.Categorical(own)
        common = np.ones(mod.n_vars, dtype=bool)
        for b in np.unique(own):
            if f"{MEASURED}{b}" in mod.var:
                common &= mod.var[f"{MEASURED}{b}"].to_numpy(dtype=bool)
        counts = sp.csr_matrix(mod.X, dtype=np.float32)
        blocks[name] = Block(
            pd.Index(mod.obs_names.astype(str)), pd.Index(mod.var_names.astype(str)), counts, own, common
        )
    return Task(mdata, cells, batch, blocks)


def normalised(name: str, counts: sp.csr_matrix) -> NDArray[np.float32] | sp.csr_matrix:
    """Log of depth-scaled counts (RNA), centred log ratio (ADT), TF-IDF of accessibility (ATAC)."""
    total = np.maximum(np.asarray(counts.sum(1)).ravel(), 1)
    if name == "adt":
        logs = np.log1p(counts.toarray())
        return np.asarray(logs - logs.mean(1, keepdims=True), dtype=np.float32)
    if name == "atac":
        open_ = (counts > 0).astype(np.float32)
        depth = np.maximum(np.asarray(open_.sum(1)).ravel(), 1)
        rarity = np.log1p(open_.shape[0] / np.maximum(np.asarray(open_.sum(0)).ravel(), 1))
        scaled = sp.csr_matrix(sp.diags(1e4 / depth) @ open_ @ sp.diags(rarity))
    else:
        scaled = sp.csr_matrix(sp.diags(np.median(total) / total) @ counts)
    scaled.data = np.log1p(scaled.data)
    return scaled.astype(np.float32)


def components(name: str, block: Block, seed: int, n: int = COMPONENTS) -> NDArray[np.float32]:
    """Principal components of a modality over the cells that have it and the features that all its batches measured."""
    values = normalised(name, block.counts[:, np.flatnonzero(block.common)])
    n = min(n, values.shape[0] - 1, values.shape[1] - 1)
    solver = "arpack" if sp.issparse(values) else "randomized"
    return np.asarray(PCA(n, svd_solver=solver, random_state=seed).fit_transform(values), dtype=np.float32)


def joined_components(task: Task, seed: int) -> NDArray[np.float32]:
    """Components of all modalities side by side; a missing modality is filled with its mean, zero."""
    parts = []
    for name, block in task.blocks.items():
        found = components(name, block, seed)
        part = np.zeros((len(task.cells), found.shape[1]), dtype=np.float32)
        part[task.rows(name)] = found
        parts.append(part)
    return np.concatenate(parts, axis=1)


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Proper non-empty subsets of modalities, in the order given."""
    for size in range(1, len(names)):
        yield from combinations(names, size)


def aligned(values: NDArray[Any], cells: pd.Index, to: pd.Index) -> NDArray[np.float32]:
    """Rows of `values` in the order of `to`; NaN for cells that have none."""
    out = np.full((len(to), values.shape[1]), np.nan, dtype=np.float32)
    at = cells.get_indexer(to)
    out[at >= 0] = values[at[at >= 0]]
    return out


def padded(adata: ad.AnnData, cells: pd.Index, batch: NDArray[np.str_]) -> ad.AnnData:
    """All cells of the task, with zero counts where a cell lacks the modality, as some libraries require."""
    at = pd.Index(adata.obs_names.astype(str)).get_indexer(cells)
    rows = np.flatnonzero(at >= 0)
    pick = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, at[rows])), shape=(len(cells), adata.n_obs))
    obs = pd.DataFrame({"batch": pd.Categorical(batch)}, index=cells)
    counts = sp.csr_matrix(pick @ sp.csr_matrix(adata.X, dtype=np.float32))
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=adata.var_names.astype(str)))


class Clock:
    """CPU seconds of this process since it was made."""

    def __init__(self, limit: float | None) -> None:
        self._start, self._limit = time.process_time(), limit

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.process_time() - self._start

    @property
    def over(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and self.seconds >= self._limit


def write(out: Path, task: Task, arrays: Mapping[str, Any], *, package: str | None = None, **info: object) -> None:
    """Write the result, and next to it a record of the run."""
    found = {"cells": task.cells.to_numpy(dtype=str)}
    for key, value in arrays.items():
        array = np.asarray(value)
        found[key] = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(str)
    for name, block in task.blocks.items():
        found.setdefault(f"features/{name}", block.features.to_numpy(dtype=str))
    np.savez_compressed(out, **found)  # type: ignore[arg-type]  # numpy's own keyword has a name of its own
    if package is not None:
        info["version"] = version(package)
    out.with_name("info.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
