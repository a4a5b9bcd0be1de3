"""What every script of this folder shares: its command line, and what it hands back. Needs numpy and anndata, never midas."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import numpy as np


class Job:
    """A reference and a query, both with RNA counts in X, proteins in ``obsm["adt"]`` and the batch in ``obs["batch"]``.

    The query's proteins are zero where it has none.
    """

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("reference", type=Path)
        parser.add_argument("query", type=Path)
        parser.add_argument("out", type=Path)
        parser.add_argument("--seed", type=int, default=0)
        args = parser.parse_args()
        warnings.filterwarnings("ignore")
        self.reference, self.query = ad.read_h5ad(args.reference), ad.read_h5ad(args.query)
        self.out, self.seed = args.out, args.seed
        self.seconds: dict[str, float] = {}

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """CPU seconds of a part: ``reference`` or ``mapping``."""
        started = time.process_time()
        yield
        self.seconds[name] = time.process_time() - started

    def done(self, reference: np.ndarray, query: np.ndarray) -> None:
        """Write where both lie in one space."""
        seconds = {f"{name}_s": value for name, value in self.seconds.items()}
        np.savez(self.out, reference=reference, query=query, **seconds)
