"""Data sets of the benchmark, the tasks that are meaningful on each, and what each can and cannot show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from midas import datasets
from midas.data.joint import joint
from midas.keys import MEASURED_PREFIX
from midas.simulate import SimulationConfig, mosaic_with_truth

GIVEN: Final = "given"  # the mosaic as measured; nothing is hidden


@dataclass(frozen=True)
class BenchmarkDataset:
    """A data set of the benchmark.

    Attributes
    ----------
    load
        Reads it from the folder with the data files, with everything known about its cells; obs has ``batch`` and ``cell_type``.
    tasks
        Tasks on this data set, in the order of the table.
    note
        What the data set can and cannot show.
    """

    name: str
    load: Callable[[Path | None], md.MuData]
    tasks: tuple[str, ...]
    note: str


def _named(name: str) -> Callable[[Path | None], md.MuData]:
    def load(folder: Path | None) -> md.MuData:
        data = datasets.load(name, folder=folder)
        if isinstance(data, ad.AnnData):
            data = _joined({"adt": data})
        data.obs = data.obs.rename(columns={"celltype": "cell_type"})
        return data

    return load


def _joined(parts: Mapping[str, ad.AnnData]) -> md.MuData:
    """Join modalities; obs of all cells has the columns that the modalities share."""
    frames = [part.obs for part in parts.values()]
    shared = [column for column in frames[0] if all(column in frame for frame in frames)]
    obs = pd.concat([frame[shared].astype(str) for frame in frames])
    obs = obs[~obs.index.duplicated()]
    mdata = joint(parts, obs.index)
    for column in shared:
        mdata.obs[column] = obs[column].to_numpy()
    return mdata


def bone_marrow(folder: Path | None) -> md.MuData:
    """Join CITE-seq and Multiome of the same tissue into one mosaic: batches are donor and technology, genes the union."""
    parts: dict[str, list[ad.AnnData]] = {}
    for technology in ("cite", "multiome"):
        data = datasets.load(f"bmmc_{technology}_neurips_1draw", folder=folder)
        for name, mod in data.mod.items():
            part = mod.copy()
            part.obs = part.obs[["batch", "cell_type"]].astype(str)
            part.obs["batch"] += f"_{technology}"
            part.obs_names = part.obs_names.astype(str) + f"_{technology}"
            parts.setdefault(name, []).append(part)
    return _joined({name: stacked(several) for name, several in parts.items()})


def stacked(parts: list[ad.AnnData]) -> ad.AnnData:
    """Join cells of several panels of one modality: the union of features, with masks of the features measured in each batch."""
    features = pd.Index(sorted(set().union(*(part.var_names for part in parts))))
    var = pd.DataFrame(index=features)
    blocks = []
    for part in parts:
        at = features.get_indexer(part.var_names)
        place = sp.csr_matrix((np.ones(len(at), np.float32), (np.arange(len(at)), at)), (len(at), len(features)))
        blocks.append(sp.csr_matrix(part.X, dtype=np.float32) @ place)
        for batch in part.obs["batch"].unique():
            var[f"{MEASURED_PREFIX}{batch}"] = features.isin(part.var_names)
    if bool(var.to_numpy().all()):
        var = pd.DataFrame(index=features)
    return ad.AnnData(sp.csr_matrix(sp.vstack(blocks)), obs=pd.concat([part.obs for part in parts]), var=var)


def standin(folder: Path | None) -> md.MuData:
    """The stand-in data; its panel columns name the experiment, and each batch is one half of it."""
    data = datasets.load("pbmc_standin_trimodal_4batch", folder=folder)
    var = data["adt"].var
    for batch in data.obs["batch"].astype(str).unique():
        var[f"{MEASURED_PREFIX}{batch}"] = var[f"{MEASURED_PREFIX}{batch.rsplit('_', 1)[0]}"]
    data["adt"].var = var.drop(columns=[f"{MEASURED_PREFIX}pbmc10k", f"{MEASURED_PREFIX}pbmc5k"])
    return data


def simulated(_: Path | None) -> md.MuData:
    """Four batches of all three modalities with known state, from a fixed seed."""
    config = SimulationConfig(mosaic=("rna+adt+atac",) * 4, n_cells=4000)
    return mosaic_with_truth(config, seed=0).full


TRIMODAL: Final = (
    "full", "paired+full", "paired-abc", "paired-ab", "paired-ac", "paired-bc", "diagonal+full", "diagonal",
    "paired-a", "paired-b", "paired-c", "atac", "rna", "adt",
)  # fmt: skip


def _registry(*sources: BenchmarkDataset) -> Mapping[str, BenchmarkDataset]:
    return MappingProxyType({source.name: source for source in sources})


SOURCES: Final = _registry(
    BenchmarkDataset(
        "wnn",
        _named("pbmc_wnn_mosaic_1600"),
        (GIVEN, "split"),
        "PBMC CITE-seq, a mosaic as published (one batch of RNA, one of proteins, two of both). `split` hides the "
        "pairing of one of the two paired batches, so alignment and imputation are of cells whose pairing no method "
        "saw.",
    ),
    BenchmarkDataset(
        "citeseq",
        _named("pbmc_citeseq_10x_2batch"),
        ("paired", "rna+paired", "adt+paired", "diagonal+paired", "diagonal"),
        "PBMC CITE-seq of two experiments; 15 of 29 proteins were measured in one of them only. Labels come partly "
        "from the proteins.",
    ),
    BenchmarkDataset(
        "standin",
        standin,
        TRIMODAL,
        "A stand-in for trimodal data: real RNA and proteins of PBMC, but its ATAC is binarised expression of other "
        "genes on made-up chromosomes, and its four batches are halves of two experiments. It can show whether a "
        "method copes with each mosaic pattern and how methods rank under the same hidden data. It cannot show how "
        "well real accessibility is aligned or imputed (expression is less sparse and closer to RNA), nor how strong "
        "batch effects between technologies are removed.",
    ),
    BenchmarkDataset(
        "snareseq",
        _named("mouse_cortex_snareseq"),
        ("paired", "unpaired", "diagonal+paired"),
        "Mouse cortex with real, very sparse ATAC (about 99 peaks a cell). Batches differ little. Labels come from "
        "the RNA alone.",
    ),
    BenchmarkDataset(
        "bmmc",
        bone_marrow,
        (GIVEN,),
        "Bone marrow, CITE-seq and Multiome of two donors joined: a real mosaic of three modalities that share 168 "
        "genes. No cell has all three, so translation between proteins and ATAC has no truth; its 600 peaks carry "
        "next to no type signal.",
    ),
    BenchmarkDataset(
        "asap",
        _named("pbmc_asap_cite_adt_only_4batch"),
        (GIVEN,),
        "Proteins only, of two technologies and two conditions: batch correction of one modality.",
    ),
    BenchmarkDataset(
        "sim",
        simulated,
        ("paired+full", "diagonal"),
        "Simulated, so the true state of each cell is known: `state R2` is how much of it a linear map of the "
        "embedding recovers. Its batch effects are factors on features, as the models assume; real ones are not so "
        "simple.",
    ),
)


# Tasks of the quick table: hidden pairing, three modalities with one missing per batch, a task that totalVI supports too, and a
# real mosaic of three modalities.
QUICK: Final = (
    ("wnn", "split"),
    ("standin", "paired+full"),
    ("standin", "paired-c"),
    ("bmmc", GIVEN),
)


def parse_datasets(names: str | None) -> list[BenchmarkDataset]:
    """Look up data sets by comma-separated names; None for all.

    Raises
    ------
    ValueError
        If there is no such data set.
    """
    wanted = list(SOURCES) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in SOURCES]
    if unknown or not wanted:
        msg = f"Expected data sets out of {', '.join(SOURCES)}, found {', '.join(unknown) or 'none'}."
        raise ValueError(msg)
    return [SOURCES[name] for name in wanted]


def grid(datasets_: str | None, tasks: str | None, *, quick: bool) -> list[tuple[BenchmarkDataset, str]]:
    """Look up data sets, combined with one task each, by comma-separated names.

    Parameters
    ----------
    datasets_, tasks
        None for all, or for those of the quick table.
    quick
        Whether to use only tasks of the quick table.

    Raises
    ------
    ValueError
        If a name is unknown, or none of the data sets has such a task.
    """
    sources = parse_datasets(datasets_)
    wanted = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    there = [(s, t) for s in sources for t in s.tasks if not quick or tasks is not None or (s.name, t) in QUICK]
    found = [(s, t) for s, t in there if wanted is None or t in wanted]
    unknown = set(wanted or ()) - {t for _, t in found}
    if unknown or not found:
        listed = "; ".join(f"{s.name}: {', '.join(s.tasks)}" for s in sources)
        msg = f"Expected tasks out of {listed}; found {', '.join(sorted(unknown)) or 'none of the quick table'}."
        raise ValueError(msg)
    return found
