"""Which files are which batches, and what is refused."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from helpers import joined, names, one, table
from midas import CountsError, pp
from midas.io import DataFileError, write_mudata
from midas.pp.inputs import collect
from rawlike import write_mtx


def rna(cells: int = 5) -> ad.AnnData:
    return one(names("c", cells), names("g", 4), None)


def batches(sources: object, **options: object) -> list[tuple[str, str, int]]:
    return [(s.batch, s.modality, s.adata.n_obs) for s in collect(sources, **options)]  # type: ignore[arg-type]


def test_batches_are_called_like_files_and_folders(tmp_path: Path) -> None:
    pp.write_10x(tmp_path / "one.h5", {"rna": rna(5)})
    pp.write_10x(tmp_path / "donor2" / "outs" / "filtered_feature_bc_matrix.h5", {"rna": rna(6)})
    write_mtx(tmp_path / "donor3" / "filtered_feature_bc_matrix", rna(7))
    rna(8).write_h5ad(tmp_path / "four.h5ad")
    sources = [
        tmp_path / "one.h5",
        str(tmp_path / "donor2/outs/filtered_feature_bc_matrix.h5"),
        tmp_path / "donor3" / "filtered_feature_bc_matrix",
        f"mine={tmp_path / 'four.h5ad'}",
    ]
    assert batches(sources) == [("one", "rna", 5), ("donor2", "rna", 6), ("donor3", "rna", 7), ("mine", "rna", 8)]
    assert batches({"a": tmp_path / "one.h5"}) == [("a", "rna", 5)]


def test_only_whole_words_are_taken_off_a_name(tmp_path: Path) -> None:
    found = {
        "discount": "discount",
        "layouts": "layouts",
        "account": "account",
        "d1_count": "d1",
        "d1.filtered_feature_bc_matrix": "d1",
    }
    for name, batch in found.items():
        rna(5).write_h5ad(tmp_path / f"{name}.h5ad")
        assert batches([tmp_path / f"{name}.h5ad"]) == [(batch, "rna", 5)]


def test_a_folder_of_samples(tmp_path: Path) -> None:
    write_mtx(tmp_path / "geo", rna(5), prefix="GSM1_donor1_")
    write_mtx(tmp_path / "geo", rna(6), prefix="GSM2_donor2_", version=2)
    assert batches([tmp_path / "geo"]) == [("GSM1_donor1", "rna", 5), ("GSM2_donor2", "rna", 6)]
    for donor, n in (("x", 5), ("y", 6)):
        outs = tmp_path / "run" / donor / "outs"
        pp.write_10x(outs / "raw_feature_bc_matrix.h5", {"rna": rna(9)})
        pp.write_10x(outs / "filtered_feature_bc_matrix.h5", {"rna": rna(n)})
        write_mtx(outs / "filtered_feature_bc_matrix", rna(n))
    assert batches([tmp_path / "run"]) == [("x", "rna", 5), ("y", "rna", 6)]
    assert "filtered cells were taken, and passed over: 'x/outs/raw_" in collect([tmp_path / "run"])[0].notes[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFileError, match=r"expected a folder with matrix.mtx.*found nothing"):
        collect([tmp_path / "empty"])


def test_batches_within_an_object_and_their_masks() -> None:
    adata = one(names("c", 6), ["g0", "g1"], ["a", "a", "b", "b", "b", "b"])
    adata.var["measured_a"] = [True, False]
    found = collect([adata])
    assert [(s.batch, s.adata.shape) for s in found] == [("a", (2, 1)), ("b", (4, 2))]
    assert batches({"all": adata}) == [("all", "rna", 6)]
    assert batches([adata[:, :1].copy()], batch_key="batch")[0] == ("a", "rna", 2)
    assert batches([adata], batch_key=None) == [("batch1", "rna", 6)]
    adata.obs["donor"] = "x"
    (sample,) = collect({"all": adata}, batch_key=None)
    assert sample.adata.obs["batch_of_input"].tolist() == ["a"] * 2 + ["b"] * 4
    assert sample.notes == ("object 1: its column 'batch' is kept as 'batch_of_input', as it names other batches.",)


def test_a_batch_column_that_no_input_has_is_refused() -> None:
    adata = one(names("c", 6), ["g0", "g1"], ["a", "a", "b", "b", "b", "b"])
    for sources in ([adata], {"x": adata}):
        with pytest.raises(ValueError, match=r"Expected a column 'donor' in obs of some of .* the columns: 'batch'"):
            collect(sources, batch_key="donor")
    with pytest.raises(ValueError, match="found the columns: none"):
        collect([rna()], batch_key="donor")
    assert batches([rna()]) == [("batch1", "rna", 5)]  # the usual column may be missing


def test_a_batch_column_that_a_name_overrides_is_kept_and_said() -> None:
    adata = one(names("c", 6), ["g0", "g1"], None)
    adata.obs["donor"] = ["p", "q"] * 3
    (sample,) = collect({"x": adata}, batch_key="donor")
    assert "all of it is batch 'x', as named; its column 'donor' was not used" in sample.notes[0]
    assert sample.adata.obs["donor"].tolist() == ["p", "q"] * 3


def test_the_mosaics_column_of_batches_is_free() -> None:
    """Files without the column get it, and what stood in the mosaic's own is kept beside."""
    adata = one(names("c", 4), ["g0", "g1"], "lane1")
    adata.obs["donor"] = ["p", "p", "q/r", "q/r"]
    p, q, other = (s.adata.obs for s in collect([adata, rna()], batch_key="donor"))
    assert (p["donor"].tolist(), q["donor"].tolist()) == (["p"] * 2, ["q_r"] * 2)
    assert other["donor"].tolist() == ["batch2"] * 5
    assert q["batch_of_input"].tolist() == ["lane1"] * 2
    assert not any("batch" in obs for obs in (p, q, other))
    assert "its column 'batch' is kept as 'batch_of_input'" in collect([adata], batch_key="donor")[0].notes[0]
    assert "batch_of_input" not in collect([adata])[0].adata.obs


def test_one_batch_in_two_files_holds_both_modalities(tmp_path: Path) -> None:
    pp.write_10x(tmp_path / "r.h5", {"rna": rna()})
    pp.write_10x(tmp_path / "p.h5", {"adt": one(names("c", 5), ["CD3", "CD4"], None)})
    assert batches([f"d={tmp_path / 'r.h5'}", f"d={tmp_path / 'p.h5'}"]) == [("d", "rna", 5), ("d", "adt", 5)]
    with pytest.raises(ValueError, match="Expected one rna matrix for batch 'd', found two"):
        collect([f"d={tmp_path / 'r.h5'}", f"d={tmp_path / 'r.h5'}"])


def test_a_mudata_keeps_its_columns(tmp_path: Path) -> None:
    mdata = joined({"rna": one(["x", "y"], ["g"]), "prot": one(["y", "z"], ["CD3"])})
    mdata.obs["type"] = ["T", "B", "NK"]
    write_mudata(tmp_path / "m.h5mu", mdata)
    found = {s.modality: s.adata for s in collect([tmp_path / "m.h5mu"])}
    assert found["adt"].obs["type"].tolist() == ["B", "NK"]


@pytest.mark.parametrize("kind", ["dense", "csc", "int", "layer"])
def test_counts_of_any_kind(kind: str) -> None:
    adata = rna()
    expected = table(adata)
    if kind == "layer":
        adata.layers["counts"] = adata.X.copy()
        adata.X = adata.X * 0.5
    else:
        change = {"dense": lambda x: x.toarray(), "csc": lambda x: x.tocsc(), "int": lambda x: x.astype(np.int64)}
        adata.X = change[kind](adata.X)
    found = collect([adata], layer="counts" if kind == "layer" else None)[0].adata
    np.testing.assert_array_equal(table(found), expected)
    assert (found.X.format, found.X.dtype) == ("csr", np.float32)


def test_modalities_of_a_plain_anndata_are_told_by_names() -> None:
    kinds = {
        "rna": ["CD3E", "MS4A1", "ACTB"],
        "adt": ["CD3", "cd4.1", "IgG1_control"],
        "atac": ["chr1:1-90", "chr2-5-70"],
    }
    for modality, features in kinds.items():
        assert batches([one(["a", "b"], features, None)]) == [("batch1", modality, 2)]


def test_other_features_are_left_out_and_said() -> None:
    adata = one(["a", "b"], ["g0", "guide"], None)
    adata.var["feature_types"] = ["Gene Expression", "CRISPR Guide Capture"]
    found = collect([adata])
    assert [s.modality for s in found] == ["rna"]
    assert "'CRISPR Guide Capture' are left out" in found[0].notes[-1]
    with pytest.raises(ValueError, match="Expected RNA, proteins or peaks in the files, found only 'CRISPR"):
        collect([adata[:, 1].copy()])


def test_repeated_barcodes_of_one_matrix_are_told_apart() -> None:
    found = collect([one(["a", "a", "b"], ["g"], None)])[0]
    assert found.adata.obs_names.tolist() == ["a", "a-1", "b"]
    assert "1 barcode occurs again" in found.notes[0]


def test_barcodes_of_several_batches_stay_as_they_are() -> None:
    both = one(["a", "b", "a", "b"], ["CD3E", "MS4A1"], ["x", "x", "y", "y"])
    other = one(["a", "b"], ["CD3", "CD4"], "y")
    mdata = pp.prepare([both, other], cutoffs=pp.Cutoffs(min_genes=0))
    assert mdata.n_obs == 4
    assert mdata["adt"].obs_names.tolist() == ["y_a", "y_b"]
    paired = joined({"rna": both, "adt": one(["a", "b"] * 2, ["CD3", "CD4"], ["x", "x", "y", "y"])})
    assert batches([paired]) == [("x", "rna", 2), ("y", "rna", 2), ("x", "adt", 2), ("y", "adt", 2)]
    paired["rna"].obs["batch"] = paired["adt"].obs["batch"] = "x"
    with pytest.raises(ValueError, match="batch 'x': expected each cell once, found repeated names: 'a', 'b'"):
        collect([paired])


def test_outs_of_several_samples_are_told_apart(tmp_path: Path) -> None:
    for sample, n in (("S1", 5), ("S2", 6)):
        folder = tmp_path / "outs" / "per_sample_outs" / sample / "count"
        pp.write_10x(folder / "sample_filtered_feature_bc_matrix.h5", {"rna": rna(n)})
        (folder / "sample_molecule_info.h5").touch()
    pp.write_10x(tmp_path / "outs" / "multi" / "count" / "raw_feature_bc_matrix.h5", {"rna": rna(9)})
    found = collect([tmp_path / "outs"])
    assert [(s.batch, s.adata.n_obs) for s in found] == [("S1", 5), ("S2", 6)]
    assert "'multi/count/raw_feature_bc_matrix.h5'" in found[0].notes[0]


def test_nothing_is_passed_over_in_silence(tmp_path: Path) -> None:
    rna(5).write_h5ad(tmp_path / "d1_filtered_feature_bc_matrix.h5ad")
    rna(6).write_h5ad(tmp_path / "d2.h5ad")
    assert batches([tmp_path]) == [("d1", "rna", 5), ("d2", "rna", 6)]
    write_mtx(tmp_path, rna(7))
    found = collect([tmp_path])
    assert [s.adata.n_obs for s in found] == [7]
    assert "matrix.mtx was taken, and passed over: 'd1_filtered_feature_bc_matrix.h5ad', 'd2.h5ad'" in found[0].notes[0]


def test_counts_are_found_in_raw() -> None:
    adata = rna()
    expected = table(adata)
    adata.raw = adata.copy()
    adata.X = np.log1p(adata.X)
    found = collect([adata])[0]
    np.testing.assert_array_equal(table(found.adata), expected)
    assert "the counts were taken from raw" in found.notes[0]
    adata.raw = adata.copy()
    with pytest.raises(CountsError, match="expected raw counts"):
        collect([adata])


def test_the_layer_that_was_named_is_taken_or_missed() -> None:
    adata = rna()
    adata.raw = adata.copy()
    adata.layers["counts"] = adata.X * 2
    adata.X = np.log1p(adata.X)
    np.testing.assert_array_equal(table(collect([adata], layer="counts")[0].adata), table(adata.raw.to_adata()) * 2)
    with pytest.raises(ValueError, match="Expected a layer 'cuonts' in some of the input, found the layers: counts"):
        collect([adata], layer="cuonts")
    other = rna(3)
    other.layers["spliced"] = other.X
    notes = collect({"a": adata, "b": other}, layer="counts")[1].notes
    assert "there is no layer 'counts'; the counts were taken from X" in notes[0]


def test_layers_may_be_named_by_modality() -> None:
    adata = one(names("c", 4), ["g0", "CD3"], None)
    adata.var["feature_types"] = ["Gene Expression", "Antibody Capture"]
    adata.layers["counts"] = adata.X * 2
    adata.X = adata.X * 3
    for layer in ({"rna": "counts"}, {"gex": "counts", "adt": "X"}):
        found = {s.modality: table(s.adata)[:1].to_numpy().item() for s in collect([adata], layer=layer)}
        assert found == {"rna": adata.layers["counts"][0, 0], "adt": adata.X[0, 1]}
    other = one(names("c", 4), ["CD3", "CD4"], None)
    other.layers["spliced"] = other.X
    assert collect({"a": adata, "b": other}, layer={"rna": "counts"})[-1].notes == ()  # nothing was said of its layer
    with pytest.raises(ValueError, match="Expected a layer 'cuonts' in some of the input, found the layers: counts"):
        collect([adata], layer={"rna": "cuonts"})
    with pytest.raises(ValueError, match=r"Expected layer= by modality \(rna, adt, atac\), found lipids"):
        collect([adata], layer={"lipids": "counts"})


def test_one_modality_under_two_names_is_refused() -> None:
    mdata = joined({"rna": rna(3), "gex": one(["x", "y"], names("g", 4), None)})
    with pytest.raises(ValueError, match="one name for one modality, found rna and gex"):
        collect([mdata])


def test_a_slash_in_a_batch() -> None:
    assert batches([one(["x"], ["g"], "a/b")]) == [("a_b", "rna", 1)]


@pytest.mark.parametrize("value", [0.5, -1, np.nan, np.inf])
def test_what_is_no_count_is_refused(value: float) -> None:
    adata = rna()
    adata.X.data[2] = value
    with pytest.raises(CountsError, match="object 1, rna: expected raw counts"):
        collect([adata])


def test_bad_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none"):
        collect([])
    with pytest.raises(TypeError, match="found int"):
        collect([3])  # type: ignore[list-item]
    with pytest.raises(DataFileError, match="found no such file or folder"):
        collect([tmp_path / "gone.txt"])
    (tmp_path / "x.csv").touch()
    with pytest.raises(DataFileError, match=r"found '\.csv'"):
        collect([tmp_path / "x.csv"])
    adata = rna()
    adata.obs["batch"] = pd.Series(["a", "a", "a", "a", None], index=adata.obs_names)
    with pytest.raises(ValueError, match="a batch for every cell in 'batch', found 1 without"):
        collect([adata])
    adata.obs["batch"] = ["", "y", "y", "y", "y"]  # as files may write a missing text
    with pytest.raises(ValueError, match="a batch for every cell in 'batch', found 1 without"):
        collect([adata])


def test_a_name_for_a_file_of_several_batches_is_told_and_never_advised() -> None:
    whole = rna(6)
    whole.obs["batch"] = ["s1", "s2"] * 3
    with pytest.raises(
        ValueError, match=r"for batch 's1', found two.*Give them different names in the column 'batch' of obs"
    ):
        collect([whole, whole.copy()])
    found = collect({"all": whole})
    assert [sample.batch for sample in found] == ["all"]
    assert any("though it names 2 batches: leave out the name to keep them apart" in note for note in found[0].notes)


def test_a_dict_of_modalities_is_one_object_also_under_a_batch() -> None:
    gex, adt = rna(6), one(names("c", 6), ["CD3", "CD4"], None)
    assert batches({"rna": gex, "adt": adt}) == [("batch1", "rna", 6), ("batch1", "adt", 6)]
    found = batches({"d1": {"rna": gex, "adt": adt}, "d2": gex})
    assert found == [("d1", "rna", 6), ("d1", "adt", 6), ("d2", "rna", 6)]
