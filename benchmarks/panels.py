"""Features that one batch did not measure and others did: ``python benchmarks/panels.py DATA [--sets wnn,citeseq,standin]``.

Half of the genes and half of the proteins of one batch are hidden, by chance. Of its cells, which have the modality, the hidden
counts are compared with those imputed: by default, from each cell's own state alone (``n_neighbors = 0``, the same model), and
by nearest neighbours of other batches on the features that both measured, brought to the cell's depth.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

import midas
from common import machine, markdown
from midas.bench.data import SOURCES
from midas.keys import MEASURED_PREFIX
from midas.metrics import coverage, feature_correlation

BATCH = {"wnn": "p4_0", "citeseq": "pbmc10k", "standin": "pbmc10k_a"}
COMPONENTS, NEIGHBOURS, DRAWS = 20, 20, 40


@dataclass(frozen=True)
class Hidden:
    """What was hidden of one modality of one batch.

    Attributes
    ----------
    cells, features
        Names.
    counts
        The truth, `(n_cells, n_features)`.
    """

    cells: pd.Index
    features: pd.Index
    counts: NDArray[np.float32]


def hide(data: md.MuData, modality: str, batch: str, rng: np.random.Generator) -> Hidden:
    """Hide half of what `batch` and any other measured, in place."""
    part = data[modality]
    of = data.obs.loc[part.obs_names, "batch"].astype(str).to_numpy()
    measured = {
        name: np.asarray(part.var.get(f"{MEASURED_PREFIX}{name}", np.ones(part.n_vars)), dtype=bool)
        for name in np.unique(of)
    }
    elsewhere = np.any([known for name, known in measured.items() if name != batch], axis=0)
    both = np.flatnonzero(measured[batch] & elsewhere)
    at = np.sort(rng.choice(both, len(both) // 2, replace=False))
    counts = np.asarray(sp.csr_matrix(part.X).todense(), dtype=np.float32)
    rows = np.flatnonzero(of == batch)
    truth = counts[np.ix_(rows, at)].copy()
    counts[np.ix_(rows, at)] = 0
    part.X = sp.csr_matrix(counts)
    measured[batch][at] = False
    for name, known in measured.items():
        part.var[f"{MEASURED_PREFIX}{name}"] = known
    return Hidden(part.obs_names[rows], part.var_names[at].astype(str), truth)


def by_neighbours(data: md.MuData, modality: str, hidden: Hidden) -> NDArray[np.float64]:
    """Counts from cells of other batches that measured the hidden features, nearest on those that both measured."""
    part = data[modality]
    of = data.obs.loc[part.obs_names, "batch"].astype(str)
    known = part.var[[c for c in part.var if c.startswith(MEASURED_PREFIX)]].to_numpy(dtype=bool)
    names = [c.removeprefix(MEASURED_PREFIX) for c in part.var if c.startswith(MEASURED_PREFIX)]
    batch = names.index(of[hidden.cells[0]])
    at = part.var_names.get_indexer(hidden.features)
    lending = [i for i in range(len(names)) if known[at, i].all()]
    shared = known[:, [batch, *lending]].all(1)
    lenders = np.flatnonzero(of.isin([names[i] for i in lending]))
    rows = part.obs_names.get_indexer(hidden.cells)
    x = np.asarray(sp.csr_matrix(part.X).todense(), dtype=np.float64)
    depth = np.maximum(x[:, shared].sum(1), 1)
    normal = np.log1p(x / depth[:, None] * np.median(depth))
    for name in of.unique():
        mine = (of == name).to_numpy()
        normal[np.ix_(mine, shared)] -= normal[np.ix_(mine, shared)].mean(0)
    some = np.concatenate([rows, lenders])
    space = PCA(min(COMPONENTS, int(shared.sum()) - 1), random_state=0).fit_transform(normal[some][:, shared])
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(space[len(rows) :]).kneighbors(space[: len(rows)])[1]
    mean = np.expm1(normal[lenders][:, at][near].mean(1))
    return np.asarray(mean * depth[rows][:, None] / np.median(depth))


def main() -> None:
    """Hide, train, impute, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="wnn,citeseq,standin")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cells", type=int, default=1300)
    args = parser.parse_args()
    rows = []
    for name in args.sets.split(","):
        for seed in (int(text) for text in args.seeds.split(",")):
            rng = np.random.default_rng(seed)
            data = SOURCES[name].load(args.data)
            data = data[np.sort(rng.permutation(data.n_obs)[: args.cells])].copy()
            hidden = {modality: hide(data, modality, BATCH[name], rng) for modality in ("rna", "adt")}
            model = midas.MIDAS(data, seed=seed).fit(progress=False)
            config = model.config
            for modality, truth in hidden.items():
                found = {"midas": model.impute(modality)[truth.cells, truth.features].X}
                draws = [
                    model.impute(modality, sample=True, seed=i)[truth.cells, truth.features].X for i in range(DRAWS)
                ]
                held = coverage(truth.counts, np.stack(draws))[0.9]
                model.config = replace(config, inference=midas.InferenceConfig(n_neighbors=0, spread=False))
                found["own state"] = model.impute(modality)[truth.cells, truth.features].X
                model.config = config
                found["neighbours"] = by_neighbours(data, modality, truth)
                for method, values in found.items():
                    error = float(np.square(np.log1p(values) - np.log1p(truth.counts)).mean())
                    r = feature_correlation(values, truth.counts)
                    interval = f"{held:.3f}" if method == "midas" else ""
                    rows.append(
                        [name, modality, len(truth.features), method, seed, f"{r:.3f}", f"{error:.3f}", interval]
                    )
    table = pd.DataFrame(rows, columns=["set", "modality", "hidden", "method", "seed", "r", "error", "in 90%"])
    print(machine(), "\n")
    print(markdown(list(table.columns), table.to_numpy().tolist()))


if __name__ == "__main__":
    main()
