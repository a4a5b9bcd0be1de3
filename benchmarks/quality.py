"""Train on mosaics of real data, at default settings, and measure; embeddings are kept for scoring by scib-metrics.

``python benchmarks/quality.py --data DIR --mosaics MADE --out results/ --seeds 0,1,2 [--sets wnn,split] [--epochs 10,25]``

`DIR` holds the real sets, `MADE` what ``benchmarks/peers/make_mosaics.py`` made of them. Every run leaves
``<set>_<seed>[_e<epochs>].npz`` (names, X) and a line in ``quality.jsonl``: seconds, peak memory, and where a truth was
hidden from the model, how well it was recovered. Several `--epochs` give the curve of quality over time, each point a full
run with its own schedule.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import mudata
import numpy as np
import pandas as pd

import midas
from common import machine, peak_rss_mb
from midas import metrics
from midas.io import read_file

_FILES = {"wnn": "pbmc_wnn_mosaic_1600.h5mu", "split": "pbmc_wnn_split.h5mu", "citeseq": "citeseq_mosaic.h5mu"}
_TRUTH = {"split": "pbmc_wnn_mosaic_1600.h5mu", "citeseq": "pbmc_citeseq_10x_2batch.h5mu"}


def one_run(name: str, data: Path, mosaics: Path, seed: int, epochs: int | None, out: Path) -> dict[str, Any]:
    """Train once; return what was measured."""
    mdata = read_file((data if name == "wnn" else mosaics) / _FILES[name])
    config = midas.Config() if epochs is None else midas.Config.from_dict({"training": {"epochs": epochs}})
    wall, cpu = time.perf_counter(), time.process_time()
    model = midas.MIDAS(mdata, config=config, seed=seed).fit(progress=False)
    record: dict[str, Any] = {
        "set": name,
        "seed": seed,
        "epochs": len(model.history),
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_rss_mb": round(peak_rss_mb()),
    }
    z = model.latent()
    file = out / f"{name}_{seed}{'' if epochs is None else f'_e{epochs}'}.npz"
    np.savez(file, names=mdata.obs_names.to_numpy(dtype=str), X=z)
    if name in _TRUTH:
        record |= recovered(model, mdata, read_file(data / _TRUTH[name]), z, paired=name == "split")
    return record


def recovered(
    model: midas.MIDAS, mdata: mudata.MuData, truth: mudata.MuData, z: np.ndarray, *, paired: bool
) -> dict[str, float]:
    """Score single-modality cells: types carried between the two halves, and counts that were hidden."""
    names = pd.Index(mdata.obs_names.astype(str))
    batch = mdata.obs["batch"].astype(str).to_numpy()
    halves = {part: np.flatnonzero(np.char.endswith(batch.astype(str), f"_{part}")) for part in ("rna", "adt")}
    original = {part: names[at].str.removesuffix(f"_{part}") for part, at in halves.items()}
    label = "celltype" if "celltype" in truth.obs else "cell_type"
    types = {part: truth.obs[label].astype(str).reindex(cells).to_numpy() for part, cells in original.items()}
    known = {part: at[types[part] != "unknown"] for part, at in halves.items()}
    types = {part: of[of != "unknown"] for part, of in types.items()}
    f1 = [
        metrics.label_transfer_f1(z[known[a]], types[a], z[known[b]], types[b])
        for a, b in (("rna", "adt"), ("adt", "rna"))
    ]
    found = {"label_f1": float(np.mean(f1))}
    if paired:
        order = original["adt"].get_indexer(original["rna"])
        found["foscttm"] = metrics.foscttm(z[halves["rna"]], z[halves["adt"][order]])
    for hidden, seen in (("adt", "rna"), ("rna", "adt")):
        imputed = model.impute(hidden)[names[halves[seen]]]
        true = truth[hidden][original[seen], imputed.var_names].X
        found[f"r_{hidden}"] = metrics.feature_correlation(imputed.X, true)
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mosaics", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sets", default=",".join(_FILES))
    parser.add_argument("--epochs", default="", help="comma-separated; empty for the default")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="mudata")
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(machine())
    for name in arguments.sets.split(","):
        for epochs in [int(e) for e in arguments.epochs.split(",") if e] or [None]:
            for seed in (int(s) for s in arguments.seeds.split(",")):
                record = one_run(name, arguments.data, arguments.mosaics, seed, epochs, arguments.out)
                print(json.dumps(record), flush=True)
                with (arguments.out / "quality.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps(record | {"budget": epochs}) + "\n")


if __name__ == "__main__":
    main()
