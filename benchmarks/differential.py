"""Are differential features right? Calls against the true change of simulated types, with and without the model's error.

python benchmarks/differential.py --cells 2000
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd

from common import machine, markdown
from midas import MIDAS, simulate, tl

DELTA, PSEUDOCOUNT = 0.5, 0.1


def true_changes(config: simulate.SimulationConfig) -> pd.DataFrame:
    """Log2 fold changes of each type against the others, of many cells without batch effects, types x genes."""
    many = simulate.mosaic(replace(config, n_cells=20_000, batch_strength=0.0, depth_shift=0.0))["rna"]
    x, types = many.X, many.obs["cell_type"].to_numpy()
    found = {}
    for name in sorted(set(types)):
        means = [np.asarray(x[rows].mean(0)).ravel() + PSEUDOCOUNT for rows in (types == name, types != name)]
        found[name] = np.log2(means[0] / means[1])
    return pd.DataFrame.from_dict(found, orient="index", columns=many.var_names)


def main() -> None:
    """Print shares of wrong calls, of features found, and of intervals that hold the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2_000)
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    config = simulate.SimulationConfig(mosaic=("rna", "rna"), n_cells=options.cells, n_genes=1_000, n_types=8)
    truth, rows = true_changes(config), []
    for seed in map(int, options.seeds.split(",")):
        mdata = simulate.mosaic(config)
        model = MIDAS(mdata, seed=seed).fit(progress=False)
        for error in (True, False):
            comparison = tl.Comparison(delta=DELTA, pseudocount=PSEUDOCOUNT, model_error=error)
            found = tl.differential_features(model, "rna", mdata.obs["cell_type"], config=comparison, seed=seed)
            true = np.array(
                [truth.loc[group, gene] for group, gene in zip(found["group"], found["feature"], strict=True)]
            )
            called, changed = found["differential"].to_numpy(), np.abs(true) > DELTA
            wrong = (called & ~(changed & (np.sign(found["lfc"]) == np.sign(true)))).sum() / max(1, called.sum())
            inside = ((found["low"] <= true) & (true <= found["high"])).mean()
            rows.append(
                (seed, error, int(called.sum()), f"{wrong:.3f}", f"{called[changed].mean():.3f}", f"{inside:.3f}")
            )
    print(machine())
    print(
        markdown(["seed", "model's error", "called", "wrong", "of those that change", "intervals with the truth"], rows)
    )


if __name__ == "__main__":
    main()
