"""Which genes are chosen: the cut-offs to the number, on data where the answer is known."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from midas import pp


def rna(columns: dict[str, np.ndarray]) -> ad.AnnData:
    adata = ad.AnnData(np.stack(list(columns.values()), axis=1).astype(np.float32))
    adata.var_names = list(columns)
    return adata


def with_counts(n_cells: int, cells: int, total: int) -> np.ndarray:
    values = np.zeros(n_cells)
    values[:cells] = 1
    values[0] += total - cells
    return values


def test_sparse_genes_go_at_one_percent_and_two_counts() -> None:
    """Of 200 cells 1% is 2; two counts for each of them is 4."""
    batch = rna({"cells1": with_counts(200, 1, 9), "cells2": with_counts(200, 2, 4), "counts3": with_counts(200, 2, 3)})
    assert pp.select_genes({"a": batch}).genes.tolist() == ["cells2"]
    assert pp.select_genes({"a": batch}, keep=["cells1", "none"]).genes.tolist() == ["cells1", "cells2"]


def test_features_need_half_of_the_cells_or_many() -> None:
    full = np.full(60, 3)
    batches = {"a": rna({"both": full, "a": full}), "b": rna({"both": full, "b": full})}
    assert pp.select_genes(batches).genes.tolist() == ["both"]
    assert pp.select_genes(batches).notes == (
        "Genes left out: 2 that only batches with 60 of the 120 cells or fewer found so often (min_measured).",
    )
    assert len(pp.select_genes(batches, cutoffs=pp.Cutoffs(min_measured=0.49)).genes) == 3
    assert len(pp.select_genes(batches, cutoffs=pp.Cutoffs(min_measured_cells=59)).genes) == 3
    assert len(pp.select_genes(batches, cutoffs=pp.Cutoffs(min_measured_cells=60)).genes) == 1


def variable(rng: np.random.Generator, n_cells: int, strong: list[int]) -> ad.AnnData:
    """200 genes; those of `strong` differ between two groups of cells, the rest are Poisson."""
    rate = np.tile(rng.uniform(1, 8, 200), (n_cells, 1))
    for gene in strong:
        rate[: n_cells // 2, gene], rate[n_cells // 2 :, gene] = 0.5, 7.5
    adata = ad.AnnData(rng.poisson(rate).astype(np.float32))
    adata.var_names = [f"g{i:03d}" for i in range(200)]
    return adata


def test_variable_genes_are_ranked_over_batches() -> None:
    rng = np.random.default_rng(0)
    batches = {"a": variable(rng, 300, [3, 5, 7]), "b": variable(rng, 200, [3, 5, 9])}
    cutoffs = pp.Cutoffs(variable_per_batch=3, n_genes=2)
    found = pp.select_genes(batches, cutoffs=cutoffs)
    assert found.genes.tolist() == ["g003", "g005"]
    assert found.table.loc[["g003", "g007", "g009"], "variable"].tolist() == [2, 1, 1]
    four = pp.select_genes(batches, cutoffs=pp.Cutoffs(variable_per_batch=3, n_genes=4))
    assert four.genes.tolist() == ["g003", "g005", "g007", "g009"]
    with_protein = pp.select_genes(batches, keep=["g100"], cutoffs=cutoffs)
    assert with_protein.genes.tolist() == ["g003", "g005", "g100"]


def test_every_gene_left_out_is_accounted_for() -> None:
    rng = np.random.default_rng(0)
    batches = {"a": variable(rng, 300, [3, 5]), "b": variable(rng, 300, [3, 5])[:, 1:].copy()}
    batches["a"].X[:, 10:14], batches["b"].X[:, 9:13] = 0, 0
    found = pp.select_genes(batches, cutoffs=pp.Cutoffs(n_genes=50))
    (note,) = found.notes
    assert "Genes left out: 4 that no batch found in 1% of its cells, with 2 counts for each cell of that 1%; " in note
    assert "; 1 that only batches with 300 of the 600 cells or fewer found so often (min_measured); " in note
    assert note.endswith("; 145 that vary less than the 50 genes kept.")
    assert len(found.genes) == 200 - 4 - 1 - 145


def test_so_few_genes_that_no_trend_can_be_fitted() -> None:
    batch = rna({"flat": np.full(20, 5), "steps": np.repeat([0, 10], 10)})
    found = pp.select_genes({"a": batch}, cutoffs=pp.Cutoffs(n_genes=1))
    assert found.genes.tolist() == ["steps"]


def test_the_order_of_genes_and_batches_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    a, b = variable(rng, 100, [3, 5]), variable(rng, 80, [3, 8])
    cutoffs = pp.Cutoffs(n_genes=20)
    first = pp.select_genes({"a": a, "b": b}, cutoffs=cutoffs).genes
    turned = pp.select_genes({"b": b[:, ::-1].copy(), "a": a}, cutoffs=cutoffs).genes
    assert first.tolist() == turned.tolist()


def test_nothing_left_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 1.0% of a batch's cells.*found none"):
        pp.select_genes({"a": rna({"g": np.zeros(10)})})
