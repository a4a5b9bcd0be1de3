"""Batches whose cells are of other kinds, or few: ``python benchmarks/compositions.py DATA [--seeds 0,1]``.

Batches of real data with some of their types, or some of their cells: scIB of the embedding and of principal components (which
correct nothing), and the share of a cell's 15 nearest cells that are of its type, mean over the types.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

import mudata
import numpy as np

import midas
from common import machine, markdown
from midas.io import read_file
from midas.metrics import scib
from overcorrection import chosen, pca, purity

FIRST, SECOND = "pbmc10k", "pbmc5k"
T, OTHER = ("CD4 T", "CD8 T", "NK"), ("CD14 Mono", "B", "DC")


def citeseq(data: Path, first: tuple[str, ...], second: tuple[str, ...], most: tuple[int, int]) -> mudata.MuData:
    """Cells of two batches, of these types each."""
    mdata = read_file(data / "pbmc_citeseq_10x_2batch.h5mu")
    batch, label = (mdata.obs[key].astype(str).to_numpy() for key in ("batch", "cell_type"))
    rng, kept = np.random.default_rng(7), np.zeros(len(batch), dtype=bool)
    for name, types, n in ((FIRST, first, most[0]), (SECOND, second, most[1])):
        kept[rng.permutation(np.flatnonzero((batch == name) & np.isin(label, types)))[:n]] = True
    return chosen(mdata, mdata.obs_names[kept].to_numpy())


def many(data: Path) -> mudata.MuData:
    """Twenty batches of 80 cells: each batch of wnn cut into five."""
    mdata = read_file(data / "pbmc_wnn_mosaic_1600.h5mu")
    part = np.random.default_rng(7).integers(0, 5, mdata.n_obs)
    mdata.obs["batch"] = [f"{b}-{k}" for b, k in zip(mdata.obs["batch"].astype(str), part, strict=True)]
    for adata in mdata.mod.values():
        adata.obs["batch"] = mdata.obs["batch"].reindex(adata.obs_names).to_numpy()
    mdata.obs["cell_type"] = mdata.obs["celltype"]
    return mdata


EVERY = (*T, *OTHER)
CASES: dict[str, Callable[[Path], mudata.MuData]] = {
    "20 batches of 80 cells": many,
    "100 cells beside 2,900": lambda data: citeseq(data, EVERY, EVERY, (2900, 100)),
    "one type in common": lambda data: citeseq(data, (*T, "CD14 Mono"), OTHER, (1500, 500)),
    "one batch of one type": lambda data: citeseq(data, EVERY, ("CD4 T",), (2000, 500)),
    "no type in common": lambda data: citeseq(data, T, OTHER, (1400, 600)),
}


def row(case: str, name: str, z: np.ndarray, mdata: mudata.MuData, seconds: float) -> list[str]:
    batch, label = (mdata.obs[key].astype(str).to_numpy() for key in ("batch", "cell_type"))
    found = scib(z, batch, label)
    scores = (found.overall, found.batch, found.bio, purity(z, label, list(np.unique(label))))
    return [case, name, *(f"{score:.3f}" for score in scores), f"{seconds:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", default="0,1")
    args = parser.parse_args()
    logging.getLogger("midas").setLevel(logging.ERROR)
    rows = []
    for case in args.cases:
        mdata = CASES[case](args.data)
        rows.append(row(case, "PCA", pca(mdata), mdata, 0))
        for seed in map(int, args.seeds.split(",")):
            started = time.process_time()
            model = midas.MIDAS(mdata, seed=seed).fit(progress=False)
            rows.append(row(case, f"midas, seed {seed}", model.latent(), mdata, time.process_time() - started))
            print(rows[-1], flush=True)
    head = ["case", "method", "scIB overall", "batch", "bio", "own type among neighbours", "training CPU s"]
    print(machine(), markdown(head, rows), sep="\n\n")


if __name__ == "__main__":
    main()
