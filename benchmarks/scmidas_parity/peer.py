"""scmidas' side: its exporter is run by its own interpreter, and what it wrote is read."""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

EXPORTER = Path(__file__).parents[1] / "export_scmidas.py"
Tensors = dict[str, Tensor]


def run_peer(python: Path, data: Path, out: Path, args: argparse.Namespace) -> None:
    """Run the exporter.

    Raises
    ------
    SystemExit
        With the end of what it said, when it fails.
    """
    options = [f"--{name}={getattr(args, name)}" for name in ("cells", "epochs", "seed")]
    try:
        done = subprocess.run([python, EXPORTER, data, out, *options], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"--peer-python: expected a Python with scmidas, found {error}") from error
    if done.returncode:
        raise SystemExit(f"{EXPORTER.name} failed on {data.name}:\n{done.stderr[-3000:]}")


@dataclass(frozen=True)
class Peer:
    """What the exporter wrote.

    Attributes
    ----------
    meta
        Orders of features, blocks, batches and cells.
    arrays
        Weights and quantities.
    """

    meta: dict[str, Any]
    arrays: Tensors

    @classmethod
    def read(cls, path: Path) -> Peer:
        """Read the .npz of the exporter."""
        with np.load(path) as file:
            meta = json.loads(str(file["meta"]))
            return cls(meta, {name: torch.from_numpy(file[name]) for name in file.files if name != "meta"})

    def under(self, prefix: str) -> Tensors:
        """Arrays whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}
