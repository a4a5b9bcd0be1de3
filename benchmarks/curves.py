"""Time and memory of training against cells, genes, batches and modalities, of this and other methods.

``python benchmarks/curves.py --environments DIR --figure cost_curves.png --folder DIR`` simulates the data of each point,
trains each method for some steps in a process of its own (`cost.py`), prints a table and draws it. `--environments` holds what
``midas bench --setup`` makes; methods that are not there are left out, and points that take too long stay empty. What is found is
kept in ``curves.json`` of the folder, and only what is missing there is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

from common import machine, markdown
from scale import Shape, apart, make

PAIRED = ("rna+adt", "rna", "rna+adt", "rna")
BASE = Shape(8000, 2000, 100, 0, PAIRED)
# Along each axis: what stands on it, and the data.
CURVES: dict[str, list[tuple[float, Shape]]] = {
    "cells": [(n, replace(BASE, cells=n)) for n in (2000, 8000, 32_000, 128_000)],
    "genes": [(n, replace(BASE, genes=n)) for n in (500, 2000, 8000, 20_000)],
    "batches": [(n, replace(BASE, mosaic=("rna+adt", "rna") * (n // 2))) for n in (2, 4, 8, 32)],
    "modalities": [
        (1, replace(BASE, genes=1000, mosaic=("rna",) * 4)),
        (2, replace(BASE, genes=1000, mosaic=PAIRED)),
        (3, replace(BASE, genes=1000, peaks=4000, mosaic=("rna+adt+atac", "rna+atac", "rna+adt", "rna"))),
    ],
}
ENVIRONMENTS = {"midas": None, "scmidas": "scmidas", "totalvi": "scvi", "multivi": "scvi"}
COLOURS = {"midas": "#0072b2", "scmidas": "#d55e00", "totalvi": "#009e73", "multivi": "#cc79a7"}


def cannot(method: str, shape: Shape) -> bool:
    """Whether a method has no model of the data: totalVI knows RNA with proteins, and no accessibility."""
    names = "+".join(shape.mosaic)
    return method == "totalvi" and ("atac" in names or "adt" not in names)


def cost(method: str, python: str, store: Path, seconds: float) -> dict[str, float] | None:
    """Run one method on one point; None when it fails or takes longer than three times the time to train."""
    command = [python, str(Path(__file__).with_name("cost.py")), method, str(store), "--seconds", str(seconds)]
    environment = os.environ if method == "midas" else {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    try:
        run = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=3 * seconds, env=dict(environment)
        )
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as error:
        print(f"{method} failed:", error.stderr.strip().splitlines()[-1:], file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def measure(methods: dict[str, str], folder: Path, curves: list[str], seconds: float) -> dict[str, dict[str, float]]:
    """Measure what is not known yet; by data and method."""
    kept = folder / "curves.json"
    known: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.exists() else {}
    for shape in dict.fromkeys(shape for curve in curves for _, shape in CURVES[curve]):
        missing = [m for m in methods if key(shape, m) not in known and not cannot(m, shape)]
        if not missing:
            continue
        store = folder / "point.h5mu"
        try:
            apart(make, store, shape)
            for method in missing:
                found = cost(method, methods[method], store, seconds)
                known[key(shape, method)] = found or {}
                kept.write_text(json.dumps(known, indent=1))
        finally:
            store.unlink(missing_ok=True)
    return known


def key(shape: Shape, method: str) -> str:
    """Name of a measurement."""
    return f"{method} {shape.cells} {shape.genes} {shape.proteins} {shape.peaks} {','.join(shape.mosaic)}"


def draw(known: dict[str, dict[str, float]], curves: list[str], target: Path) -> None:
    """CPU time of an epoch above, peak memory below; one column for each axis."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, len(curves), figsize=(3.1 * len(curves), 5.2), sharey="row", squeeze=False)
    for column, curve in zip(panels.T, curves, strict=True):
        for method, colour in COLOURS.items():
            points = [(x, shape, known.get(key(shape, method))) for x, shape in CURVES[curve]]
            for row, value in ((0, "cpu"), (1, "peak")):
                scale = [shape.cells / 1000 if row == 0 else 1 / 1000 for _, shape, _ in points]
                at = [(x, found[value] * k) for (x, _, found), k in zip(points, scale, strict=True) if found]
                if at:
                    column[row].plot(
                        *zip(*at, strict=True), "o-", color=colour, markersize=4, linewidth=1.5, label=method
                    )
        for panel in column:
            panel.grid(visible=True, which="major", color="#e5e5e5", linewidth=0.6)
            panel.set_axisbelow(True)
            panel.spines[["top", "right"]].set_visible(False)
            if curve != "modalities":
                panel.set_xscale("log")
            ticks = [x for x, _ in CURVES[curve]]
            panel.set_xticks(ticks, [f"{x:,}" for x in ticks], fontsize=8)
            panel.minorticks_off()
        column[0].set_yscale("log")
        column[1].set_ylim(bottom=0)
        column[1].set_xlabel(curve)
    panels[0, 0].set_ylabel("CPU seconds per epoch")
    panels[1, 0].set_ylabel("peak memory, GB")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(target, dpi=150)


def table(known: dict[str, dict[str, float]], curves: list[str], methods: dict[str, str]) -> str:
    """CPU seconds per 1,000 cells and peak MB of each method at each point."""
    rows = []
    for curve in curves:
        for x, shape in CURVES[curve]:
            cells = []
            for method in methods:
                found = known.get(key(shape, method))
                late = "·" if found is None else "stopped"
                cells.append(f"{found['cpu']:.2f}, {found['peak']:,.0f}" if found else late)
            rows.append([f"{x:,} {curve}", *cells])
    return markdown(["", *methods], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, help="Where other methods' environments are.")
    parser.add_argument("--methods", default="midas,scmidas,totalvi,multivi")
    parser.add_argument("--curves", default=",".join(CURVES))
    parser.add_argument("--seconds", type=float, default=60, help="Longest training of one point.")
    parser.add_argument("--figure", type=Path, help="Where to draw the curves.")
    parser.add_argument("--folder", type=Path, required=True, help="For the simulated data and what was found.")
    arguments = parser.parse_args()
    curves = arguments.curves.split(",")
    methods = {}
    for method in arguments.methods.split(","):
        name = ENVIRONMENTS[method]
        python = Path(sys.executable) if name is None else (arguments.environments or Path()) / name / "bin" / "python"
        if python.exists():
            methods[method] = str(python)
    known = measure(methods, arguments.folder, curves, arguments.seconds)
    print(machine(), table(known, curves, methods), sep="\n\n")
    if arguments.figure is not None:
        draw(known, curves, arguments.figure)


if __name__ == "__main__":
    main()
