"""Names of proteins: what must match matches, what must not stays apart."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from helpers import names, one, real_folder, table
from midas import pp
from midas.antibodies import is_control, squeeze
from midas.io import DataFileError, read_file

SAME = {
    "CD3": [
        "cd3.1",
        "CD3-2",
        "CD3_TotalSeqB",
        "CD3-ACGTACGTACGTACG",
        "CD3:SK7|CD3E|AHS0033|pAbO",
        "CD3_UCHT1",
        "anti-human CD3",
    ],
    "CD4": ["cd4", "CD4-1", "cd4.2", "CD4-RPA-T4", "Hu.CD4_RPA.T4", "prot_CD4"],
    "CD56": ["CD56(NCAM)", "CD56(NCAM)Recombinant", "ncam", "NCAM1", "cd56.1"],
    "CD57": ["CD57_Recombinant"],
    "CD279": ["PD-1", "pd1", "PDCD1", "CD279 (PD-1)"],
    "CD45RA": ["cd45ra", "CD45-RA", "CD45RA-HI100"],
    "CD138": ["CD138-1(Syndecan-1)", "cd138.2"],
    "CD307c": ["CD307c/FcRL3", "cd307c.fcrl3"],
    "TCR Va24-Ja18": ["TCR_V_24-J_18", "tcr.v.24.j.18", "TCR Vα24-Jα18"],
    "TCR gamma/delta": ["TCR γ/δ", "tcrgd"],
    "Integrin beta 7": ["integrin_7", "integrinB7", "integrin.7"],
    "HLA-DR": ["hla.dr", "HLA-DR-L243"],
    "HLA-ABC": ["HLA-A-B-C", "HLA-A,B,C"],
    "CD274": ["CD274 (B7-H1, PD-L1)"],
}
APART = [
    ("CD45RA", "CD45RO"),
    ("CD45", "CD45RA"),
    ("CD45.1", "CD45.2"),
    ("CD45.1", "CD45"),
    ("CD3", "CD3e"),
    ("CD8", "CD8a"),
    ("CD8a", "CD8b"),
    ("HLA-A", "HLA-DR"),
    ("HLA-A2", "HLA-A"),
    ("HLA-DR", "HLA-DR-DP-DQ"),
    ("CD3-1", "CD31"),
    ("CD4-1", "CD41"),
    ("CD26.2", "CD262"),
    ("CD1-c", "CD1d"),
    ("CD158", "CD158b"),
    ("CD158", "CD158-b1"),
    ("CD16", "CD16-32"),
    ("CD11a", "CD11a/CD18"),
    ("CD235a", "CD235ab"),
    ("CD3", "CD3-CD28"),
    ("CD45", "CD45-B220"),
    ("PD-L1", "PD-L2"),
    ("Notch1", "Notch3"),
    ("TCR Va7.2", "TCR Vd2"),
    ("CD66b", "CD66a/c/e"),
]


@pytest.mark.parametrize("protein", SAME)
def test_spellings_of_one_protein(protein: str) -> None:
    found = {name: pp.protein_table().find(name).name for name in [protein, *SAME[protein]]}
    assert set(found.values()) == {protein}, found


@pytest.mark.parametrize(("a", "b"), APART)
def test_two_proteins_stay_two(a: str, b: str) -> None:
    find = pp.protein_table().find
    assert find(a).name != find(b).name
    assert squeeze(find(a).name) != squeeze(find(b).name)


def test_no_name_of_the_table_has_two_owners() -> None:
    owner: dict[str, str] = {}
    for row in pp.protein_table().frame.itertuples():
        for name in [row.protein, *filter(None, row.aliases.split(";"))]:
            assert owner.setdefault(squeeze(name), row.protein) == row.protein, name
            assert pp.protein_table().find(name).name == row.protein
            assert pp.protein_table().find(f"{name}_TotalSeqC").name == row.protein


@pytest.mark.parametrize(
    "name",
    [
        "IgG1_control_TotalSeqB",
        "IgG2a",
        "Mouse-IgG1",
        "rat-IgG2c",
        "Mouse IgG1, κ isotype Ctrl",
        "Armenian Hamster IgG Isotype Ctrl",
        "Isotype_MOPC.21",
        "IgG2b_TotalSeqA",
    ],
)
def test_controls_are_known(name: str) -> None:
    assert is_control(name)


@pytest.mark.parametrize(
    "name", ["IgD", "IgM", "IgG Fc", "IgA", "IgE", "KLRG1", "Ig light chain κ", "CD32", "Siglec-8"]
)
def test_immunoglobulins_of_cells_are_no_controls(name: str) -> None:
    assert not is_control(name)


def panel(features: list[str], seed: int = 0) -> ad.AnnData:
    return one(names("c", 4), features, None, seed=seed)


def test_a_panel_in_two_spellings() -> None:
    a, b = panel(["CD4-1", "CD4-2", "CD19", "IgG1_control"]), panel(["cd19_TotalSeqB", "CD4", "MyOwn-X1"], 1)
    c = panel(["MYOWN_X1", "CD45RB"], 2)
    step = pp.harmonise_proteins({"a": a, "b": b, "c": c}, genes=pd.Index(["Cd4", "CD19"]))
    found = step.batches
    assert found["a"].var_names.tolist() == ["CD4", "CD19"]
    assert found["b"].var_names.tolist() == ["CD19", "CD4", "MyOwn-X1"]
    assert found["c"].var_names.tolist() == ["MyOwn-X1", "CD45RB"]
    np.testing.assert_array_equal(table(found["a"])["CD4"], table(a)[["CD4-1", "CD4-2"]].sum(axis=1))
    assert found["a"].var["gene"].tolist() == ["Cd4", "CD19"]
    assert found["c"].var["gene"].tolist() == ["", "PTPRC"]
    assert a.var_names.tolist()[0] == "CD4-1"
    said = " ".join(step.notes)
    assert "1 isotype control was dropped: 'IgG1_control'" in said
    assert "summed: 'CD4 (CD4-1+CD4-2)'" in said
    assert "1 protein has no known gene: 'MyOwn-X1'" in said


def test_possible_twins_are_named_not_merged() -> None:
    step = pp.harmonise_proteins({"a": panel(["CD8"]), "b": panel(["CD8a"])})
    assert "'CD8 and CD8a'" in step.notes[-1]
    joined = pp.harmonise_proteins({"a": panel(["CD8"]), "b": panel(["CD8a"])}, table=pp.protein_table({"CD8": "CD8a"}))
    assert joined.batches["a"].var_names.tolist() == ["CD8a"]
    assert joined.notes == ()


def test_the_table_can_be_extended(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("protein,genes,aliases\nMyX,GENEX;GENEY,X-one;XX\nCD4,OTHER,\n")
    table = pp.protein_table(tmp_path / "mine.csv")
    assert (table.find("x.one_TotalSeqB").name, table.find("XX").genes) == ("MyX", ("GENEX", "GENEY"))
    assert table.find("cd4.1").genes == ("OTHER",)
    assert table.find("CD8").known
    assert pp.protein_table(pd.DataFrame({"protein": ["New"]})).find("new").known
    with pytest.raises(
        ValueError, match="Expected a table of proteins with the columns protein, genes, aliases, found x"
    ):
        pp.protein_table(pd.DataFrame({"x": [1]}))


def test_links_of_the_input_survive() -> None:
    adata = panel(["PROT1"])
    adata.var["gene"] = ["GENE9"]
    assert pp.harmonise_proteins({"a": adata}).batches["a"].var["gene"].tolist() == ["GENE9"]


FILES = {
    "wnn": "pbmc_wnn_mosaic_1600.h5mu",
    "tenx": "pbmc_citeseq_10x_2batch.h5mu",
    "bmmc": "bmmc_cite_neurips_1draw.h5mu",
    "asap": "pbmc_asap_cite_adt_only_4batch.h5ad",
}


def test_real_panels() -> None:
    folder = real_folder()
    if folder is None or not all((folder / name).is_file() for name in FILES.values()):
        pytest.skip("the real panels are not here")
    features = {}
    for key, name in FILES.items():
        data = read_file(folder / name, backed=True)
        features[key] = list((data if isinstance(data, ad.AnnData) else data["adt"]).var_names)
    found = pp.harmonise_proteins({key: panel(value) for key, value in features.items()}).batches
    assert {key: (len(features[key]), a.n_vars, int((a.var["gene"] != "").sum())) for key, a in found.items()} == {
        "wnn": (224, 214, 213),
        "tenx": (29, 29, 29),
        "bmmc": (134, 134, 133),
        "asap": (216, 207, 207),
    }
    shared = {f"{a}-{b}": len(found[a].var_names.intersection(found[b].var_names)) for a, b in combinations(found, 2)}
    expected = {"wnn-tenx": 27, "wnn-bmmc": 110, "wnn-asap": 206, "tenx-bmmc": 24, "tenx-asap": 27, "bmmc-asap": 107}
    assert shared == expected
    merged = [text for a in found.values() for text in pp.harmonise_proteins({"x": a}).notes if "summed" in text]
    assert merged == []


@pytest.mark.parametrize("text", ["protein\nNew\n", "protein,aliases\nNew,Old\n", "aliases\tprotein\nOld\tNew\n"])
def test_a_table_of_ones_own_may_be_short_and_separated_by_tabs(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text, encoding="utf-8")
    table = pp.protein_table(file)
    assert table.find("new").known
    assert table.find("Old").name == ("New" if "Old" in text else "Old")


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n1,2,3\n", encoding="utf-8")
    for name, found in {"bad.csv": "something else", "gone.csv": "no such file"}.items():
        with pytest.raises(DataFileError, match=rf"{name}: expected a table of proteins .*, found {found}"):
            pp.protein_table(tmp_path / name)
