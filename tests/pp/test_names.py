"""Genes matched by ID, symbol and case; never two genes made one by guess."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from midas import pp

A, B, C = (f"ENSG{i:011d}" for i in (1, 2, 3))


def rna(names: list[str], ids: list[str] | None = None, values: list[float] | None = None) -> ad.AnnData:
    adata = ad.AnnData(np.array([values or [1.0] * len(names)], dtype=np.float32))
    adata.var_names = names
    if ids is not None:
        adata.var["gene_ids"] = ids
    return adata


def matched(**batches: ad.AnnData) -> dict[str, list[str]]:
    return {name: a.var_names.tolist() for name, a in pp.match_genes(batches).batches.items()}


def test_ids_become_symbols_that_another_batch_tells() -> None:
    step = pp.match_genes({"a": rna(["CD4", "CD8A"], [A, B]), "b": rna([f"{B}.7", f"{C}.12_PAR_Y", f"{A}.1"])})
    assert step.batches["b"].var_names.tolist() == ["CD8A", C, "CD4"]
    assert step.batches["b"].var["original_name"].tolist()[0] == f"{B}.7"
    assert any("1 Ensembl ID has no known symbol" in note for note in step.notes)


def test_symbols_can_be_given() -> None:
    step = pp.match_genes({"a": rna([f"{A}.3"])}, symbols={A: "CD4"})
    assert step.batches["a"].var_names.tolist() == ["CD4"]


def test_a_renamed_gene_is_matched_by_its_id() -> None:
    found = matched(a=rna(["NEW"], [A]), b=rna(["NEW"], [A]), c=rna(["OLD"], [A]), d=rna(["OLD"]))
    assert all(names == ["NEW"] for names in found.values())


def test_case_is_forgiven_but_two_genes_stay_two() -> None:
    step = pp.match_genes({"a": rna(["C1orf112", "x"]), "b": rna(["C1ORF112"]), "c": rna(["C1orf112"])})
    assert step.batches["b"].var_names.tolist() == ["C1orf112"]
    assert "matched without regard to case and punctuation. Most of its genes: is it another species?" in step.notes[0]
    assert matched(a=rna(["Ab", "AB"]), b=rna(["ab"])) == {"a": ["Ab", "AB"], "b": ["ab"]}


def test_repeated_names_are_summed() -> None:
    step = pp.match_genes({"a": rna(["TBCE", "CD4", "TBCE"], [A, B, C], [1, 10, 100])})
    found = step.batches["a"]
    assert found.var_names.tolist() == ["TBCE", "CD4"]
    assert found.X.toarray().tolist() == [[101, 10]]
    assert "counts of 1 repeated gene name were summed: 'TBCE'" in step.notes[0]


def test_two_species_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one species in all batches.*a ENSG, b ENSMUSG"):
        pp.match_genes({"a": rna([A]), "b": rna(["ENSMUSG00000000001"])})


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="Expected a dict of AnnData by batch, found AnnData"):
        pp.match_genes(rna(["a"]))  # type: ignore[arg-type]


def test_names_as_r_writes_them_are_the_same_genes() -> None:
    a, b = rna(["HLA-DRA", "NKX2-1", "RP11-34P13.7"]), rna(["HLA.DRA", "NKX2.1", "RP11.34P13.7"])
    step = pp.match_genes({"b": b, "a": a})
    assert step.batches["b"].var_names.tolist() == a.var_names.tolist()
    assert step.batches["a"].var_names.tolist() == a.var_names.tolist()
    assert any("Batch 'b': 3 genes were matched without regard to case and punctuation" in note for note in step.notes)
    apart = rna(["NKX2-1", "NKX2.1"])
    assert pp.match_genes({"a": apart}).batches["a"].var_names.tolist() == ["NKX2-1", "NKX2.1"]
