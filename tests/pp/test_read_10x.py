"""Every layout of 10x files gives the same counts by modality, and what is none is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers import counts, names, one, table
from midas import CountsError, pp
from midas.io import DataFileError
from rawlike import raw, write_mtx


@pytest.mark.parametrize("name", ["d3.h5", "d3"])
def test_all_modalities_come_back(name: str, tmp_path: Path) -> None:
    parts = raw()["d3"]
    pp.write_10x(tmp_path / name, parts)
    found = pp.read_10x(tmp_path / name)
    assert list(found) == ["rna", "adt", "atac"]
    for modality, adata in parts.items():
        np.testing.assert_array_equal(table(found[modality]), table(adata))
        assert found[modality].var_names.tolist() == adata.var_names.tolist()
        assert found[modality].obs_names.tolist() == adata.obs_names.tolist()
    assert found["rna"].var["gene_ids"].tolist() == parts["rna"].var["gene_ids"].tolist()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("gz", [True, False])
def test_mtx_folders_of_any_version(version: int, gz: bool, tmp_path: Path) -> None:
    adata = raw()["d1"]["rna"]
    write_mtx(tmp_path / "f", adata, version=version, gz=gz)
    found = pp.read_10x(tmp_path / "f")["rna"]
    np.testing.assert_array_equal(table(found), table(adata))
    assert found.var["gene_ids"].iloc[0] == "ENSG00000000000"


def test_peaks_in_a_bed_file(tmp_path: Path) -> None:
    write_mtx(tmp_path, one(names("c", 3), ["chr1:10-90", "chr2:5-80"], None), gz=False)
    (tmp_path / "features.tsv").unlink()
    (tmp_path / "peaks.bed").write_text("chr1\t10\t90\nchr2\t5\t80\n")
    assert pp.read_10x(tmp_path)["atac"].var_names.tolist() == ["chr1:10-90", "chr2:5-80"]


def test_a_file_of_cell_ranger_2(tmp_path: Path) -> None:
    matrix = counts(5, 3)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        group = file.create_group("GRCh38")
        group["data"], group["indices"], group["indptr"] = matrix.data.astype(np.int32), matrix.indices, matrix.indptr
        group["shape"] = np.array([3, 5])
        group["barcodes"] = np.array([b"a", b"b", b"c", b"d", b"e"])
        group["genes"], group["gene_names"] = np.array([b"ENSG1", b"ENSG2", b"ENSG3"]), np.array([b"A", b"B", b"C"])
    found = pp.read_10x(tmp_path / "old.h5")["rna"]
    np.testing.assert_array_equal(table(found), matrix.toarray())


def truncated(path: Path) -> None:
    pp.write_10x(path / "x.h5", {"rna": one(names("c", 9), names("g", 4), None)})
    whole = (path / "x.h5").read_bytes()
    (path / "x.h5").write_bytes(whole[: len(whole) // 2])


def foreign(path: Path) -> None:
    with h5py.File(path / "x.h5", "w") as file:
        file["x"] = 1


def text(path: Path) -> None:
    (path / "x.h5").write_text("hello")


@pytest.mark.parametrize("spoil", [truncated, foreign, text])
def test_a_damaged_or_foreign_file_is_refused(spoil: object, tmp_path: Path) -> None:
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataFileError, match=r"expected an \.h5 file of 10x Genomics .* found a damaged or foreign"):
        pp.read_10x(tmp_path / "x.h5")


def test_what_a_folder_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"expected one matrix.mtx"):
        pp.read_10x(tmp_path)
    with pytest.raises(DataFileError, match="expected a file or folder, found none"):
        pp.read_10x(tmp_path / "gone.h5")
    write_mtx(tmp_path, one(names("c", 3), names("g", 4), None))
    (tmp_path / "features.tsv.gz").rename(tmp_path / "other.txt")
    with pytest.raises(DataFileError, match=r"expected features.tsv or genes.tsv or peaks.bed .* found barcodes"):
        pp.read_10x(tmp_path)


def test_files_of_two_samples_are_not_mixed(tmp_path: Path) -> None:
    write_mtx(tmp_path, one(names("c", 3), names("g", 4), None), gz=False)
    (tmp_path / "barcodes.tsv").write_text("a\nb\n")
    with pytest.raises(
        DataFileError, match=r"expected 4 features x 2 barcodes.*found 4 x 3. Are the files of one sample"
    ):
        pp.read_10x(tmp_path)


def test_a_damaged_matrix_is_refused(tmp_path: Path) -> None:
    write_mtx(tmp_path, one(names("c", 30), names("g", 40), None))
    whole = (tmp_path / "matrix.mtx.gz").read_bytes()
    (tmp_path / "matrix.mtx.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataFileError, match="found a damaged or foreign file"):
        pp.read_10x(tmp_path)


def test_written_parts_must_be_of_the_same_cells(tmp_path: Path) -> None:
    rna, adt = one(["a", "b"], ["g"], None), one(["b", "a"], ["p"], None)
    with pytest.raises(ValueError, match="same cells in the same order"):
        pp.write_10x(tmp_path / "x.h5", {"rna": rna, "adt": adt})
    assert list(tmp_path.iterdir()) == []


def test_only_counts_are_written_and_nothing_else_is_replaced(tmp_path: Path) -> None:
    adata = raw()["d1"]["rna"]
    half = adata.copy()
    half.X = half.X * 0.5
    with pytest.raises(CountsError, match="modality 'rna': expected raw counts"):
        pp.write_10x(tmp_path / "x.h5", {"rna": half})
    pp.write_10x(tmp_path / "matrix", {"rna": adata})
    pp.write_10x(tmp_path / "matrix", {"rna": adata})
    (tmp_path / "matrix" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match=r"found a folder with barcodes\.tsv\.gz and 3 more"):
        pp.write_10x(tmp_path / "matrix", {"rna": adata})


def test_repeated_names_are_read_without_a_warning(tmp_path: Path) -> None:
    parts = raw()["d1"]
    ids = names("ENSG", parts["rna"].n_vars)
    parts["rna"].var["gene_ids"] = ids
    parts["rna"].var_names = ["GENE0", "GENE0", *parts["rna"].var_names[2:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.write_10x(tmp_path / "x.h5", parts)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not unique")
        assert pp.read_10x(tmp_path / "x.h5")["rna"].n_vars == len(ids)
