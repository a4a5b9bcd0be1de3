"""Mapping without a deep model, to compare with: ``python benchmarks/transfer_peers.py DATA [--cells 800] [--tasks full,rna]``.

The query's RNA is projected on the principal components of the reference, with the reference's means and scales, and labelled by
its nearest neighbours. No correction of batches. Reference, query and scores are those of ``transfer.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from midas.io import read_file
from midas.metrics import tasks
from transfer import calibration_error, clock, of_batches

COMPONENTS = 30
NEIGHBOURS = 11


def log_normalised(counts: sparse.spmatrix | np.ndarray) -> np.ndarray:
    dense = counts.toarray() if sparse.issparse(counts) else np.asarray(counts)
    return np.log1p(dense / np.maximum(dense.sum(1, keepdims=True), 1) * 1e4)


class Projection:
    """Components of a reference, to be applied to other cells as they are."""

    def __init__(self, values: np.ndarray, seed: int) -> None:
        self.mean = values.mean(0)
        self.scale = np.maximum(values.std(0), 1e-6)
        self.components = PCA(COMPONENTS, random_state=seed).fit((values - self.mean) / self.scale)

    def place(self, values: np.ndarray) -> np.ndarray:
        return self.components.transform((values - self.mean) / self.scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", default="full,rna")
    args = parser.parse_args()
    mdata = read_file(args.data / "pbmc_standin_trimodal_4batch.h5mu")
    reference = of_batches(mdata, {"pbmc10k_a", "pbmc10k_b"})
    source = of_batches(mdata, {"pbmc5k_a", "pbmc5k_b"})
    of_reference = reference.obs.loc[reference["rna"].obs_names, "cell_type"].astype(str).to_numpy()
    known = of_reference != "unknown"
    print("| form | F1 | reliability error | CPU s of reference | CPU s of mapping |\n|---|---|---|---|---|")
    for name in args.tasks.split(","):
        task = tasks.make(source, name, n_cells=args.cells, seed=args.seed)
        rna = task.mdata["rna"]
        truth = task.truth.obs.loc[rna.obs_names, "cell_type"].astype(str).to_numpy()
        row: dict[str, Any] = {}
        with clock(row, "reference"):
            values = log_normalised(reference["rna"].X)
            projection = Projection(values, args.seed)
            voters = KNeighborsClassifier(NEIGHBOURS, weights="distance").fit(
                projection.place(values)[known], of_reference[known]
            )
        with clock(row, "mapping"):
            # Names, never positions.
            query = rna[:, reference["rna"].var_names].X
            votes = voters.predict_proba(projection.place(log_normalised(query)))
        counted = truth != "unknown"
        right = (voters.classes_[votes.argmax(1)] == truth)[counted]
        error = calibration_error(votes.max(1)[counted], right)
        print(
            f"| {name} ({counted.sum()} cells) | {right.mean():.4f} | {error:.4f} | {row['reference']} | {row['mapping']} |"
        )


if __name__ == "__main__":
    main()
