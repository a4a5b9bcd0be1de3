"""Proteins that RNA keeps in obsm, as scvi-tools has it."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import joined, names, one
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


def log_with_raw() -> ad.AnnData:
    adata = cite(protein_names=PROTEINS)
    adata.raw = adata.copy()
    adata.X = np.log1p(adata.X)
    return adata


@pytest.mark.parametrize(
    "source",
    [
        log_with_raw(),
        joined({"rna": cite(pd.DataFrame(COUNTS, CELLS, PROTEINS))}),
        cite(sp.csr_matrix(COUNTS), key="panel", protein_names=PROTEINS),
    ],
    ids=["counts in raw", "MuData of RNA", "told by uns alone"],
)
def test_proteins_are_found_wherever_rna_is(source: ad.AnnData | md.MuData) -> None:
    found = {(s.batch, s.modality): s.adata for s in collect([source])}
    np.testing.assert_array_equal(found["b", "adt"].X.toarray(), COUNTS[4:])
    assert found["b", "adt"].var_names.tolist() == PROTEINS
    assert not found["b", "rna"].obsm  # they are not carried along twice


def test_cells_without_proteins_have_none() -> None:
    values = COUNTS.astype(float)
    values[[1, 6]] = np.nan
    found = {(s.batch, s.modality): s for s in collect([cite(values, protein_names=PROTEINS)])}
    assert found["a", "adt"].adata.obs_names.tolist() == ["c0", "c2", "c3"]
    assert found["b", "rna"].adata.n_obs == 4
    assert "from obsm['protein_expression'], of the 6 of 8 cells that have them" in found["a", "rna"].notes[0]
    values[2, 0] = np.nan
    assert "no raw counts" in collect([cite(values, protein_names=PROTEINS)])[0].notes[0]


def test_words_on_proteins_are_no_counts() -> None:
    words = pd.DataFrame({"CD3": ["high"] * 8}, CELLS)
    assert "no raw counts" in collect([cite(words)])[0].notes[0]


def test_reading_says_where_proteins_are_passed_over() -> None:
    frame = pd.DataFrame(COUNTS, CELLS, PROTEINS)
    assert "obsm['protein_expression'] looks like proteins" in " ".join(read_mosaic(cite(frame)).notes)
    with_adt = {"rna": cite(frame), "adt": one(CELLS, PROTEINS, ["a"] * 4 + ["b"] * 4)}
    assert not any("looks like proteins" in note for note in read_mosaic(with_adt).notes)
