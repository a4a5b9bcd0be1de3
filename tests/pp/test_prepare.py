"""From raw-like files through two commands to a result, and what the commands refuse."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from helpers import files_under, names, one, real_folder, table, tiny
from midas import pp, read_mosaic
from midas.cli import app
from midas.io import read_file, write_mudata
from rawlike import raw, write_mtx


@pytest.fixture(autouse=True)
def _warnings_as_before() -> Iterator[None]:
    with warnings.catch_warnings():
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A 10x h5 file of RNA and proteins, an mtx folder of RNA and peaks, an h5 file of all three."""
    parts = raw()
    pp.write_10x(tmp_path / "d1.h5", parts["d1"])
    both = ad.concat([parts["d2"]["rna"], parts["d2"]["atac"]], axis=1)
    both.var["feature_types"] = ["Gene Expression"] * parts["d2"]["rna"].n_vars + ["Peaks"] * parts["d2"]["atac"].n_vars
    write_mtx(tmp_path / "d2" / "outs" / "filtered_feature_bc_matrix", both)
    pp.write_10x(tmp_path / "d3.h5", parts["d3"])
    tiny().to_toml(tmp_path / "tiny.toml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def midas(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def prepare(*arguments: str) -> Result:
    return midas("prepare", "d1.h5", "d2/", "d3.h5", "-o", "mosaic.h5mu", *arguments)


def test_two_commands_lead_from_files_to_a_result(folder: Path) -> None:
    said = prepare()
    assert said.exit_code == 0, said.output
    assert "80 of 80" in said.stdout
    assert "Mosaic: mosaic.h5mu (240 cells; rna 240 x" in said.stdout
    mdata = read_file("mosaic.h5mu")
    assert mdata["adt"].var_names.tolist() == ["CD3", "CD4", "CD8a", "CD19", "CD56", "CD45RA"]
    assert mdata["adt"].var["gene"].tolist() == ["CD3E", "CD4", "CD8A", "CD19", "NCAM1", "PTPRC"]
    assert set(mdata["adt"].var["gene"]) <= set(mdata["rna"].var_names)
    assert mdata["atac"].var_names[0].startswith("chr1:1000-1560")
    assert mdata.obs["batch"].value_counts().to_dict() == {"d1": 80, "d2": 80, "d3": 80}
    assert mdata.obs_names[0] == f"d1_{mdata.obs['barcode'].iloc[0]}"
    result = midas("integrate", "mosaic.h5mu", "-o", "result.h5mu", "--config", "tiny.toml", "--impute", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    found = read_file("result.h5mu")
    assert np.isfinite(found.obsm["X_midas"]).all()
    assert {"midas", "midas_prepare"} <= set(found.uns)
    assert "bridge adt - rna: 160 cells" in midas("inspect", "mosaic.h5mu").stdout


def test_a_mosaic_of_another_batch_column_is_integrated_as_it_is(folder: Path) -> None:
    rna = raw()["d1"]["rna"]
    rna.obs["sample"], rna.obs["batch"] = ["s1", "s2"] * 40, "lane1"
    rna.write_h5ad(folder / "two.h5ad")
    said = midas("prepare", "two.h5ad", "d3.h5", "-o", "mosaic.h5mu", "--batch-key", "sample")
    assert said.exit_code == 0, said.output
    obs = read_file("mosaic.h5mu").obs
    assert obs["batch"].value_counts().to_dict() == {"s1": 40, "s2": 40, "d3": 80}
    assert (obs["sample"] == obs["batch"]).all()
    assert obs["batch_of_input"].dropna().unique().tolist() == ["lane1"]
    result = midas("integrate", "mosaic.h5mu", "-o", "result.h5mu", "--config", "tiny.toml")
    assert result.exit_code == 0, result.output
    assert "3 batches" in result.stderr
    assert "measured_" not in result.stderr
    assert midas("prepare", "two.h5ad", "-o", "whole.h5mu", "--batch-key", "none").exit_code == 0
    assert set(read_file("whole.h5mu").obs["batch"]) == {"two"}


def test_the_layer_of_one_modality_may_be_named(folder: Path) -> None:
    parts = {name: adata.copy() for name, adata in raw()["d1"].items()}
    parts["rna"].layers["counts"] = parts["rna"].X.copy()
    parts["rna"].X = parts["rna"].X * 0.5
    write_mudata(folder / "scaled.h5mu", md.MuData(parts))
    assert "expected raw counts" in midas("prepare", "scaled.h5mu", "-o", "mosaic.h5mu").stderr
    said = midas("prepare", "scaled.h5mu", "-o", "mosaic.h5mu", "--layer", "rna=counts")
    assert said.exit_code == 0, said.output
    assert set(read_file("mosaic.h5mu").mod) == set(parts)


def test_two_commands_lead_from_files_to_a_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout's library takes long to compile and is left out."""
    content = pytest.importorskip("midas.reporting.content")
    monkeypatch.setattr(content, "plane", lambda z, _: (z[:, :2], "two dimensions"))
    assert prepare("--quiet").exit_code == 0
    options = ["--config", "tiny.toml", "--report", "report.html", "--report-features", "adt:CD4,CD3E"]
    result = midas("integrate", "mosaic.h5mu", "-o", "result.h5mu", *options)
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text("utf-8")
    for said in ("d1", "d2", "d3", "CD3E", "240", "integrate mosaic.h5mu --output result.h5mu --config tiny.toml"):
        assert said in page
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)
    assert files_under(folder).count("report.html") == 1
    assert np.isfinite(read_file("result.h5mu").obsm["X_midas"]).all()


def test_counts_are_those_of_the_files(folder: Path) -> None:
    assert prepare("--genes", "50").exit_code == 0
    mdata = read_file("mosaic.h5mu")
    for batch, parts in raw().items():
        expected = table(parts["rna"])
        expected.index = [f"{batch}_{name}" for name in expected.index]
        found = table(mdata["rna"]).loc[expected.index]
        np.testing.assert_array_equal(found, expected[found.columns])
    three, joint = raw()["d3"]["atac"], table(mdata["atac"])
    rows = joint[joint.index.str.startswith("d3_")]
    first = table(three)["chr1:1060-1560"].to_numpy()
    np.testing.assert_array_equal(rows["chr1:1000-1560"], first)


def test_the_report_survives_the_file(folder: Path) -> None:
    assert prepare("--min-genes", "5", "--quiet").output == ""
    report = pp.report_of(read_file("mosaic.h5mu"))
    assert [(p.batch, p.modality, p.kind) for p in report.parts] == [
        ("d1", "rna", "10x h5"),
        ("d1", "adt", "10x h5"),
        ("d2", "rna", "mtx"),
        ("d2", "atac", "mtx"),
        ("d3", "rna", "10x h5"),
        ("d3", "adt", "10x h5"),
        ("d3", "atac", "10x h5"),
    ]
    assert report.parts[0].cells_found == report.parts[0].cells_kept == 80
    assert report.parts[0].features_found == 300
    assert report.cutoffs == pp.Cutoffs(min_genes=5)
    assert str(report).splitlines()[1].split()[:2] == ["d1", "rna"]
    assert report.frame().shape == (7, 9)
    with pytest.raises(KeyError, match="midas_prepare"):
        pp.report_of(md.MuData({"rna": one(["a"], ["g"])}))


def test_the_order_of_the_files_changes_no_count(folder: Path) -> None:
    first, turned = pp.prepare(["d1.h5", "d2/", "d3.h5"]), pp.prepare(["d3.h5", "d1.h5", "d2/"])
    for name in first.mod:
        a, b = table(first[name]), table(turned[name])
        pd.testing.assert_frame_equal(a.sort_index(axis=0).sort_index(axis=1), b.sort_index(axis=0).sort_index(axis=1))


def test_poor_cells_go_with_all_they_have(folder: Path) -> None:
    parts = raw()["d1"]
    parts["rna"].X = parts["rna"].X.multiply(np.arange(80)[:, None] >= 10).tocsr()
    parts["adt"].X = parts["adt"].X.multiply(np.arange(80)[:, None] < 75).tocsr()
    pp.write_10x(folder / "d1.h5", parts)
    report = pp.report_of(pp.prepare(["d1.h5"]))
    assert [(p.cells_kept, dict(p.dropped)) for p in report.parts] == [
        (70, {"under 3 genes": 10}),
        (65, {"under 1 protein count": 5, "with poor RNA": 10}),
    ]


def test_a_batch_of_which_nothing_is_left(folder: Path) -> None:
    parts = raw()["d1"]
    parts["adt"].X = parts["adt"].X * 0
    mdata = pp.prepare({"d1": md.MuData(parts), "d3": "d3.h5"})
    assert not [c for c in mdata["adt"].var if c == "measured_d1"]
    report = pp.report_of(mdata)
    assert "Batch 'd1': no cell of its adt passed the cut-offs." in report.notes
    assert [(p.cells_kept, p.features_kept) for p in report.parts if p.batch == "d1"][1] == (0, 0)
    midas_reads = read_mosaic(mdata)
    assert midas_reads.n_cells == 160


def test_fragments_measure_a_batch_on_all_peaks(folder: Path) -> None:
    cells = raw()["d1"]["rna"].obs_names
    lines = [f"chr1\t{1010 + 1000 * (i % 2)}\t{1100 + 1000 * (i % 2)}\t{cell}\t1" for i, cell in enumerate(cells)]
    (folder / "fragments.tsv").write_text("\n".join(lines) + "\n")
    said = prepare("--fragments", "d1=fragments.tsv")
    assert said.exit_code == 0, said.output
    assert "Batch 'd1': fragments were counted" in said.stdout
    atac = read_file("mosaic.h5mu")["atac"]
    assert atac.var["measured_d1"].all()
    found = table(atac)
    assert found.loc[f"d1_{cells[0]}", "chr1:1000-1560"] == 2
    assert found.loc[f"d1_{cells[1]}", ["chr1:1000-1560", "chr1:2000-2560"]].tolist() == [0, 2]


def test_links_and_binary_peaks(folder: Path) -> None:
    (folder / "genes.gtf").write_text('1\tx\tgene\t1\t900\t.\t-\t.\tgene_id "ENSG00000000000"; gene_name "CD4";\n')
    said = prepare("--gtf", "genes.gtf", "--binarize")
    assert said.exit_code == 0, said.output
    atac = read_file("mosaic.h5mu")["atac"]
    assert atac.uns["peak_gene_links"]["peak"].tolist() == ["chr1:1000-1560", "chr1:2000-2560"]
    assert set(atac.X.data) == {1}
    assert atac.var["gene"].value_counts().to_dict() == {"": atac.n_vars - 2, "CD4": 2}


def test_objects_in_place_of_files() -> None:
    parts = raw()
    mdata = pp.prepare({"d1": md.MuData(parts["d1"]), "d2": parts["d2"]["rna"]})
    assert mdata.obs["batch"].value_counts().to_dict() == {"d1": 80, "d2": 80}
    proteins = pp.prepare([parts["d3"]["adt"]])
    assert list(proteins.mod) == ["adt"]
    assert read_mosaic(proteins).n_cells == 80


def test_columns_and_arrays_of_cells_come_along(folder: Path) -> None:
    """Of a file with one modality they stay in the modality, of a MuData they are for all cells; a file without has none."""
    parts = raw()
    rna, both = parts["d1"]["rna"], md.MuData(parts["d3"])
    rna.obs["doublet"], rna.obsm["X_pca"] = 0.5, np.arange(160.0).reshape(80, 2)
    rna.obsm["text"] = np.full((80, 1), "a")
    rna.X = rna.X.multiply(np.arange(80)[:, None] >= 10).tocsr()  # ten cells that fall
    rna.write_h5ad(folder / "d1.h5ad")
    both.obs["cell_type"], both.obsm["X_umap"] = "T", np.arange(240.0).reshape(80, 3)
    both.write_h5mu(folder / "d3.h5mu")
    assert midas("prepare", "d1.h5ad", "d2/", "d3.h5mu", "-o", "mosaic.h5mu").exit_code == 0
    mdata = read_file("mosaic.h5mu")
    first, third = f"d1_{rna.obs_names[10]}", f"d3_{both.obs_names[5]}"
    assert mdata.obs.loc[first, "doublet"] == 0.5
    assert mdata.obs.loc[third, "cell_type"] == "T"
    pca = pd.DataFrame(mdata["rna"].obsm["X_pca"], index=mdata["rna"].obs_names)
    np.testing.assert_array_equal(pca.loc[first], [20, 21])
    assert pca.loc[third].isna().all()
    umap = pd.DataFrame(mdata.obsm["X_umap"], index=mdata.obs_names)
    np.testing.assert_array_equal(umap.loc[third], [15, 16, 17])
    assert umap.loc[first].isna().all()
    assert "text" not in mdata["rna"].obsm


def test_arrays_that_differ_in_width_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    a, b = one(["x"], ["g"], None), one(["y"], ["g"], None)
    a.obsm["X_pca"], b.obsm["X_pca"] = np.ones((1, 2)), np.ones((1, 3))
    assert "X_pca" not in pp.join_batches({"rna": {"a": a, "b": b}})["rna"].obsm
    assert "[2, 3] columns" in caplog.text


def normalised(folder: Path) -> None:
    adata = raw()["d1"]["rna"]
    adata.X = adata.X / 3
    adata.write_h5ad(folder / "x.h5ad")


def nothing(_: Path) -> None:
    pass


def poor(folder: Path) -> None:
    one(names("c", 5), names("g", 5), None, rate=1).write_h5ad(folder / "x.h5ad")


ERRORS: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "normalised": (normalised, ["x.h5ad"], "x.h5ad, rna: expected raw counts"),
    "missing file": (nothing, ["gone.h5"], "gone.h5: expected a file or folder, found none"),
    "unknown format": (lambda f: (f / "x.csv").touch(), ["x.csv"], "x.csv: expected an .h5 file of 10x Genomics"),
    "damaged": (lambda f: (f / "d1.h5").write_bytes((f / "d1.h5").read_bytes()[:900]), ["d1.h5"], "found a damaged"),
    "no batch column": (nothing, ["d1.h5", "--batch-key", "donor"], "a column 'donor' in obs of some of the input"),
    "same batch twice": (nothing, ["d1.h5", "d1=d3.h5"], "Expected one rna matrix for batch 'd1', found two"),
    "no cell left": (
        poor,
        ["x.h5ad", "--min-genes", "9"],
        "Expected cells that pass the cut-offs, found none: 5 under 9",
    ),
    "impossible share": (nothing, ["d1.h5", "--max-mito", "30"], "Cutoffs.max_mito: expected a share from 0 to 1"),
    "no peak left": (nothing, ["d3.h5", "--min-accessibility", "1"], "Expected peaks that are accessible often enough"),
    "fragments of no batch": (nothing, ["d3.h5", "--fragments", "x=y.gz"], "fragments of the batches 'd3', found 'x'"),
    "fragments unnamed": (nothing, ["d3.h5", "--fragments", "y.gz"], "--fragments: expected batch=path"),
    "output is input": (nothing, ["d1.h5", "-o", "d1.h5"], "expected the result to end in .h5mu"),
    "bad proteins": (nothing, ["d1.h5", "--proteins", "tiny.toml"], "tiny.toml: expected a table of proteins"),
    "no proteins": (
        nothing,
        ["d1.h5", "--proteins", "gone.csv"],
        "protein, genes, aliases, found no such file. Check the path.",
    ),
    "no blacklist": (nothing, ["d3.h5", "--blacklist", "gone.bed"], "(chromosome, start, end), found no such file."),
    "no genes": (nothing, ["d3.h5", "--gtf", "gone.gtf"], "gone.gtf: expected a GTF file, found no such file."),
    "no proteins left": (
        nothing,
        ["d1=d1.h5", "--min-protein-counts", "99999", "--min-genes", "99999"],
        "under 99,999 protein counts. Lower min_genes, min_protein_counts",
    ),
    "bad links": (
        nothing,
        ["d3.h5", "--links", "tiny.toml"],
        "tiny.toml: expected links with the columns peak and gene",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_one_message_and_leaves_nothing_behind(name: str, folder: Path) -> None:
    spoil, arguments, message = ERRORS[name]
    spoil(folder)
    before = files_under(folder)
    result = midas("prepare", *(["-o", "mosaic.h5mu"] if "-o" not in arguments else []), *arguments)
    assert result.exit_code == 1
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output
    assert files_under(folder) == before


def test_a_missing_library_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bioframe", None)
    result = prepare()
    assert result.exit_code == 1
    assert 'Install it: pip install "midas-mosaic[prepare]"' in result.stderr


REAL = {
    "pbmc_wnn_mosaic_1600.h5mu": {"rna": 492, "adt": 214},
    "bmmc_multiome_neurips_1draw.h5mu": {"rna": 1098, "atac": 417},
}


@pytest.mark.parametrize("name", REAL)
def test_real_counts_through_10x_files(name: str, tmp_path: Path) -> None:
    """Real batches, written as 10x files, lead to the mosaic that the set itself leads to."""
    path = real_folder()
    if path is None or not (path / name).is_file():
        pytest.skip(f"{name} is not here")
    data = read_file(path / name)
    direct = pp.prepare([data])
    assert {m: a.n_vars for m, a in direct.mod.items()} == REAL[name]
    sources = []
    for batch in data.obs["batch"].unique():
        for modality, adata in data.mod.items():
            mine = adata[(data.obs["batch"].reindex(adata.obs_names) == batch).to_numpy()].copy()
            target = tmp_path / f"{batch}_{modality}{'.h5' if modality == 'rna' else ''}"
            if mine.n_obs:
                pp.write_10x(target, {modality: mine})
                sources.append(f"{batch}={target}")
    through = pp.prepare(sources)
    for modality, adata in direct.mod.items():
        found = through[modality]
        assert sorted(found.var_names) == sorted(adata.var_names)
        np.testing.assert_array_equal(table(found).loc[adata.obs_names, adata.var_names], table(adata))


def test_fragments_may_spell_chromosomes_otherwise(tmp_path: Path) -> None:
    peaks = pd.Index(["chr1:100-200", "chr2:100-200"])
    (tmp_path / "f.tsv").write_text("1\t110\t190\tA\t1\n2\t110\t190\tB\t1\n")
    found = pp.count_fragments(tmp_path / "f.tsv", peaks, pd.Index(["A", "B"]))
    assert found.X.toarray().tolist() == [[2, 0], [0, 2]]


def test_features_that_are_no_peaks_are_left_out_and_said() -> None:
    adata = one(names("c", 3), ["chr1:1-900", "chr2:1-900", "chr3:1-900", "spike"], None)
    step = pp.merge_peaks({"a": adata})
    assert step.batches["a"].n_vars == 3
    assert "1 of 4 features of the peaks are called otherwise ('spike') and are left out" in step.notes[0]


def test_a_missing_gene_is_no_gene() -> None:
    adata = one(names("c", 3), ["CD3", "some new thing"], None)
    adata.var["gene"] = np.nan
    step = pp.harmonise_proteins({"a": adata})
    assert step.batches["a"].var["gene"].tolist() == ["CD3E", ""]
    assert any("1 protein has no known gene: 'some new thing'" in note for note in step.notes)


def test_dates_can_be_written(tmp_path: Path) -> None:
    adata = one(names("c", 3), ["CD3E", "MS4A1"], None)
    adata.obs["day"] = pd.Timestamp("2024-02-29")
    mdata = pp.prepare([adata], cutoffs=pp.Cutoffs(min_genes=0))
    write_mudata(tmp_path / "x.h5mu", mdata)
    assert read_file(tmp_path / "x.h5mu").obs["day"].tolist() == ["2024-02-29"] * 3
