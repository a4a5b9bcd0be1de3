"""Does memory grow with the epochs? ``python benchmarks/leak.py --epochs 1000`` prints resident memory over a run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import midas
from common import machine, markdown


class Resident:
    """Notes the process's resident memory after each epoch, in MB (Linux)."""

    def __init__(self) -> None:
        self.mb: list[float] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.mb.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1000)
    arguments = parser.parse_args()
    simulation = midas.simulate.SimulationConfig(n_cells=300, n_genes=100, n_proteins=20, n_peaks=200)
    config = midas.Config.from_dict({"training": {"epochs": arguments.epochs, "patience": "none"}})
    resident = Resident()
    midas.MIDAS(midas.simulate.mosaic(simulation), config=config).fit(progress=False, loggers=[resident])
    at = [arguments.epochs * share // 10 for share in (1, 2, 4, 6, 8, 10)]
    rows = [[epoch, f"{resident.mb[epoch - 1]:.0f}"] for epoch in at]
    print(machine(), markdown(["epoch", "resident MB"], rows), sep="\n\n")


if __name__ == "__main__":
    main()
