"""Is something corrected that is no batch effect? ``python benchmarks/overcorrection.py DATA [--cases one,split,partial]``.

`one`: cells of one batch, trained as one batch. `split`: the same, cut into two batches at random, so that there is no effect to
correct. `partial`: the same two, the most frequent type taken out of one and the second most frequent out of the other, so that
each has a type of its own. Scores against PCA of each modality side by side, on the same cells: bio (scIB), and of the two types
the share of a cell's 15 nearest neighbours that are of its type.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

import midas
from common import machine, markdown
from midas.bench.data import SOURCES
from midas.metrics import scib

# A batch of each set with all of its modalities, and how many of its cells.
SETS = {"wnn": ("p4_0", 400), "citeseq": ("pbmc10k", 800), "standin": ("pbmc5k_a", 800)}
NO_LABEL = "unknown"


def one_batch(data: Path, name: str, seed: int) -> md.MuData:
    mdata = SOURCES[name].load(data)
    batch, n = SETS[name]
    cells = mdata.obs_names[(mdata.obs["batch"].astype(str) == batch).to_numpy()]
    return chosen(mdata, np.random.default_rng(seed).choice(cells, min(n, len(cells)), replace=False))


def chosen(mdata: md.MuData, cells: NDArray[np.object_]) -> md.MuData:
    with md.set_options(pull_on_update=False):
        part = md.MuData({name: a[a.obs_names.isin(cells)].copy() for name, a in mdata.mod.items()})
    part.obs = mdata.obs.loc[part.obs_names].copy()
    return part


def with_batches(mdata: md.MuData, case: str, seed: int) -> tuple[md.MuData, list[str]]:
    """Batches as the case wants them, and the types that only one of them has."""
    half = np.where(np.random.default_rng(seed).random(mdata.n_obs) < 0.5, "x", "y")
    batch = np.full(mdata.n_obs, "one") if case == "one" else half
    own: list[str] = []
    if case == "partial":
        label = mdata.obs["cell_type"].astype(str).to_numpy()
        own = [str(t) for t in pd.Series(label[label != NO_LABEL]).value_counts().index[:2]]
        kept = ~(((half == "x") & (label == own[0])) | ((half == "y") & (label == own[1])))
        mdata, batch = chosen(mdata, mdata.obs_names[kept].to_numpy()), batch[kept]
    names = pd.Series(batch, index=mdata.obs_names)
    mdata.obs["batch"] = names.to_numpy()
    for adata in mdata.mod.values():
        adata.obs["batch"] = names.loc[adata.obs_names].to_numpy()
    return mdata, own


def pca(mdata: md.MuData) -> NDArray[np.float64]:
    """Twenty components of each modality side by side, zero where a cell lacks it."""
    parts = []
    for name, adata in mdata.mod.items():
        x = np.asarray(adata.X.todense(), dtype=np.float64)
        if name == "rna":
            x = x / np.maximum(x.sum(1, keepdims=True), 1) * 1e4
        x = np.log1p(x)
        if name == "adt":
            x = x - x.mean(1, keepdims=True)
        found = PCA(20, random_state=0).fit_transform(x)
        part = np.zeros((mdata.n_obs, found.shape[1]))
        part[mdata.obs_names.get_indexer(adata.obs_names)] = found / found.std()
        parts.append(part)
    return np.concatenate(parts, axis=1)


def purity(z: NDArray[np.float64], label: NDArray[np.str_], of: list[str]) -> float:
    near = NearestNeighbors(n_neighbors=16).fit(z).kneighbors(z)[1][:, 1:]
    return float(np.mean([(label[near[label == name]] == name).mean() for name in of])) if of else float("nan")


def row(data: Path, name: str, case: str, seed: int, config: midas.Config) -> dict[str, object]:
    mdata, own = with_batches(one_batch(data, name, seed), case, seed)
    label = mdata.obs["cell_type"].astype(str).to_numpy()
    # With one batch, two random halves show what mixing looks like where there is nothing to mix.
    batch = mdata.obs["batch"].astype(str).to_numpy()
    if case == "one":
        batch = np.where(np.arange(len(batch)) % 2 == 0, "x", "y")
    found = {"midas": midas.MIDAS(mdata, config=config, seed=seed).fit(progress=False).latent(), "PCA": pca(mdata)}
    out: dict[str, object] = {"set": name, "case": case, "seed": seed, "cells": mdata.n_obs}
    for method, z in found.items():
        scores = scib(z, batch, label, unlabelled=(NO_LABEL,))
        out |= {
            f"bio, {method}": scores.bio,
            f"batch, {method}": scores.batch,
            f"own types, {method}": purity(z, label, own),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Is something corrected that is no batch effect?")
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--cases", default="one,split,partial")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--config", type=Path, help="TOML file; the default configuration if left out")
    options = parser.parse_args()
    config = midas.Config() if options.config is None else midas.Config.from_toml(options.config)
    rows = []
    for name in options.sets.split(","):
        for case in options.cases.split(","):
            for seed in map(int, options.seeds.split(",")):
                rows.append(row(options.data, name, case, seed, config))
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows).drop(columns=["seed", "cells"])
    means = table.groupby(["set", "case"], sort=False).agg(["mean", "std"]).round(3)
    means.columns = [f"{name}, {kind}" for name, kind in means.columns]
    means = means.reset_index()
    print(machine(), markdown(means.columns.tolist(), means.to_numpy().tolist()), sep="\n\n")


if __name__ == "__main__":
    main()
