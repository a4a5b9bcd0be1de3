"""Cells encoded per second, and peak memory: ``python benchmarks/encode.py --cells 50000 --genes 2000``."""

from __future__ import annotations

import argparse
import time

import numpy as np

import midas
from common import machine, markdown, peak_rss_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--genes", type=int, default=2_000)
    arguments = parser.parse_args()
    simulation = midas.simulate.SimulationConfig(
        n_cells=arguments.cells, n_genes=arguments.genes, mosaic=("rna", "rna")
    )
    mdata = midas.simulate.mosaic(simulation)
    config = midas.Config.from_dict({"training": {"epochs": 1, "batch_size": 4096, "validation_fraction": 0.0}})
    model = midas.MIDAS(mdata, config=config).fit(progress=False)
    mosaic = model.read(mdata)
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        model.latent(mosaic)
        rates.append(arguments.cells / (time.perf_counter() - started))
    data = mdata["rna"].X.data.nbytes + mdata["rna"].X.indices.nbytes
    row = [
        f"{arguments.cells:,}",
        f"{arguments.genes:,}",
        f"{np.median(rates):,.0f}",
        f"{data / 1e6:.0f}",
        f"{peak_rss_mb():.0f}",
    ]
    print(machine(), markdown(["cells", "genes", "cells per second", "data MB", "peak MB"], [row]), sep="\n\n")


if __name__ == "__main__":
    main()
