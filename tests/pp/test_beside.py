"""Proteins that RNA keeps in obsm, as scvi-tools has it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from helpers import names, one
from midas import read_mosaic
from midas.pp.inputs import collect

CELLS, PROTEINS = names("c", 8), ["CD3_TotalSeqB", "CD56(NCAM)", "CD45RA"]
COUNTS = np.random.default_rng(0).poisson(5, (8, 3))


def cite(values: object = COUNTS, key: str = "protein_expression", **uns: object) -> ad.AnnData:
    adata = one(CELLS, names("g", 5), ["a"] * 4 + ["b"] * 4)
    adata.obsm[key], adata.uns = values, uns
    return adata


@pytest.mark.parametrize(
    "adata",
    [
        cite(pd.DataFrame(COUNTS, CELLS, PROTEINS)),
        cite(pd.DataFrame(COUNTS, CELLS, PROTEINS), key="panel"),  # told by its columns
        cite(protein_names=np.array(PROTEINS)),
    ],
    ids=["frame", "another key", "names in uns"],
)
def test_proteins_in_obsm_become_a_modality(adata: ad.AnnData) -> None:
    found = {(s.batch, s.modality): s for s in collect([adata])}
    assert set(found) == {("a", "rna"), ("b", "rna"), ("a", "adt"), ("b", "adt")}
    np.testing.assert_array_equal(found["b", "adt"].adata.X.toarray(), COUNTS[4:])
    assert found["a", "adt"].adata.var_names.tolist() == PROTEINS
    assert found["a", "adt"].adata.obs_names.tolist() == CELLS[:4]
    assert "3 proteins were taken from obsm[" in found["a", "rna"].notes[0]


@pytest.mark.parametrize(
    ("adata", "why"),
    [(cite(), "as it names no proteins"), (cite(COUNTS / 3, protein_names=PROTEINS), "as it holds no raw counts")],
    ids=["no names", "no counts"],
)
def test_what_cannot_be_taken_is_noted(adata: ad.AnnData, why: str) -> None:
    found = collect([adata])
    assert {s.modality for s in found} == {"rna"}
    assert why in found[0].notes[0]


def test_reading_says_where_proteins_are_passed_over() -> None:
    frame = pd.DataFrame(COUNTS, CELLS, PROTEINS)
    assert "obsm['protein_expression'] looks like proteins" in " ".join(read_mosaic(cite(frame)).notes)
    with_adt = {"rna": cite(frame), "adt": one(CELLS, PROTEINS, ["a"] * 4 + ["b"] * 4)}
    assert not any("looks like proteins" in note for note in read_mosaic(with_adt).notes)
