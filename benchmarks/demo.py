"""Score the integration of a simulated mosaic against its truth, and draw it.

``python benchmarks/demo.py demo/`` reads ``demo/mosaic.h5mu`` and ``demo/result.h5mu``, prints the scores, and leaves
``demo/embedding.png``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import midas
from midas import metrics, pl
from midas.io import read_file


def main(folder: Path) -> None:
    result = read_file(folder / "result.h5mu")
    settings = {key: value for key, value in result.uns["simulation"].items() if key in {"n_cells", "n_genes"}}
    truth = midas.simulate.mosaic_with_truth(seed=0).full
    if settings["n_cells"] != truth.n_obs or settings["n_genes"] != truth["rna"].n_vars:
        sys.exit("Expected the mosaic of `midas simulate` at its defaults, found another.")
    z = np.asarray(result.obsm["X_midas"])
    types, batch = result.obs["cell_type"].to_numpy(), result.obs["batch"].to_numpy()
    table = Table(
        "what", "value", "perfect", title=f"{len(z):,} cells of {len(set(batch))} batches", title_justify="left"
    )
    table.add_row("cells among neighbours of their own type", f"{metrics.label_agreement(z, types):.3f}", "1")
    ceiling = metrics.label_agreement(np.asarray(result.obsm["X_truth"]), types)
    table.add_row("  the same in the true state", f"{ceiling:.3f}", "1")
    table.add_row("mixing of batches", f"{metrics.mixing(z, batch):.3f}", "1")
    for name in ("rna", "adt", "atac"):
        imputed = result[f"{name}_imputed"]
        hidden = ~imputed.obs["measured"].to_numpy(dtype=bool)
        cells = imputed.obs_names[hidden]
        scores = metrics.count_scores(imputed[cells].X, truth[name][cells, imputed.var_names].X)
        if name == "atac":
            table.add_row("atac: AUROC of accessibility where it was hidden", f"{scores.auroc:.3f}", "1")
        else:
            table.add_row(
                f"{name}: r with hidden counts (log1p), mean over features", f"{scores.r_log1p_feature:.3f}", "1"
            )
    Console().print(table)
    pl.umap(result, ["cell_type", "batch"], save=folder / "embedding.png")
    Console().print(f"Picture: {folder / 'embedding.png'}")
    if (folder / "report.html").is_file():
        Console().print(f"Report: {folder / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
