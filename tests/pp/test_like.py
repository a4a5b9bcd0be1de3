"""A query gets the features of a model, by the model's names."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import names, one, tiny
from midas import MIDAS, pp, read_mosaic
from midas.cli import app
from midas.data import MosaicSchema
from midas.io import read_file

CELLS = names("c", 12)
GENES = {"ENSG00000156738": "MS4A1", "ENSG00000153563": "CD8A", "ENSG00000010610": "CD4", "ENSG00000167286": "CD3D"}
PEAKS = ["chr1:100-300", "chr1:500-900", "chr2:50-150", "chr2:1000-1400"]
NO_CUTOFFS = pp.Cutoffs(min_genes=0, min_counts=0, min_protein_counts=0, min_peaks=0)


def reference() -> dict[str, ad.AnnData]:
    return {
        "rna": one(CELLS, list(GENES.values()), ["r"] * 12, rate=3),
        "adt": one(CELLS, ["CD3_TotalSeqB", "CD56_TotalSeqB"], ["r"] * 12),
        "atac": one(CELLS, PEAKS, ["r"] * 12),
    }


@pytest.fixture
def schema() -> MosaicSchema:
    return read_mosaic(reference()).schema


def test_genes_are_the_models_by_id_symbol_or_case(schema: MosaicSchema) -> None:
    by_id = one(CELLS, [*GENES, "ENSG00000000001"], None, rate=3)
    by_id.var["gene_symbols"] = [*GENES.values(), "OTHER"]
    by_symbol = one(CELLS, ["cd4", "CD8A", "NOVEL"], None, rate=3)
    found = pp.prepare({"q1": by_id, "q2": by_symbol}, cutoffs=NO_CUTOFFS, schema=schema)["rna"]
    assert sorted(found.var_names) == sorted(GENES.values())
    assert found.var["measured_q2"].to_dict() == {"MS4A1": False, "CD8A": True, "CD4": True, "CD3D": False}
    mine = found[found.obs["batch"] == "q1"]
    np.testing.assert_array_equal(mine[:, "MS4A1"].X.toarray(), by_id[:, "ENSG00000156738"].X.toarray())


def test_a_model_of_ids_gets_ids() -> None:
    schema = read_mosaic({"rna": one(CELLS, list(GENES), ["r"] * 12)}).schema
    query = one(CELLS, list(GENES.values()), None, rate=3)
    query.var["gene_ids"] = list(GENES)
    assert set(pp.prepare({"q": query}, cutoffs=NO_CUTOFFS, schema=schema)["rna"].var_names) == set(GENES)


def test_proteins_are_the_models_whatever_product_they_are_of(schema: MosaicSchema) -> None:
    query = one(CELLS, ["CD3-TotalSeqC", "NCAM", "CD19"], None, rate=9)
    found = pp.prepare({"q": query}, cutoffs=NO_CUTOFFS, schema=schema)["adt"]
    assert found.var_names.tolist() == ["CD3_TotalSeqB", "CD56_TotalSeqB"]
    np.testing.assert_array_equal(found.X.toarray(), query.X.toarray()[:, :2])


def test_counts_of_peaks_are_summed_onto_the_models(schema: MosaicSchema) -> None:
    query = one(CELLS, ["1:120-180", "1:250-700", "1:850-880", "2:2000-2100"], None, rate=3)
    found = pp.prepare({"q": query}, cutoffs=NO_CUTOFFS, schema=schema)["atac"]
    assert found.var_names.tolist() == ["chr1:100-300", "chr1:500-900"]
    x = query.X.toarray()
    np.testing.assert_array_equal(found.X.toarray(), np.stack([x[:, 0], x[:, 1] + x[:, 2]], axis=1))


def test_what_the_model_lacks_is_left_out_with_a_note(schema: MosaicSchema) -> None:
    strange = one(CELLS, ["chr9:1-100", "chr9:200-300"], None, rate=3)
    both = {"q": one(CELLS, list(GENES.values()), None, rate=3)}
    mdata = pp.prepare({**both, "s": strange}, cutoffs=NO_CUTOFFS, schema=schema)
    assert list(mdata.mod) == ["rna"]
    assert "Features of atac: left out, as none is in the data." in pp.report_of(mdata).notes
    with pytest.raises(ValueError, match=r"Expected features of the model \(.*CD4.*\), found none"):
        pp.prepare({"s": strange}, cutoffs=NO_CUTOFFS, schema=schema)
    no_atac = read_mosaic({"rna": reference()["rna"]}).schema
    notes = pp.report_of(pp.prepare({**both, "s": strange}, cutoffs=NO_CUTOFFS, schema=no_atac)).notes
    assert "The model knows no atac; it was left out." in notes


def test_a_batch_of_which_nothing_is_the_models_is_named(schema: MosaicSchema) -> None:
    known, strange = one(CELLS, list(GENES.values()), None, rate=3), one(names("d", 9), ["X1", "X2"], None, rate=3)
    mdata = pp.prepare({"q": known, "s": strange}, cutoffs=NO_CUTOFFS, schema=schema)
    report = pp.report_of(mdata)
    assert mdata.n_obs == 12
    assert "Batch 's': its rna was left out, as no feature is the model's." in report.notes
    assert [part.cells_kept for part in report.parts] == [12, 0]


def test_fragments_are_counted_on_the_models_peaks(schema: MosaicSchema, tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_text("".join(f"chr1\t150\t{600 + 9 * (cell == 'c3')}\t{cell}\t1\n" for cell in CELLS))
    query = {"q": one(CELLS, list(GENES.values()), None, rate=3)}
    mdata = pp.prepare(query, cutoffs=NO_CUTOFFS, schema=schema, fragments={"q": tmp_path / "f.tsv"})
    assert mdata["atac"].var_names.tolist() == PEAKS
    np.testing.assert_array_equal(mdata["atac"].X.toarray(), [[1, 1, 0, 0]] * 12)
    assert "Batch 'q': fragments were counted on all 4 of the model's peaks." in pp.report_of(mdata).notes


def test_peaks_of_a_query_become_binary_if_asked(schema: MosaicSchema) -> None:
    query = one(CELLS, PEAKS, None, rate=3)
    cutoffs = pp.Cutoffs(min_peaks=0, binarize=True)
    found = pp.prepare({"q": query}, cutoffs=cutoffs, schema=schema)["atac"]
    np.testing.assert_array_equal(found[:, PEAKS].X.toarray(), query.X.toarray() > 0)


def test_a_query_is_prepared_for_a_saved_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MIDAS(reference(), config=tiny()).fit(progress=False).save("model")
    query = one(CELLS, ["CD3-TotalSeqC", "NCAM"], None, rate=9)
    query.write_h5ad("query.h5ad")
    said = CliRunner().invoke(
        app, ["prepare", "query.h5ad", "-o", "q.h5mu", "--reference", "model"], catch_exceptions=False
    )
    assert said.exit_code == 0, said.output
    assert "2 of the model's 2 are in the data" in " ".join(said.stdout.split())
    mapped = MIDAS.load("model").latent(read_file("q.h5mu"))
    assert mapped.shape == (12, 4)
    assert np.isfinite(mapped).all()


def test_names_in_another_case_and_few_names_raise_a_doubt() -> None:
    genes = names("GENE", 60)
    schema = read_mosaic({"rna": one(CELLS, genes, "r")}).schema
    mouse = one(CELLS, names("Gene", 60), "q", rate=3)
    few = one(CELLS, ["GENE1", *names("OTHER", 59)], "q", rate=3)
    notes = [pp.report_of(pp.prepare([query], schema=schema, cutoffs=NO_CUTOFFS)).notes for query in (mouse, few)]
    assert any(
        "60 genes were matched with the model's without regard to case and punctuation. Most of its genes" in n
        for n in notes[0]
    )
    assert not any("So few" in note for note in notes[0])
    assert any("1 of the model's 60 are in the data. So few: is it a model of other data" in note for note in notes[1])
