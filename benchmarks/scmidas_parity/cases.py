"""The mosaics to compare on, and how they are cut from the data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import anndata as ad
import mudata as mu
import numpy as np
import pandas as pd

from midas.data import Mosaic
from midas.data.blocks import peak_keys


@dataclass(frozen=True)
class Case:
    """A mosaic to compare on.

    Attributes
    ----------
    name
        In the table.
    file
        Data set that it is cut from.
    modalities
        That are kept.
    withheld
        By batch, modalities that are taken away from it.
    """

    name: str
    file: str
    modalities: tuple[str, ...]
    withheld: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


WNN, CITESEQ, TRIMODAL = (
    f"pbmc_{name}.h5mu" for name in ("wnn_mosaic_1600", "citeseq_10x_2batch", "standin_trimodal_4batch")
)
CASES = (
    Case("rna+adt", WNN, ("rna", "adt")),
    Case("rna+atac", TRIMODAL, ("rna", "atac"), {"pbmc10k_b": ("atac",), "pbmc5k_a": ("rna",)}),
    Case("masks", CITESEQ, ("rna", "adt")),
    Case(
        "trimodal",
        TRIMODAL,
        ("rna", "adt", "atac"),
        {"pbmc10k_b": ("adt", "atac"), "pbmc5k_a": ("rna",), "pbmc5k_b": ("adt",)},
    ),
)


def shuffled_features(mod: ad.AnnData, rng: np.random.Generator) -> np.ndarray:
    """Order the features at random, but keep chromosomes together, in the order of their names as text."""
    order = rng.permutation(mod.n_vars)
    if "chrom" not in mod.var:
        return order
    return order[np.argsort(mod.var["chrom"].astype(str).to_numpy()[order], kind="stable")]


def chosen_cells(mdata: mu.MuData, n: int, rng: np.random.Generator) -> set[str]:
    """Names of at most `n` cells of each batch."""
    batch = pd.concat([mod.obs["batch"].astype(str) for mod in mdata.mod.values()])
    batch = batch[~batch.index.duplicated()]
    parts = [rng.permutation(names)[:n] for names in batch.groupby(batch, observed=True).groups.values()]
    return {str(name) for part in parts for name in part}


def cut(case: Case, source: mu.MuData, rng: np.random.Generator, cells_per_batch: int = 400) -> mu.MuData:
    """Cut the mosaic of a case: some cells, shuffled features, modalities taken away."""
    keep = chosen_cells(source, cells_per_batch, rng)
    mods = {}
    for name in case.modalities:
        mod = source[name]
        batch = mod.obs["batch"].astype(str)
        there = ~batch.map(lambda b, name=name: name in case.withheld.get(b, ())).to_numpy()
        part = mod[there & mod.obs_names.isin(keep), shuffled_features(mod, rng)].copy()
        part.obs = pd.DataFrame({"batch": part.obs["batch"].astype(str)}, index=part.obs_names)
        mods[name] = part
    return mu.MuData(mods)


def tell_measured(mdata: mu.MuData, mosaic: Mosaic) -> None:
    """Write what our reader took as measured into ``var["measured_<batch>"]``, which the exporter gives to scmidas."""
    for name, rows in mosaic.modalities.items():
        mod = mdata[name]
        column = mosaic.schema.modalities[name].features.get_indexer(peak_keys(mod.var_names))
        for b, batch in enumerate(mosaic.batches):
            if mosaic.schema.batches_with[name][b] and not rows.measured[b].all():
                mod.var[f"measured_{batch}"] = rows.measured[b, column]
