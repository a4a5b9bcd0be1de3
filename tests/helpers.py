"""Small data and small models that the tests share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from midas import Config, Mosaic, simulate

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SIMULATION = simulate.SimulationConfig(
    mosaic=("rna+adt", "rna+atac", "rna+adt+atac"),
    n_cells=120,
    n_genes=30,
    n_proteins=6,
    n_peaks=75,
    n_chromosomes=3,
    unpaired_fraction=0.2,
    rna_depth=200,
    adt_depth=150,
    peak_density=0.2,
)

TINY: dict[str, dict[str, Any]] = {
    "network": {
        "dim_c": 4,
        "encoder": [16, 8],
        "decoder": [8, 16],
        "block_encoder": [8, 4],
        "block_decoder": [4, 8],
        "min_features_for_blocks": 0,
        "min_features_for_depth": 10,
        "batch_encoder": [4],
        "batch_decoder": [4],
        "discriminator": [8],
        "dropout": 0.2,
        "discriminator_dropout": 0.2,
    },
    "objective": {"adversarial": 30.0},
    "training": {
        "epochs": 2,
        "batch_size": 48,
        "learning_rate": 1e-3,
        "discriminator_learning_rate": 1e-3,
        "discriminator_steps": 1,
        "sampling": "mixed",
        "schedule": "warmup_stable_decay",
        "warmup": 0.05,
        "decay": 0.4,
        "validation_fraction": 0.0,
        "precision": "32",
        "accelerator": "cpu",
    },
}


def tiny(**changes: object) -> Config:
    """A configuration that trains in a fraction of a second; keywords change its table [training], or are tables."""
    tables = {name: {**table, **changes.pop(name, {})} for name, table in TINY.items()}
    tables["training"] |= changes
    return Config.from_dict(tables)


def names(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


def counts(n: int, d: int, seed: int = 0, rate: float = 2.0) -> sp.csr_matrix:
    return sp.csr_matrix(np.random.default_rng(seed).poisson(rate, (n, d)).astype(np.float32))


def one(
    cells: Sequence[str],
    features: Sequence[str],
    batch: Sequence[str] | str | None = "b1",
    *,
    seed: int = 0,
    rate: float = 2.0,
) -> ad.AnnData:
    """One modality."""
    obs = pd.DataFrame(index=list(cells))
    if batch is not None:
        obs["batch"] = batch
    return ad.AnnData(counts(len(cells), len(features), seed, rate), obs=obs, var=pd.DataFrame(index=list(features)))


def joined(modalities: Mapping[str, ad.AnnData], *, batch: Sequence[str] | None = None) -> md.MuData:
    """A MuData, with a global batch column if given."""
    with md.set_options(pull_on_update=False):
        mdata = md.MuData(dict(modalities))
    if batch is not None:
        mdata.obs["batch"] = list(batch)
    return mdata


def simulated(seed: int = 0, **changes: object) -> md.MuData:
    return simulate.mosaic(simulate.SimulationConfig(**{**SIMULATION.to_dict(), **changes}), seed=seed)


def dense(mosaic: Mosaic, modality: str) -> pd.DataFrame:
    """All counts of a modality as read: cells x features of the schema, NaN where the cell or the feature was not measured."""
    rows = mosaic.modalities[modality]
    out = np.full((mosaic.n_cells, mosaic.schema.modalities[modality].n_features), np.nan)
    for cell in np.flatnonzero(rows.present):
        source = rows.source_of[cell]
        row = rows.sources[source].rows(rows.row[[cell]]).toarray()[0]
        out[cell] = 0
        known = rows.columns[source] >= 0
        out[cell, rows.columns[source][known]] = row[known]
        out[cell, ~rows.measured[mosaic.batch[cell]]] = np.nan
    return pd.DataFrame(out, index=mosaic.cells, columns=mosaic.schema.modalities[modality].features)


def table(adata: ad.AnnData) -> pd.DataFrame:
    """Counts by name."""
    values = adata.X.toarray() if sp.issparse(adata.X) else np.asarray(adata.X)
    return pd.DataFrame(values, index=adata.obs_names, columns=adata.var_names)


def by_name(values: np.ndarray, cells: Sequence[str] | pd.Index) -> pd.DataFrame:
    return pd.DataFrame(values, index=pd.Index(cells)).sort_index()


def query_of(reference_size: int = 120, seed: int = 0, **changes: object) -> md.MuData:
    """Two batches of the same world that :func:`simulated` lacks: batch4 with RNA and protein, batch5 with RNA alone."""
    more = {"mosaic": (*SIMULATION.mosaic, "rna+adt", "rna"), "n_cells": reference_size * 5 // 3, **changes}
    whole = simulated(seed, **more)
    part = {}
    for name in ("rna", "adt"):
        mine = whole.mod[name].obs["batch"].isin(["batch4", "batch5"]).to_numpy()
        part[name] = whole.mod[name][mine].copy()
    query = joined(part)
    query.obs = whole.obs.loc[query.obs_names].copy()
    return query


def real_folder() -> Path | None:
    """Where real data are: the folder that MIDAS_DATA names, or shared/data beside the repository."""
    named = os.environ.get("MIDAS_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
