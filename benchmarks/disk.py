"""Is training from disk as good as in memory? ``python benchmarks/disk.py DATA.h5mu --epochs 10 --buffer 500000``.

Trains in memory with two seeds, and from disk with the first of them and a buffer so small that the data do not fit into it
several times; prints the held-out loss of some epochs. The two seeds show what chance alone does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import midas
from common import machine, markdown
from midas.convert import convert
from midas.data import loader
from midas.io import read_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--buffer", type=int, default=500_000, help="Stored counts that are held at a time.")
    arguments = parser.parse_args()
    config = midas.Config.from_dict({"training": {"epochs": arguments.epochs}})
    loader._ENTRIES_AT_ONCE = arguments.buffer
    losses, held = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / f"store{arguments.data.suffix}"
        convert(arguments.data, store)
        for name, seed in (("memory, seed 0", 0), ("memory, seed 1", 1), ("disk, seed 0", 0)):
            data = read_file(store, backed=name.startswith("disk"))
            model = midas.MIDAS(data, config=config, seed=seed)
            assert model.mosaic is not None
            held = loader.cells_at_once(model.mosaic)
            losses[name] = model.fit(progress=False).history["val_total"].to_numpy()
    at = sorted({0, arguments.epochs // 4, arguments.epochs // 2, arguments.epochs - 1})
    rows = [[name, *(f"{curve[epoch]:.2f}" for epoch in at)] for name, curve in losses.items()]
    print(
        machine(), f"{held:,} cells held at a time", markdown(["", *(f"epoch {e + 1}" for e in at)], rows), sep="\n\n"
    )


if __name__ == "__main__":
    main()
