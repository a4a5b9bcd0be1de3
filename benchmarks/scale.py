"""Memory and speed of training from disk or in memory, against the number of cells.

``python benchmarks/scale.py --cells 100000 --genes 2000 --proteins 100 --steps 300`` writes a store of simulated cells (one
simulated part, written again and again under new names until there are as many cells as asked for, so that making it takes no
memory), trains for some steps in a process of its own and prints a row. ``--in-memory`` reads the store whole. ``--atlas`` is a
data set with the shape of the published atlas: 185,518 cells in 27 batches of six combinations of modalities, 4,000 genes, 224
proteins, 40,000 peaks. ``--impute`` goes on after training: all cells are encoded, and the modalities named are decoded to files.
``--epochs`` with ``--quality`` trains as long as it says instead of some steps, and asks how well cells find their type.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.spatial import cKDTree

import midas
from common import machine, markdown, peak_rss_mb
from midas.io import read_file, write_mudata
from midas.simulate import SimulationConfig


@dataclass(frozen=True)
class Shape:
    """What a store holds; the cells of a simulated part are written again and again until there are `cells`."""

    cells: int
    genes: int
    proteins: int
    peaks: int
    mosaic: tuple[str, ...]
    part: int = 20_000

    def simulation(self) -> SimulationConfig:
        """The part that is simulated."""
        repeats = max(1, round(self.cells / self.part))
        return SimulationConfig(
            n_cells=-(-self.cells // repeats),
            n_genes=self.genes,
            n_proteins=max(1, self.proteins),
            n_peaks=max(22, self.peaks),
            mosaic=self.mosaic,
            batch_proportions=tuple(1 + b % 3 for b in range(len(self.mosaic))) if len(self.mosaic) > 4 else None,
        )


# A store with the shape of the published atlas; which of its batches measured what, and how many cells each has, is not copied.
_ATLAS = Shape(
    185_518,
    4000,
    224,
    40_000,
    ("rna+adt+atac",) * 7 + ("rna+adt",) * 8 + ("adt+atac",) * 4 + ("rna+atac",) * 2 + ("rna",) * 3 + ("adt",) * 3,
)


def make(target: Path, shape: Shape) -> None:
    """Write a store: a simulated part, repeated; of the last repetition as many cells as are still missing."""
    mdata = midas.simulate.mosaic(shape.simulation())
    for adata in mdata.mod.values():
        adata.X.data = adata.X.data.astype(np.uint16)
    repeats = -(-shape.cells // mdata.n_obs)
    ends = [*[mdata.n_obs] * (repeats - 1), shape.cells - mdata.n_obs * (repeats - 1)]
    write_mudata(target, mdata)
    with h5py.File(target, "r+") as file:
        _obs(file, mdata.obs, ends)
        for name, adata in mdata.mod.items():
            group = file[f"mod/{name}"]
            at = np.asarray(mdata.obsmap[name]).astype(np.int64)
            own = [int((at[:end] > 0).sum()) for end in ends]
            _obs(group, adata.obs, own)
            _repeat(group, adata.X, own)
            rows = np.concatenate([np.where(at[:end] > 0, at[:end] + k * adata.n_obs, 0) for k, end in enumerate(ends)])
            for key, values in ((f"obsmap/{name}", rows), (f"obsm/{name}", rows > 0)):
                del file[key]
                ad.io.write_elem(file, key, values)
        del file["obsm/X_truth"]


def _obs(group: h5py.Group, obs: pd.DataFrame, ends: list[int]) -> None:
    """Names, batch and type of the first cells of `obs`, as many as each repetition has."""
    del group["obs"]
    names = obs.index.to_numpy()
    table = pd.concat([obs[["batch", "cell_type"]].iloc[:end] for end in ends])
    table.index = pd.Index(np.concatenate([names[:end] + f"-{k}" for k, end in enumerate(ends)]))
    ad.io.write_elem(group, "obs", table)


def _repeat(group: h5py.Group, counts: sp.csr_matrix, ends: list[int]) -> None:
    del group["X"]
    x = group.create_group("X")
    shape = np.array([sum(ends), counts.shape[1]])
    x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
    starts = np.concatenate([[0], np.cumsum([counts.indptr[end] for end in ends])]).astype(np.int64)
    for key, values, kind in (("data", counts.data, np.uint16), ("indices", counts.indices, np.int32)):
        out = x.create_dataset(
            key, (int(starts[-1]),), kind, chunks=(min(32_768, int(starts[-1])),), compression="lzf", shuffle=True
        )
        for k, end in enumerate(ends):
            out[starts[k] : starts[k + 1]] = values[: counts.indptr[end]]
    each = [counts.indptr[1 : end + 1].astype(np.int64) + starts[k] for k, end in enumerate(ends)]
    x.create_dataset("indptr", data=np.concatenate([[0], *each]))


@dataclass(frozen=True)
class Run:
    """What is done with a store."""

    backed: bool
    steps: int | None = None  # the run is interrupted after so many; None to train all `epochs`
    epochs: int = 1
    impute: tuple[str, ...] = ()
    quality: bool = False


def train(store: Path, run: Run) -> None:
    """Train, decode, and print what it took, as JSON: peak memory so far after each of the stages."""
    from midas.training import loop
    from midas.training.start import start

    started = time.perf_counter()
    config = midas.Config.from_dict({"training": {"epochs": run.epochs, "validation_fraction": 0.0}})
    model = midas.MIDAS(read_file(store, backed=run.backed), config=config)
    assert model.mosaic is not None
    found: dict[str, float] = {"read": time.perf_counter() - started, "peak read": peak_rss_mb()}
    times: list[float] = []
    step = loop._Run._train_step

    def timed(*args: object, **kwargs: object) -> object:
        times.append(time.perf_counter())
        if len(times) == run.steps:
            raise KeyboardInterrupt  # as a user ends a run
        return step(*args, **kwargs)  # type: ignore[arg-type]

    loop._Run._train_step = timed  # type: ignore[assignment,method-assign]
    cpu = time.process_time()
    plan = loop.plan_training(model.mosaic, config.training, 0)
    start(model.vae, model.mosaic, config.training.init)
    trained = loop.fit(model.vae, model.discriminators, model.mosaic, config, 0, loop.RunOptions(progress=False))
    each = (times[-1] - times[0]) / (len(times) - 1)
    found |= {
        "rate": plan.batch_size / each,
        "cpu": (time.process_time() - cpu) / len(times),
        "epoch": plan.steps_per_epoch * each,
        "train": times[-1] - times[0],
        "peak": peak_rss_mb(),
    }
    print(json.dumps(found), file=sys.stderr, flush=True)  # what is known so far
    if run.impute or run.quality:
        started = time.perf_counter()
        model.finish_fit(trained)
        found |= {"encode": time.perf_counter() - started, "peak encode": peak_rss_mb()}
        print(json.dumps(found), file=sys.stderr, flush=True)
    for name in run.impute:
        started = time.perf_counter()
        out = store.with_name(f"imputed-{name}.h5ad")
        try:
            model.impute(name, out=out).file.close()
            found[f"impute {name} MB"] = out.stat().st_size / 1e6
        finally:
            out.unlink(missing_ok=True)
        found |= {f"impute {name}": time.perf_counter() - started, f"peak impute {name}": peak_rss_mb()}
    if run.quality:
        found |= agreement(model)
    print(json.dumps(found))


def agreement(model: midas.MIDAS, cells: int = 20_000) -> dict[str, float]:
    """How often a cell is of the type that most of its 15 nearest cells of *other* batches are of, by its modalities."""
    mosaic = model.mosaic
    assert mosaic is not None
    chosen = np.random.default_rng(0).choice(mosaic.n_cells, min(cells, mosaic.n_cells), replace=False)
    c, batch = model.latent()[chosen], mosaic.batch[chosen]
    label, names = pd.factorize(mosaic.obs["cell_type"].to_numpy()[chosen])
    right = np.zeros(len(chosen), dtype=bool)
    for b in np.unique(batch):
        mine = batch == b
        _, near = cKDTree(c[~mine]).query(c[mine], k=15, workers=-1)
        votes = np.stack([(label[~mine][near] == k).sum(1) for k in range(len(names))])
        right[mine] = votes.argmax(0) == label[mine]
    kind = mosaic.combinations().to_numpy()[chosen]
    return {"types": right.mean(), **{f"types {k}": right[kind == k].mean() for k in np.unique(kind)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[100_000])
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--proteins", type=int, default=100)
    parser.add_argument("--peaks", type=int, default=0)
    parser.add_argument("--mosaic", default="rna+adt,rna,adt,rna+adt")
    parser.add_argument(
        "--atlas", action="store_true", help="The published atlas in shape; --cells and features do not count."
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--epochs", type=int, help="Train to the end of so many epochs, in place of --steps.")
    parser.add_argument("--impute", nargs="+", default=[], help="Modalities to decode to a file after training.")
    parser.add_argument("--quality", action="store_true", help="Encode all cells and compare them with their types.")
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("--keep", action="store_true", help="Leave the stores there, and use those that are there.")
    parser.add_argument("--folder", type=Path, required=True, help="Where the stores are written.")
    arguments = parser.parse_args()
    sizes = (arguments.genes, arguments.proteins, arguments.peaks)
    shapes = [Shape(cells, *sizes, tuple(arguments.mosaic.split(","))) for cells in arguments.cells]
    steps = arguments.steps + 1 if arguments.epochs is None else None
    wanted = Run(not arguments.in_memory, steps, arguments.epochs or 1, tuple(arguments.impute), arguments.quality)
    rows = []
    for shape in [_ATLAS] if arguments.atlas else shapes:
        store = arguments.folder / f"scale-{shape.cells}-{shape.genes}-{shape.proteins}-{shape.peaks}.h5mu"
        try:
            if not store.exists():
                apart(make, store, shape)
            found = apart(train, store, wanted)
            size = store.stat().st_size / 1e6
        finally:
            if not arguments.keep:
                store.unlink(missing_ok=True)
        print(json.dumps(found), flush=True)
        kind = "disk" if wanted.backed else "memory"
        figures = [f"{size:.0f}", f"{found['read']:.0f}", f"{found['rate']:,.0f}", f"{1e3 * found['cpu']:.0f}"]
        features = f"{shape.genes:,} + {shape.proteins:,} + {shape.peaks:,}"
        rows.append([f"{shape.cells:,}", features, kind, *figures, f"{found['epoch']:.0f}", f"{found['peak']:.0f}"])
    head = ["cells", "genes + proteins + peaks", "from", "file MB", "reading s", "cells per second", "CPU ms per step"]
    print(machine(), markdown([*head, "s per epoch (from these steps)", "peak MB"], rows), sep="\n\n", flush=True)


def apart(work: Callable[..., None], *arguments: object) -> dict[str, float]:
    """Do something in a process of its own, so that its peak memory is its own; what it printed last, as JSON."""
    said = f"from scale import *; {work.__name__}({', '.join(map(repr, arguments))})"
    out = subprocess.run(
        [sys.executable, "-c", f"from pathlib import *; {said}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    ).stdout
    found: dict[str, float] = json.loads(out.splitlines()[-1]) if out.strip() else {}
    return found


if __name__ == "__main__":
    main()
