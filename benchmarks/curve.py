"""Plot quality (scIB total) over training seconds, ours and scmidas.

``curve.py --ours quality.jsonl --ours-scores a.json b.json --peer RUN_DIR ... --peer-scores s.json --out curve.png``

Seconds are CPU seconds of one thread on both sides, which other processes disturb least.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt


def totals(files: list[Path]) -> dict[str, float]:
    """ScIB totals by the embedding's name."""
    merged: dict[str, Any] = {}
    for file in files:
        content = json.loads(file.read_text())
        merged |= content.get("scores", content)
    return {name: values["total"] for name, values in merged.items() if isinstance(values, dict) and "total" in values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=Path, required=True)
    parser.add_argument("--ours-scores", type=Path, nargs="+", required=True)
    parser.add_argument("--peer", type=Path, nargs="+", required=True)
    parser.add_argument("--peer-scores", type=Path, nargs="+", required=True)
    parser.add_argument("--set", default="wnn")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    found = totals(arguments.peer_scores)
    for run in arguments.peer:
        points = json.loads((run / "run.json").read_text())["checkpoints"]
        named = [(p["cpu_s"], found.get(f"{run.name}/{Path(p['file']).stem}")) for p in points]
        ax.plot(
            *zip(*[p for p in named if p[1] is not None], strict=True), "o-", color="tab:grey", label="scmidas 0.3.0"
        )
    found = totals(arguments.ours_scores)
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for line in arguments.ours.read_text().splitlines():
        record = json.loads(line)
        if record["set"] != arguments.set:
            continue
        budget = "" if record["budget"] is None else f"_e{record['budget']}"
        name = f"{arguments.set}_{record['seed']}{budget}"
        value = next((v for k, v in found.items() if Path(k).name == name), None)
        if value is not None:
            by_seed.setdefault(record["seed"], []).append((record["cpu_s"], value))
    for points in by_seed.values():
        ax.plot(*zip(*sorted(points), strict=True), "o-", color="tab:blue", label="midas-mosaic")
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ax.legend(handles.values(), handles.keys(), frameon=False)
    ax.set(xscale="log", xlabel="training, CPU seconds of one thread", ylabel="scIB total", title=arguments.set)
    figure.savefig(arguments.out, dpi=130)


if __name__ == "__main__":
    main()
