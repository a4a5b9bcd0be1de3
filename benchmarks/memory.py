"""Peak memory of whole runs: ``python benchmarks/memory.py DATA.h5mu ... --epochs 10`` runs ``midas integrate`` on each file."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import scipy.sparse as sp
from mudata import MuData

from common import machine, markdown
from midas.io import read_file


def sparse_mb(path: Path) -> float:
    """Values and indices of the counts in memory, in MB (10^6 bytes)."""
    data = read_file(path)
    parts = data.mod.values() if isinstance(data, MuData) else [data]
    counts = [sp.csr_matrix(part.X) for part in parts]
    return sum(x.data.nbytes + x.indices.nbytes for x in counts) / 1e6


def run(path: Path, epochs: int) -> tuple[float, float]:
    """CPU seconds and peak MB of one run."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "run.toml"
        config.write_text(f"[training]\nepochs = {epochs}\n")
        command = [sys.executable, "-m", "midas.cli", "integrate", str(path), "-o", str(Path(folder) / "out.h5mu")]
        process = subprocess.Popen([*command, "--config", str(config), "-q"], stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{path}: midas integrate failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    rows = []
    for path in arguments.data:
        cpu, peak = run(path, arguments.epochs)
        data = sparse_mb(path)
        rows.append([path.stem, f"{data:.0f}", f"{cpu:.0f}", f"{peak:.0f}", f"{1000 + 3 * data:.0f}"])
    header = ["data", "sparse data MB", "CPU s", "peak MB", "aim: 1,000 + 3 x data"]
    print(machine(), markdown(header, rows), sep="\n\n")


if __name__ == "__main__":
    main()
