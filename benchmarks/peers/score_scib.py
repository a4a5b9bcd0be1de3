"""Score embeddings of a mosaic: scib-metrics 0.5.10, and the split protocol.

Runs in the environment that ``setup_env.sh scib`` makes.

* ``score_scib.py scib DATA.h5mu EMB.npz ... --out scores.json``: the Benchmarker of scib-metrics with all its 12
  metrics; batch and bio scores are the means of their five and seven metrics, total = 0.4 batch + 0.6 bio.
* ``score_scib.py split DATA.h5mu EMB.npz ... --out scores.json``: FOSCTTM and 10-NN macro-F1 between the RNA-only and
  the ADT-only half of the same cells (``pbmc_wnn_split.h5mu`` of ``make_mosaics.py``), the mean of both ways.

An embedding is an .npz file with ``names`` (cells) and ``X`` (cells x dimensions), in any order of cells. All
embeddings of one call share the start-up and compilation time.

The embedding before integration, which one of the metrics compares with, is the concatenated PCA of
:func:`concatenated_pca`.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as mu
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

LABEL_KEYS = ("cell_type", "celltype")
Embedding = Path | str | tuple[Sequence[str], np.ndarray]


def read_obs(mdata: mu.MuData) -> pd.DataFrame:
    """Return ``batch`` and ``cell_type`` of all cells as strings."""
    label = next(k for k in LABEL_KEYS if k in mdata.obs)
    return pd.DataFrame(
        {"batch": mdata.obs["batch"].astype(str), "cell_type": mdata.obs[label].astype(str)}, index=mdata.obs_names
    )


def concatenated_pca(mdata: mu.MuData, n_comps: int = 30, seed: int = 0) -> np.ndarray:
    """Embed the cells without integration.

    Per modality: features that every batch with the modality measured; counts scaled to the median total of the
    modality's cells and log1p (RNA), or log1p and centred per cell (ADT, a CLR); each feature centred; PCA over the
    cells that have the modality. The components are joined; a cell that lacks a modality gets zeros there, which is
    that modality's mean.

    Parameters
    ----------
    mdata
        The mosaic.
    n_comps
        Components per modality, at most one less than its features and cells.
    seed
        Of the randomised SVD.
    """
    blocks = []
    for name, mod in mdata.mod.items():
        keep = np.ones(mod.n_vars, dtype=bool)
        for batch in mod.obs["batch"].astype(str).unique():
            if f"measured_{batch}" in mod.var:
                keep &= mod.var[f"measured_{batch}"].to_numpy().astype(bool)
        x = mod.X[:, np.flatnonzero(keep)]
        x = np.asarray(x.todense() if sparse.issparse(x) else x, dtype=np.float32)
        if name == "adt":
            x = np.log1p(x)
            x = x - x.mean(axis=1, keepdims=True)
        else:
            total = x.sum(axis=1, keepdims=True)
            x = np.log1p(x / np.maximum(total, 1) * np.median(total))
        k = min(n_comps, x.shape[0] - 1, x.shape[1] - 1)
        block = np.zeros((mdata.n_obs, k), dtype=np.float32)
        rows = mdata.obs_names.get_indexer(mod.obs_names)
        block[rows] = PCA(k, svd_solver="randomized", random_state=seed).fit_transform(x)
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def load(embedding: Embedding, cells: pd.Index) -> np.ndarray:
    """Return an embedding's rows in the order of ``cells``."""
    if isinstance(embedding, str | Path):
        with np.load(embedding) as f:
            names, x = f["names"], f["X"]
    else:
        names, x = embedding
    rows = pd.Index(np.asarray(names).astype(str)).get_indexer(cells)
    if (rows < 0).any():
        raise ValueError(f"{(rows < 0).sum()} cells lack an embedding")
    x = np.asarray(x)[rows]
    if not np.isfinite(x).all():
        raise ValueError("the embedding has values that are not finite")
    return x


def score(
    data: mu.MuData | Path | str,
    embeddings: Mapping[str, Embedding],
    *,
    pca: bool = False,
    exclude: Sequence[str] = ("unknown",),
    n_jobs: int = 1,
) -> dict[str, dict[str, float]]:
    """Score embeddings with all metrics of scib-metrics.

    Parameters
    ----------
    data
        The mosaic or its file, with ``batch`` and ``cell_type`` (or ``celltype``) in ``obs``.
    embeddings
        By name: an .npz file, or cell names and array.
    pca
        Score the embedding before integration as well, under the name ``pca``.
    exclude
        Labels whose cells are left out of the scoring.
    n_jobs
        Of the neighbour search.

    Returns
    -------
    dict
        By name: ``batch``, ``bio``, ``total`` and the single metrics.
    """
    from scib_metrics.benchmark import BatchCorrection, Benchmarker, BioConservation

    mdata = data if isinstance(data, mu.MuData) else mu.read_h5mu(data)
    obs = read_obs(mdata)
    keep = ~obs["cell_type"].isin(list(exclude)).to_numpy()
    cells = obs.index[keep]
    adata = ad.AnnData(obs=obs[keep].astype("category"), X=sparse.csr_matrix((keep.sum(), 1), dtype=np.float32))
    adata.obsm["X_pre"] = concatenated_pca(mdata)[keep]
    for name, embedding in embeddings.items():
        adata.obsm[name] = load(embedding, cells)
    if pca:
        adata.obsm["pca"] = adata.obsm["X_pre"].copy()
    bench = Benchmarker(
        adata,
        batch_key="batch",
        label_key="cell_type",
        embedding_obsm_keys=[*embeddings, *(["pca"] if pca else [])],
        bio_conservation_metrics=BioConservation(nmi_ari_cluster_labels_leiden=True),
        batch_correction_metrics=BatchCorrection(),
        pre_integrated_embedding_obsm_key="X_pre",
        n_jobs=n_jobs,
        progress_bar=False,
    )
    bench.prepare()
    bench.benchmark()
    table = bench.get_results(min_max_scale=False).drop(index="Metric Type").astype(float)
    short = {"Batch correction": "batch", "Bio conservation": "bio", "Total": "total"}
    table = table.rename(columns=short)[[*short.values(), *(c for c in table.columns if c not in short)]]
    return {str(name): {k: round(float(v), 5) for k, v in row.items()} for name, row in table.iterrows()}


def foscttm(a: np.ndarray, b: np.ndarray) -> float:
    """Mean fraction of other cells closer than the true match, both ways; rows of ``a`` and ``b`` are matched."""
    d = cdist(a, b)
    match = np.diag(d)
    n = len(d) - 1
    return float(((d < match[:, None]).sum(axis=1).mean() + (d < match[None, :]).sum(axis=0).mean()) / (2 * n))


def transfer_f1(a: np.ndarray, b: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """Macro-F1 of labels carried by ``k`` nearest neighbours from ``a`` to ``b`` and back, the mean of both."""
    f1 = []
    for source, target in ((a, b), (b, a)):
        guess = KNeighborsClassifier(k).fit(source, labels).predict(target)
        f1.append(f1_score(labels, guess, average="macro", zero_division=0))
    return float(np.mean(f1))


def score_split(
    data: mu.MuData | Path | str, embeddings: Mapping[str, Embedding], *, batch: str = "p4_0", k: int = 10
) -> dict[str, dict[str, float]]:
    """Score the alignment of the two halves of the split protocol.

    Parameters
    ----------
    data
        The split mosaic, with batches ``<batch>_rna`` and ``<batch>_adt`` whose cell names differ in that suffix only.
    embeddings
        By name: an .npz file, or cell names and array.
    batch
        The batch that was split.
    k
        Neighbours for the label transfer.
    """
    mdata = data if isinstance(data, mu.MuData) else mu.read_h5mu(data)
    obs = read_obs(mdata)
    rna = obs.index[obs["batch"] == f"{batch}_rna"]
    adt = pd.Index([f"{name.removesuffix('_rna')}_adt" for name in rna])
    labels = obs.loc[rna, "cell_type"].to_numpy()
    scores = {}
    for name, embedding in embeddings.items():
        a, b = load(embedding, rna), load(embedding, adt)
        scores[name] = {"foscttm": round(foscttm(a, b), 5), "f1": round(transfer_f1(a, b, labels, k), 5)}
    return scores


def main() -> None:
    """Parse the command line, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("protocol", choices=("scib", "split"))
    parser.add_argument("data", type=Path, help="mosaic, .h5mu")
    parser.add_argument("embeddings", type=Path, nargs="*", help=".npz files with names and X")
    parser.add_argument("--out", type=Path, required=True, help=".json to write")
    parser.add_argument("--pca", action="store_true", help="scib: score the embedding before integration as well")
    parser.add_argument("--n-jobs", type=int, default=1)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")

    embeddings: dict[str, Embedding] = {f"{p.parent.name}/{p.stem}": p for p in args.embeddings}
    start = time.perf_counter()
    scores: dict[str, dict[str, Any]]
    if args.protocol == "scib":
        scores = score(args.data, embeddings, pca=args.pca, n_jobs=args.n_jobs)
        columns = ["batch", "bio", "total"]
    else:
        scores = score_split(args.data, embeddings)
        columns = ["foscttm", "f1"]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"data": args.data.name, "protocol": args.protocol, "scores": scores}, indent=1) + "\n"
    )
    print(pd.DataFrame(scores).T[columns].round(3).to_string())
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
