"""Cells against cut-offs: known cells fall, for the reason given."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from midas import pp


def cells(*rows: list[int], genes: list[str]) -> ad.AnnData:
    adata = ad.AnnData(np.array(rows, dtype=np.float32))
    adata.var_names = genes
    return adata


def test_each_cell_falls_for_its_first_reason() -> None:
    adata = cells([5, 5, 5, 0], [9, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 9], genes=["a", "b", "c", "mt-Co1"])
    found = pp.check_cells(adata, "rna", pp.Cutoffs(min_genes=2, min_counts=10, max_mito=0.5))
    assert found.keep.tolist() == [True, False, False, False]
    assert dict(found.dropped) == {"under 2 genes": 1, "under 10 counts": 1, "over 50% mitochondrial": 1}
    assert found.metrics["mito"].tolist() == [0, 0, 0, 0.75]
    assert found.metrics["n_features"].tolist() == [3, 1, 3, 4]


def test_defaults_are_scaled_to_small_selections() -> None:
    adata = cells([9, 0], [0, 0], genes=["MT-A", "b"])
    assert pp.check_cells(adata, "rna").keep.tolist() == [True, True]
    assert pp.check_cells(adata, "adt").keep.tolist() == [True, False]
    assert pp.check_cells(adata, "atac", pp.Cutoffs(min_peaks=1)).keep.tolist() == [True, False]
    wide = ad.AnnData(np.zeros((2, 30_000), dtype=np.float32))
    wide.X[0, :200] = 1
    wide.var_names = ["MT-ND1", *(f"g{i}" for i in range(29_999))]
    assert pp.check_cells(wide, "rna").keep.tolist() == [True, False]
    wide.X[0, 0] = 150
    assert pp.check_cells(wide, "rna").keep.tolist() == [False, False]


def test_isotype_controls_are_no_proteins() -> None:
    adata = cells([2, 1, 0], [0, 0, 9], genes=["CD3", "CD4", "IgG1_control_TotalSeqB"])
    found = pp.check_cells(adata, "adt")
    assert dict(found.dropped) == {"under 1 protein count": 1}
    assert found.metrics.to_numpy().tolist() == [[3, 2], [0, 0]]


def test_a_modality_is_known_by_each_of_its_names() -> None:
    adata = cells([5, 5], [0, 0], genes=["CD3", "CD4"])
    for name in ("protein", "ADT"):
        assert dict(pp.check_cells(adata, name).dropped) == {"under 1 protein count": 1}
    with pytest.raises(ValueError, match="Expected a modality out of rna, adt, atac, found 'lipids'"):
        pp.check_cells(adata, "lipids")


def test_explicit_zeros_are_no_genes() -> None:
    adata = cells([1, 1, 1], genes=["a", "b", "c"])
    adata.X = csr_matrix(adata.X)
    adata.X.data[0] = 0
    assert pp.check_cells(adata, "rna").metrics["n_features"].tolist() == [2]


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_mito", 1.5), ("min_genes", -1), ("n_genes", 0), ("max_width", 21), ("min_accessibility", -0.1)],
)
def test_impossible_cutoffs_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"Cutoffs.{field}: expected"):
        pp.Cutoffs(**{field: value})
