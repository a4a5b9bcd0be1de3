"""Labels carried over by other tools: ``python benchmarks/transfer_peers.py DATA [--environments ENVS] [--tasks full,rna]``.

Reference, query and cells are those of ``transfer.py``; each tool puts both into one space, and 11 nearest neighbours vote there.
``projection``: principal components of the reference; ``symphony``: symphonypy; ``totalvi``: scvi-tools by scArches. Each runs in
its own environment, made on first use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from midas.bench import environments
from midas.bench.registry import METHODS, Environment, Method
from midas.io import read_file
from midas.metrics import calibration_error, tasks
from transfer import of_batches

NEIGHBOURS = 11
PEERS = {
    "projection": Method("projection", "run_projection.py", "principal components"),
    "symphony": Method("symphony", "run_symphony.py", "Symphony", Environment("symphony", ("symphonypy==0.2.4",))),
    "totalvi": Method("totalvi", "run_totalvi.py", "scArches", METHODS["totalvi"].environment),
}
SCRIPTS = Path(__file__).parent / "mapping_peers"


def handed_over(rna: ad.AnnData, adt: ad.AnnData | None, proteins: pd.Index, batch: pd.Series) -> ad.AnnData:
    """RNA with its proteins beside it; zeros where there are none."""
    data = ad.AnnData(rna.X.copy(), obs=pd.DataFrame({"batch": batch.loc[rna.obs_names].astype(str)}), var=rna.var[[]])
    values = pd.DataFrame(0.0, index=rna.obs_names, columns=proteins)
    if adt is not None:
        both = rna.obs_names.intersection(adt.obs_names)
        values.loc[both] = adt[both, proteins].to_df().to_numpy()
    data.obsm["adt"] = values
    return data


def placed(peer: Method, reference: Path, query: Path, seed: int, folder: Path) -> dict[str, np.ndarray]:
    """Reference and query in one space, and the CPU seconds that it took."""
    problem = environments.prepare([peer], folder)
    python = environments.interpreter(peer, folder)
    if isinstance(python, str):
        sys.exit(f"{peer.name}: {python}. {problem}")
    out = query.with_suffix(f".{peer.name}.npz")
    command = [str(python), str(SCRIPTS / peer.script), str(reference), str(query), str(out), "--seed", str(seed)]
    subprocess.run(command, check=True, env={"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", **os.environ})
    with np.load(out) as found:
        return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", default="full,rna")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--environments", type=Path, default=environments.default_folder())
    args = parser.parse_args()
    mdata = read_file(args.data / "pbmc_standin_trimodal_4batch.h5mu")
    of_reference = of_batches(mdata, {"pbmc10k_a", "pbmc10k_b"})
    source = of_batches(mdata, {"pbmc5k_a", "pbmc5k_b"})
    names = of_reference["rna"].obs_names
    labels = of_reference.obs.loc[names, "cell_type"].astype(str).to_numpy()
    known = labels != "unknown"
    proteins = of_reference["adt"].var_names
    print("| peer | form | F1 | reliability error | CPU s of reference | CPU s of mapping |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        reference = Path(scratch) / "reference.h5ad"
        handed_over(of_reference["rna"], of_reference["adt"], proteins, of_reference.obs["batch"]).write_h5ad(reference)
        for name in args.tasks.split(","):
            task = tasks.make(source, name, n_cells=args.cells, seed=args.seed)
            # Genes by name, in the reference's order.
            rna = task.mdata["rna"][:, of_reference["rna"].var_names]
            adt = task.mdata["adt"] if "adt" in task.mdata.mod else None
            query = Path(scratch) / f"{name}.h5ad"
            handed_over(rna, adt, proteins, task.mdata.obs["batch"]).write_h5ad(query)
            truth = task.truth.obs.loc[rna.obs_names, "cell_type"].astype(str).to_numpy()
            for peer in args.peers.split(","):
                found = placed(PEERS[peer], reference, query, args.seed, args.environments)
                voters = KNeighborsClassifier(NEIGHBOURS, weights="distance")
                voters.fit(found["reference"][known], labels[known])
                votes = voters.predict_proba(found["query"])
                counted = truth != "unknown"
                right = (voters.classes_[votes.argmax(1)] == truth)[counted]
                error = calibration_error(votes.max(1)[counted], right)
                print(
                    f"| {peer} | {name} ({counted.sum()} cells) | {right.mean():.4f} | {error:.4f} "
                    f"| {found['reference_s']:.1f} | {found['mapping_s']:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
