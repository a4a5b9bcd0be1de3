"""Quality over the time of training: ``python benchmarks/over_time.py DATA OUT --environments ENVS --figure curve.png``.

Ours is trained with shares of its default epochs, ``scmidas`` for some CPU seconds and, with ``--to-the-end``, for the 2,000
epochs of its own advice; each point is a run of its own, in its own process, with one thread. Points are kept in OUT, so that an
interrupted run goes on; ``--methods`` chooses who is run. The figure shows all points in OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

from common import machine, markdown
from midas.bench.data import SOURCES
from midas.bench.environments import interpreter
from midas.bench.grid import Settings
from midas.bench.process import measure
from midas.bench.registry import parse_methods
from midas.bench.scoring import instrument, score
from midas.files import replacing

SETS = {"wnn": ("given", None), "citeseq": ("diagonal+paired", 1300)}
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
SECONDS = (30, 60, 125, 250, 500, 1000)
NAMES = {"midas": "midas-mosaic", "scmidas": "scmidas 0.3.0"}
COLOURS = {"midas": "tab:blue", "scmidas": "tab:grey"}


@dataclass(frozen=True)
class Point:
    """One run: its name, and what the method's script is told beside the task."""

    dataset: str
    method: str
    budget: str
    seed: int
    options: tuple[str, ...]

    @property
    def file(self) -> str:
        return f"{self.dataset}-{self.method}-{self.budget}-{self.seed}.json"


def points(
    out: Path, dataset: str, methods: Sequence[str], seeds: Sequence[int], *, to_the_end: bool
) -> Iterator[Point]:
    """Those of one data set, in turn; how many epochs ours takes is known from its first."""
    for seed in seeds:
        if "midas" in methods:
            whole = Point(dataset, "midas", "1", seed, ())
            yield whole
            epochs = json.loads((out / whole.file).read_text())["epochs"]
            for share in SHARES[:-1]:
                yield Point(dataset, "midas", f"{share:g}", seed, ("--epochs", str(max(1, round(share * epochs)))))
        if "scmidas" in methods:
            for seconds in SECONDS:
                yield Point(dataset, "scmidas", f"{seconds}s", seed, ("--seconds", str(seconds)))
            if to_the_end:
                yield Point(dataset, "scmidas", "advice", seed, ())


def run(point: Point, out: Path, environments: Path) -> None:
    """Train, score, and keep the point."""
    method = parse_methods(point.method)[0]
    python = interpreter(method, environments)
    if isinstance(python, str):
        sys.exit(f"{point.method}: {python}")
    folder = out / "tasks" / point.dataset
    result = out / "result.npz"
    command = [str(python), str(method.folder / method.script), "--task", str(folder / "task.h5mu")]
    command += ["--truth", str(folder / "truth.h5mu"), "--out", str(result), "--seed", str(point.seed), *point.options]
    log = out / f"{point.file}.log"
    usage = measure(command, log=log, environment={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=4 * 3600)
    if usage.code != 0:
        sys.exit(f"{point.file}: ended with {usage.code}; see {log}.")
    info = json.loads((out / "info.json").read_text())
    scores = score(SOURCES[point.dataset], SETS[point.dataset][0], folder, result)
    with replacing(out / point.file) as scratch:
        scratch.write_text(
            json.dumps({"dataset": point.dataset, "method": point.method, "seed": point.seed, **info, **scores})
        )


def drawn(found: list[dict[str, float | str]], figure: Path) -> None:
    sets = [name for name in SETS if any(point["dataset"] == name for point in found)]
    fig, axes = plt.subplots(1, len(sets), figsize=(5 * len(sets), 3.6), squeeze=False)
    for ax, name in zip(axes[0], sets, strict=True):
        for method, colour in COLOURS.items():
            seeds = sorted({int(p["seed"]) for p in found if p["dataset"] == name and p["method"] == method})
            for i, seed in enumerate(seeds):
                mine = [p for p in found if (p["dataset"], p["method"], p["seed"]) == (name, method, seed)]
                mine.sort(key=lambda p: p["train_cpu_s"])
                label = NAMES[method] if i == 0 else None
                xy = [[p[key] for p in mine] for key in ("train_cpu_s", "overall")]
                ax.plot(*xy, "o-", color=colour, label=label, markersize=4, linewidth=1)
        ax.set(
            xscale="log",
            title=f"{name}, {SETS[name][0]}",
            xlabel="CPU seconds of training, one thread",
            ylabel="scIB overall",
        )
        ax.grid(alpha=0.3)
    axes[0][0].legend(loc="lower right", frameon=False)
    fig.tight_layout()
    fig.savefig(figure, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--methods", default="midas,scmidas")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--to-the-end", action="store_true")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for dataset in args.sets.split(","):
        task, cells = SETS[dataset]
        folder = args.out / "tasks" / dataset
        if not folder.is_dir():
            with replacing(folder) as scratch:
                scratch.mkdir(parents=True)
                instrument(args.data).make(SOURCES[dataset], task, Settings(cells=cells), scratch)
        seeds = [int(seed) for seed in args.seeds.split(",")]
        for point in points(args.out, dataset, args.methods.split(","), seeds, to_the_end=args.to_the_end):
            if not (args.out / point.file).is_file():
                run(point, args.out, args.environments)
    found = [json.loads(file.read_text()) for file in sorted(args.out.glob("*-*-*-*.json"))]
    found.sort(key=lambda p: (p["dataset"], p["method"], p["seed"], p["train_cpu_s"]))
    columns = ("dataset", "method", "seed", "epochs", "train_cpu_s", "batch", "bio", "overall")
    rows = [[f"{p[key]:.3f}" if isinstance(p[key], float) else p[key] for key in columns] for p in found]
    print(machine(), markdown(columns, rows), sep="\n\n")
    if args.figure is not None:
        drawn(found, args.figure)


if __name__ == "__main__":
    main()
