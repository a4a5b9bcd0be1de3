"""Memory and speed of training from disk or in memory, against the number of cells.

``python benchmarks/scale.py --cells 100000 --genes 2000 --proteins 100 --steps 300`` writes a store of simulated cells (one
simulated part, written again and again under new names until there are as many cells as asked for, so that making it takes no
memory), trains for some steps in a process of its own and prints a row. ``--in-memory`` reads the store whole.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd

import midas
from common import machine, markdown, peak_rss_mb
from midas.io import read_file, write_mudata


def make(target: Path, cells: int, sizes: tuple[int, int, int], mosaic: tuple[str, ...]) -> None:
    """Write a store of `cells` cells: a simulated part, repeated."""
    part = min(cells, 20_000)
    mdata = midas.simulate.mosaic(
        midas.simulate.SimulationConfig(
            n_cells=part,
            n_genes=sizes[0],
            n_proteins=max(1, sizes[1]),
            n_peaks=max(22, sizes[2]),
            mosaic=mosaic,
        )
    )
    for adata in mdata.mod.values():
        adata.X.data = adata.X.data.astype(np.uint16)
    repeats = -(-cells // part)
    write_mudata(target, mdata)
    with h5py.File(target, "r+") as file:
        names = np.concatenate([mdata.obs_names.to_numpy() + f"-{k}" for k in range(repeats)])
        _obs(file, names, np.tile(mdata.obs["batch"].astype(str).to_numpy(), repeats))
        for name, adata in mdata.mod.items():
            group = file[f"mod/{name}"]
            own = np.concatenate([adata.obs_names.to_numpy() + f"-{k}" for k in range(repeats)])
            _obs(group, own, np.tile(adata.obs["batch"].astype(str).to_numpy(), repeats))
            _repeat(group, adata, repeats)
            at = np.asarray(mdata.obsmap[name]).astype(np.int64)
            rows = np.concatenate([np.where(at > 0, at + k * adata.n_obs, 0) for k in range(repeats)])
            for key, values in ((f"obsmap/{name}", rows), (f"obsm/{name}", rows > 0)):
                del file[key]
                ad.io.write_elem(file, key, values)
        del file["obsm/X_truth"]


def _obs(group: h5py.Group, names: np.ndarray, batch: np.ndarray) -> None:
    del group["obs"]
    ad.io.write_elem(group, "obs", pd.DataFrame({"batch": pd.Categorical(batch)}, index=names))


def _repeat(group: h5py.Group, adata: ad.AnnData, repeats: int) -> None:
    del group["X"]
    x = group.create_group("X")
    shape = np.array([adata.n_obs * repeats, adata.n_vars])
    x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
    n = adata.X.nnz
    for key, values, kind in (("data", adata.X.data, np.uint16), ("indices", adata.X.indices, np.int32)):
        out = x.create_dataset(key, (n * repeats,), kind, chunks=(32_768,), compression="lzf", shuffle=True)
        for k in range(repeats):
            out[k * n : (k + 1) * n] = values
    ends = adata.X.indptr[1:].astype(np.int64)
    x.create_dataset("indptr", data=np.concatenate([[0], *(ends + k * n for k in range(repeats))]))


def train(store: Path, steps: int, *, backed: bool) -> None:
    """Train for some steps and print what it took, as JSON."""
    from midas.training import loop

    started = time.perf_counter()
    data = read_file(store, backed=backed)
    config = midas.Config.from_dict({"training": {"epochs": 1, "validation_fraction": 0.0}})
    model = midas.MIDAS(data, config=config)
    assert model.mosaic is not None
    read = time.perf_counter() - started
    times: list[float] = []
    step = loop.train_step

    def timed(*args: object, **kwargs: object) -> object:
        times.append(time.perf_counter())
        if len(times) > steps:
            raise KeyboardInterrupt  # as a user ends a run
        return step(*args, **kwargs)  # type: ignore[arg-type]

    loop.train_step = timed  # type: ignore[assignment]
    cpu = time.process_time()
    plan = loop.plan_training(model.mosaic, config.training, 0)
    loop.fit(model.vae, model.discriminators, model.mosaic, config, 0, loop.Surroundings(progress=False))
    rate = plan.batch_size * (len(times) - 1) / (times[-1] - times[0])
    print(
        json.dumps(
            {
                "read": read,
                "rate": rate,
                "cpu": (time.process_time() - cpu) / len(times),
                "epoch": plan.steps_per_epoch * (times[-1] - times[0]) / (len(times) - 1),
                "peak": peak_rss_mb(),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[100_000])
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--proteins", type=int, default=100)
    parser.add_argument("--peaks", type=int, default=0)
    parser.add_argument("--mosaic", default="rna+adt,rna,adt,rna+adt")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("--folder", type=Path, required=True, help="Where the stores are written; removed after use.")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train is not None:
        train(arguments.train, arguments.steps, backed=not arguments.in_memory)
        return
    rows = []
    for cells in arguments.cells:
        store = arguments.folder / f"scale-{cells}.h5mu"
        sizes = (arguments.genes, arguments.proteins, arguments.peaks)
        making = f"from scale import make; from pathlib import Path; make(Path({str(store)!r}), {cells}, {sizes}, "
        making += f"{tuple(arguments.mosaic.split(','))})"
        try:
            subprocess.run([sys.executable, "-c", making], check=True, cwd=Path(__file__).parent)
            own = [sys.executable, __file__, "--train", str(store), "--steps", str(arguments.steps), "--folder", "."]
            own += ["--in-memory"] if arguments.in_memory else []
            out = subprocess.run(own, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(out.splitlines()[-1])
            size = store.stat().st_size / 1e6
        finally:
            store.unlink(missing_ok=True)
        kind = "memory" if arguments.in_memory else "disk"
        figures = [f"{size:.0f}", f"{found['read']:.0f}", f"{found['rate']:,.0f}", f"{1e3 * found['cpu']:.0f}"]
        features = f"{sizes[0]:,} + {sizes[1]:,} + {sizes[2]:,}"
        rows.append([f"{cells:,}", features, kind, *figures, f"{found['epoch']:.0f}", f"{found['peak']:.0f}"])
    head = ["cells", "genes + proteins + peaks", "from", "file MB", "reading s", "cells per second", "CPU ms per step"]
    print(machine(), markdown([*head, "s per epoch (from these steps)", "peak MB"], rows), sep="\n\n", flush=True)


if __name__ == "__main__":
    main()
