"""What cannot be read is refused, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from forms import CELLS, GENES, PROTEINS

from helpers import joined, names, one
from midas import MIDAS, CountsError, Modality, read_mosaic


def without(adata: ad.AnnData, what: str) -> ad.AnnData:
    match what:
        case "nan batch":
            adata.obs["batch"] = pd.Categorical(["b1"] * 7 + [np.nan])
        case "blank batch":
            adata.obs["batch"] = ["b1"] * 7 + [""]
        case "columns":
            adata.obs = pd.concat([adata.obs, adata.obs], axis=1)
        case "counts":
            adata.raw = adata.copy()
            adata.X = adata.X.astype(np.float64)
            adata.X.data[0] = 2.0000001
            adata.layers["imputed"] = adata.X
        case "x":
            adata.X = None
        case "one name":
            adata.obs.index = pd.MultiIndex.from_arrays([adata.obs_names, adata.obs_names])
    return adata


REFUSED: list[tuple[Callable[[], Any], dict[str, Any], str]] = [
    (
        lambda: one(CELLS, GENES, None),
        {},
        r"modality 'rna'.*: expected a column 'batch' that names each cell's batch, found the columns: none\. Name the column",
    ),
    (lambda: one(CELLS, GENES), {"batch_key": "donor"}, "expected a column 'donor'.*found the columns: batch"),
    (
        lambda: joined({"rna": one(CELLS, GENES, None)}),
        {},
        "modality 'rna': expected a column 'batch'",
    ),
    (
        lambda: without(one(CELLS, GENES), "nan batch"),
        {},
        "expected a batch for every cell, found none in 'batch' for 'c7'",
    ),
    (
        lambda: without(one(CELLS, GENES), "blank batch"),
        {},
        "expected a batch for every cell, found none in 'batch' for 'c7'",
    ),
    (
        lambda: joined({"rna": one(CELLS, GENES, "b1")}, batch=["b1"] * 7 + ["b2"]),
        {},
        "the global obs and the modality's obs disagree on 'batch' for 'c7'. Make them agree",
    ),
    (
        lambda: joined({"rna": one(CELLS, GENES), "metabolites": one(CELLS, PROTEINS)}),
        {},
        r"Expected modalities called rna, adt, atac, found 'metabolites'. Say what it is, for example modalities=",
    ),
    (
        lambda: one(CELLS, GENES),
        {"modalities": {"rna": Modality("poisson", "log1p"), "adt": Modality("poisson", "log1p")}},
        "Expected the modalities adt, rna, found rna: adt missing",
    ),
    (lambda: one(CELLS, GENES), {"layer": "counts"}, "expected a layer 'counts', found the layers: none"),
    (lambda: without(one(CELLS, GENES), "x"), {}, "expected counts in X, found nothing there. Choose a layer"),
    (lambda: one([], GENES), {}, "Expected cells, found none"),
    (
        lambda: without(one(CELLS, GENES), "one name"),
        {},
        "expected one name for each cell, found 2 levels of obs_names. Join: adata.obs_names = ",
    ),
    (lambda: {"rna": one(CELLS, [])}, {}, "Expected features in modality 'rna', found none"),
    (lambda: md.MuData({}), {}, "Expected a MuData with at least one modality, found none"),
    (
        lambda: {"rna": one(CELLS, GENES), "donor2": one(CELLS, GENES)},
        {},
        "either by modality .* or by batch, found both: rna are modalities, donor2 not. Leave the latter",
    ),
    (
        lambda: np.ones((3, 3)),
        {},
        "Expected a MuData, an AnnData, or a dict of them by modality or by batch, found ndarray",
    ),
    (lambda: "file.h5mu", {}, r"found str. Read the file first: midas.io.read_file\(path\)"),
    (
        lambda: one(CELLS, GENES),
        {"batch_key": ["site", "donor"]},
        r"batch_key= to name one column .*found \['site', 'donor'\].*= obs\['site'\].astype\(str\) \+ \"_\" \+ obs\['donor'\]",
    ),
    (
        lambda: without(one(CELLS, GENES), "columns"),
        {},
        "modality 'rna'.*: expected each column of obs once.*: 'batch'",
    ),
    (
        lambda: without(one(CELLS, GENES), "counts"),
        {},
        "first 2.0000001 at cell .* There are no layers. raw has other values: midas.pp.prepare",
    ),
    (lambda: {"rna": np.ones((3, 3))}, {}, r"found dict of \['ndarray'\]"),
    (dict, {}, r"found dict of \[\]"),
]


@pytest.mark.parametrize(("data", "options", "message"), REFUSED)
def test_what_cannot_be_read_is_refused_with_what_to_do(
    data: Callable[[], Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, KeyError, TypeError), match=message):
        read_mosaic(data(), **options)


def test_a_model_refuses_what_cannot_be_read_before_it_starts() -> None:
    with pytest.raises(KeyError, match="expected a column 'batch'"):
        MIDAS(one(CELLS, GENES, None))


def test_new_data_without_batches_are_told_how_to_name_them(fitted: MIDAS) -> None:
    with pytest.raises(KeyError, match=r"found the columns: none\. Name the column with batch_key=: of MIDAS\.load"):
        fitted.impute("adt", one(CELLS, GENES, None))


def test_a_modality_of_zeros_alone_is_refused() -> None:
    empty = one(names("c", 6), names("g", 3), rate=0.0)
    with pytest.raises(
        CountsError, match=r"modality 'rna': expected counts, found zeros alone\. Leave the modality out"
    ):
        read_mosaic({"rna": empty, "adt": one(names("c", 6), names("p", 3))})


def test_values_beyond_float32_are_refused_by_cell_and_feature() -> None:
    adata = one(CELLS, GENES)
    adata.X = adata.X.astype(np.float64)
    adata.X[3, 2] = 1e300
    with pytest.raises(
        CountsError, match=f"too large for float32, first 1e\\+300 at cell '{CELLS[3]}', feature '{GENES[2]}'"
    ):
        read_mosaic(adata)
