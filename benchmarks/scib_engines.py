"""scIB by this package and by scib-metrics, of two embeddings: ``python benchmarks/scib_engines.py DATA.h5mu --label celltype``.

The embeddings are principal components of each modality side by side (0 where a cell lacks it), which do not mix batches, and
the biological state of a model. Both engines get the same neighbours. Needs the extra ``scib``.
"""

from __future__ import annotations

import argparse
import time

import mudata as md
import numpy as np
import pandas as pd

import midas
from common import machine, markdown
from midas.io import read_file
from midas.metrics import neighbours, scib
from midas.metrics.scmib import feature_space


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--batch", default="batch")
    parser.add_argument("--label", default="cell_type")
    parser.add_argument("--unlabelled", nargs="*", default=["unknown"])
    parser.add_argument("--epochs", type=int, default=None)
    arguments = parser.parse_args()
    mdata = read_file(arguments.data)
    if not isinstance(mdata, md.MuData):
        raise SystemExit(f"Expected a MuData in {arguments.data}, found an AnnData.")
    training = {} if arguments.epochs is None else {"training": {"epochs": arguments.epochs}}
    model = midas.MIDAS(mdata, config=midas.Config.from_dict(training), batch_key=arguments.batch).fit(progress=False)
    order = model.read(mdata, batch_key=arguments.batch).cells.get_indexer(mdata.obs_names.astype(str))
    labels = mdata.obs[arguments.label].astype(str).to_numpy()
    known = ~np.isin(labels, arguments.unlabelled)
    batch = mdata.obs[arguments.batch].astype(str).to_numpy()[known]
    for name, z in {"PCA": components(mdata), "midas": model.latent(mdata)[order]}.items():
        graph = neighbours(z[known], 90)
        scores, seconds = {}, {}
        for engine in ("own", "scib-metrics"):
            for run in ("first", "second"):
                started = time.perf_counter()
                scores[f"{engine}, {run} call"] = scib(
                    graph, batch, labels[known], unlabelled=(), engine=engine
                ).to_series()
                seconds[f"{engine}, {run} call"] = time.perf_counter() - started
        table = pd.DataFrame(scores)
        rows = [[score, *(f"{v:.4f}" for v in row)] for score, row in zip(table.index, table.to_numpy(), strict=True)]
        rows.append(["seconds", *(f"{s:.1f}" for s in seconds.values())])
        print(f"**{name}**", markdown(["score", *table.columns], rows), sep="\n\n", end="\n\n", flush=True)
    print(machine())


def components(mdata: md.MuData) -> np.ndarray:
    parts = []
    for modality in mdata.mod.values():
        counts = modality.X.toarray() if hasattr(modality.X, "toarray") else modality.X
        found = feature_space(counts)
        whole = np.zeros((mdata.n_obs, found.shape[1]))
        whole[mdata.obs_names.get_indexer(modality.obs_names)] = found
        parts.append(whole)
    return np.concatenate(parts, axis=1)


if __name__ == "__main__":
    main()
