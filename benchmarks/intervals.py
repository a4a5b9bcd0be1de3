"""Do 90% intervals of drawn counts hold 90% of the counts? ``python benchmarks/intervals.py DATA [--sets wnn:split]``.

Of each modality of counts: cells whose counts the task hid, and cells that were trained on. Only features that the cell's batch
measured count. Intervals of whole numbers hold more than they say where counts are mostly 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import midas
from common import machine, markdown
from midas.bench.data import SOURCES
from midas.metrics import coverage, tasks

DRAWS, CELLS = 40, 200


def held(model: midas.MIDAS, task: tasks.Task, modality: str, *, hidden: bool) -> float:
    """Share of counts in their 90% interval, of up to 200 cells; NaN where there are fewer than 20."""
    mosaic = model.mosaic
    assert mosaic is not None
    cells = mosaic.cells[mosaic.modalities[modality].present != hidden]
    cells = cells[cells.isin(task.truth[modality].obs_names)]
    if len(cells) < 20:
        return float("nan")
    cells = cells[np.sort(np.random.default_rng(0).permutation(len(cells))[:CELLS])]
    draws = [model.impute(modality, sample=True, seed=seed)[cells].to_df() for seed in range(DRAWS)]
    truth = midas.read_mosaic(task.truth)
    known = truth.modalities[modality]
    features = [f for f in draws[0].columns if f in set(task.truth[modality].var_names)]
    at = known.input_columns[known.input_names.get_indexer(features)]
    measured = known.measured[truth.batch[truth.cells.get_indexer(cells)]][:, at]
    true = task.truth[modality][cells, features].X.toarray()
    return float(coverage(true, np.stack([d[features].to_numpy() for d in draws]), measured=measured)[0.9])


def main() -> None:
    """Train, draw, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="wnn:split,citeseq:diagonal+paired")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cells", type=int, default=1600)
    args = parser.parse_args()
    rows = []
    for name in args.sets.split(","):
        source, task_name = name.split(":")
        for seed in (int(text) for text in args.seeds.split(",")):
            task = tasks.make(SOURCES[source].load(args.data), task_name, n_cells=args.cells, seed=seed)
            model = midas.MIDAS(task.mdata, seed=seed).fit(progress=False)
            for modality, kind in model.kinds.items():
                if kind.likelihood == "poisson":
                    shares = [f"{held(model, task, modality, hidden=hidden):.3f}" for hidden in (True, False)]
                    rows.append([name, seed, modality, *shares])
    print(machine(), "\n")
    print(markdown(["task", "seed", "modality", "hidden", "trained on"], rows))


if __name__ == "__main__":
    main()
