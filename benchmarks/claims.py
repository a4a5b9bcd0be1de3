"""What the paper reports of mosaic tasks (He et al. 2024, figures 3.1 and 3.2), answered from runs of ``midas bench``.

``python benchmarks/claims.py OUT --dataset standin --methods midas,scmidas``: OUT is the folder of the runs, the task ``full``
among them; tables in Markdown go to the standard output.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from common import markdown
from midas.bench.data import SOURCES
from midas.bench.scoring import read_result
from midas.bench.tasks import read_task
from midas.metrics import Result, fold_change_correlation
from midas.metrics.states import like_full
from midas.metrics.tasks import Task

UNLABELLED = ("unknown",)
SCORES = ("scmib_overall", "scmib_batch", "scmib_modality", "scmib_bio", "overall")


def run(out: Path, dataset: str, task: str, method: str, seed: str, full: Result) -> dict[str, float]:
    """Scores of one run, and how like the full task's result it is."""
    folder = out / "runs" / dataset / task / method / seed
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    result, _ = read_result(folder / "result.npz")
    found = {name: scores.get(name, np.nan) for name in SCORES}
    if task == "full":
        return found
    whole = read_task(out / "tasks" / dataset / task, task)
    return found | like_full(whole, result, full, UNLABELLED, 0)


def fold_changes(whole: Task, result: Result) -> dict[str, float]:
    """Pearson r of fold changes between types, raw against batch-corrected, by modality; features that all batches measured."""
    found = {}
    for name, values in result.corrected.items():
        truth = whole.truth[name]
        cells = values.cells[values.cells.isin(truth.obs_names)]
        columns = [c for c in truth.var if str(c).startswith("measured_")]
        everywhere = truth.var[columns].all(axis=1).to_numpy() if columns else np.ones(truth.n_vars, dtype=bool)
        features = truth.var_names[everywhere]
        raw = np.asarray(truth[cells, features].X.todense())
        corrected = pd.DataFrame(values.get(cells), columns=values.features)[features].to_numpy()
        if name == "atac":
            raw = raw > 0
        labels = whole.truth.obs.loc[cells, "cell_type"].astype(str)
        found[name] = fold_change_correlation(raw, corrected, labels, unlabelled=UNLABELLED)
    return found


def spread(values: pd.Series) -> str:
    """Mean and standard deviation."""
    known = values.dropna()
    if known.empty:
        return "·"
    return f"{known.mean():.3f}" + (f" ± {known.std():.3f}" if len(known) > 1 else "")


def table_of(frame: pd.DataFrame) -> str:
    """Render a table with its index."""
    whole = frame.reset_index()
    return markdown([str(name) for name in whole], whole.to_numpy().tolist())


def main() -> None:
    """Read the runs, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dataset", default="standin")
    parser.add_argument("--methods", default="midas,scmidas")
    args = parser.parse_args()
    rows, changes = [], []
    whole = read_task(args.out / "tasks" / args.dataset / "full", "full")
    for method in args.methods.split(","):
        seeds = sorted(path.name for path in (args.out / "runs" / args.dataset / "full" / method).iterdir())
        for seed in seeds:
            full, _ = read_result(args.out / "runs" / args.dataset / "full" / method / seed / "result.npz")
            changes.append({"method": method, "seed": seed, **fold_changes(whole, full)})
            for task in SOURCES[args.dataset].tasks:
                if (args.out / "runs" / args.dataset / task / method / seed / "scores.json").is_file():
                    scores = run(args.out, args.dataset, task, method, seed, full)
                    rows.append({"method": method, "task": task, "seed": seed, **scores})
    table = pd.DataFrame(rows)
    order = [task for task in SOURCES[args.dataset].tasks if task in set(table["task"])]
    for method, part in table.groupby("method", sort=False):
        shown = part.drop(columns=["method", "seed"]).groupby("task").agg(spread).loc[order]
        print(f"\n### {method}, seeds {', '.join(sorted(set(part['seed'])))}\n\n{table_of(shown)}")
    print("\n### Fold changes, raw against corrected, task with all modalities\n")
    print(table_of(pd.DataFrame(changes).drop(columns="seed").groupby("method").agg(spread)))


if __name__ == "__main__":
    main()
