"""Files as sequencing centres hand them on, made of simulated cells whose features bear real names."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
from scipy.io import mmwrite
from scipy.sparse import coo_matrix

from helpers import simulated

PROTEINS = {"CD3": "CD3E", "CD4": "CD4", "CD8a": "CD8A", "CD19": "CD19", "CD56": "NCAM1", "CD45RA": "PTPRC"}
SIZE = {"n_cells": 240, "n_genes": 300, "n_proteins": 6, "n_peaks": 300, "rna_depth": 600, "unpaired_fraction": 0.0}


def raw() -> dict[str, dict[str, ad.AnnData]]:
    """AnnData by modality, by batch: d1 rna+adt, d2 rna+atac, d3 all three; panels and peaks spelled differently."""
    mdata = simulated(mosaic=("rna+adt", "rna+atac", "rna+adt+atac"), **SIZE)
    names = list(PROTEINS)
    linked = dict(zip(mdata["adt"].var["gene"], PROTEINS.values(), strict=True))
    genes = [linked.get(gene, gene) for gene in mdata["rna"].var_names]
    found: dict[str, dict[str, ad.AnnData]] = {}
    for number, batch in enumerate(("batch1", "batch2", "batch3"), 1):
        found[f"d{number}"] = parts = {}
        for modality in ("rna", "adt", "atac"):
            mine = _of(mdata, modality, batch)
            if mine.n_obs:
                mine.obs_names = [f"{'ACGT'[i % 4]}{i:05d}-1" for i in range(mine.n_obs)]  # the same in every batch
                parts[modality] = mine
        parts["rna"].var_names = genes
        parts["rna"].var["gene_ids"] = [f"ENSG{i:011d}" for i in range(len(genes))]
    found["d1"]["adt"].var_names = [f"{name}_TotalSeqB" for name in names]
    found["d3"]["adt"].var_names = ["cd3.1", "cd4-RPA-T4", "CD8A", "cd19", "CD56(NCAM)", "CD45-RA"]
    for batch, shift in (("d2", 0), ("d3", 60)):
        atac = found[batch]["atac"]
        places = [name.replace(":", "-").split("-") for name in atac.var_names]
        atac.var_names = [f"{c}:{int(a) + shift}-{int(b) + shift}" for c, a, b in places]
    return found


def _of(mdata: md.MuData, modality: str, batch: str) -> ad.AnnData:
    adata = mdata[modality]
    mine = adata[(adata.obs["batch"] == batch).to_numpy()].copy()
    return ad.AnnData(mine.X, obs=pd.DataFrame(index=mine.obs_names), var=pd.DataFrame(index=mine.var_names))


def write_mtx(folder: Path, adata: ad.AnnData, *, version: int = 3, gz: bool = True, prefix: str = "") -> None:
    """Cell Ranger 2 (genes.tsv) or later (features.tsv), with or without gzip."""
    folder.mkdir(parents=True, exist_ok=True)
    ending = ".gz" if gz else ""

    def opened(name: str) -> object:
        path = folder / f"{prefix}{name}{ending}"
        return gzip.open(path, "wb") if gz else path.open("wb")

    ids = adata.var.get("gene_ids", adata.var_names)
    table = pd.DataFrame({"id": list(ids), "name": list(adata.var_names)})
    if version > 2:
        table["kind"] = adata.var["feature_types"].to_list() if "feature_types" in adata.var else "Gene Expression"
    with opened("matrix.mtx") as file:
        mmwrite(file, coo_matrix(adata.X.T.astype(np.int32)))
    with opened("features.tsv" if version > 2 else "genes.tsv") as file:
        file.write(table.to_csv(sep="\t", header=False, index=False).encode())
    with opened("barcodes.tsv") as file:
        file.write(("\n".join(adata.obs_names) + "\n").encode())
