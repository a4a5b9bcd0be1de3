"""Make the mosaic data sets of the peer comparison.

* ``citeseq_mosaic.h5mu`` from ``pbmc_citeseq_10x_2batch.h5mu``: batch pbmc10k stays paired; the cells of pbmc5k are cut
  in two random halves, one keeps the RNA only (batch ``pbmc5k_rna``), the other the proteins only (``pbmc5k_adt``).
* ``pbmc_wnn_split.h5mu`` from ``pbmc_wnn_mosaic_1600.h5mu``: the 400 cells of p4_0 become 400 RNA-only cells (batch
  ``p4_0_rna``, names ending in ``_rna``) and 400 ADT-only cells (``p4_0_adt``, ``_adt``). p3_0 is the only bridge. The
  hidden counts are those of the cell of the same name, less the suffix, in the original file.

Both have ``obs["batch"]`` and ``obs["cell_type"]``, per modality and for all cells. ``var["measured_<batch>"]`` tells
the features that a batch measured; no such column: all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata as ad
import mudata as mu
import numpy as np
import pandas as pd

LABEL_KEYS = ("cell_type", "celltype")


def plain(mod: ad.AnnData, batch: np.ndarray | None = None, names: np.ndarray | None = None) -> ad.AnnData:
    """Copy a modality with only its counts, ``batch`` and ``cell_type``.

    Parameters
    ----------
    mod
        One modality.
    batch
        Batches to use in place of the modality's own.
    names
        Cell names to use in place of the modality's own.
    """
    label = next(k for k in LABEL_KEYS if k in mod.obs)
    obs = pd.DataFrame(
        {
            "batch": mod.obs["batch"].astype(str).to_numpy() if batch is None else batch,
            "cell_type": mod.obs[label].astype(str).to_numpy(),
        },
        index=mod.obs_names.astype(str) if names is None else names,
    )
    return ad.AnnData(X=mod.X.copy(), obs=obs, var=pd.DataFrame(index=mod.var_names.astype(str)))


def join(mods: dict[str, ad.AnnData]) -> mu.MuData:
    """Join modalities; ``obs`` of all cells gets plain ``batch`` and ``cell_type`` columns."""
    mdata = mu.MuData(mods)
    obs = pd.concat([mod.obs[["batch", "cell_type"]].astype(str) for mod in mods.values()])
    obs = obs[~obs.index.duplicated()].loc[mdata.obs_names]
    mdata.obs = pd.DataFrame({k: obs[k].astype("category") for k in ("batch", "cell_type")}, index=mdata.obs_names)
    return mdata


def citeseq_mosaic(source: mu.MuData, seed: int = 0) -> mu.MuData:
    """Cut the cells of pbmc5k in an RNA-only and an ADT-only half; see the module."""
    rna, adt = source["rna"], source["adt"]
    if not (rna.obs_names == adt.obs_names).all():
        raise ValueError("the two modalities must hold the same cells in the same order")
    batch = rna.obs["batch"].astype(str).to_numpy()
    cells = np.flatnonzero(batch == "pbmc5k")
    order = np.random.default_rng(seed).permutation(cells)
    half = len(cells) // 2
    new = batch.astype(object)
    new[order[:half]] = "pbmc5k_rna"
    new[order[half:]] = "pbmc5k_adt"
    keep_rna, keep_adt = new != "pbmc5k_adt", new != "pbmc5k_rna"
    mods = {
        "rna": plain(rna[keep_rna], batch=new[keep_rna].astype(str)),
        "adt": plain(adt[keep_adt], batch=new[keep_adt].astype(str)),
    }
    mods["adt"].var["measured_pbmc10k"] = adt.var["measured_pbmc10k"].to_numpy()
    mods["adt"].var["measured_pbmc5k_adt"] = adt.var["measured_pbmc5k"].to_numpy()
    return join(mods)


def split_batch(source: mu.MuData, batch: str = "p4_0") -> mu.MuData:
    """Make two single-modality batches of a paired one; see the module."""
    mods = {}
    for name, mod in source.mod.items():
        old = mod.obs["batch"].astype(str).to_numpy()
        hit = old == batch
        new = np.where(hit, f"{batch}_{name}", old)
        cells = mod.obs_names.astype(str).to_numpy()
        mods[name] = plain(mod, batch=new, names=np.where(hit, [f"{c}_{name}" for c in cells], cells))
    return join(mods)


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path, help="folder with the source files")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the random halves")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    made = {
        "citeseq_mosaic": citeseq_mosaic(mu.read_h5mu(args.data / "pbmc_citeseq_10x_2batch.h5mu"), args.seed),
        "pbmc_wnn_split": split_batch(mu.read_h5mu(args.data / "pbmc_wnn_mosaic_1600.h5mu")),
    }
    for name, mdata in made.items():
        mdata.write_h5mu(args.out / f"{name}.h5mu", compression="gzip")
        print(name, {k: tuple(m.shape) for k, m in mdata.mod.items()}, mdata.obs["batch"].value_counts().to_dict())


if __name__ == "__main__":
    main()
