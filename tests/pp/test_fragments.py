"""Fragments counted on peaks, against a count by hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import table
from midas import pp
from midas.io import DataFileError
from midas.pp import fragments

PEAKS = pd.Index(["chr2:50-150", "chr1:500-600", "chr1:100-200"])
LINES = """# id=made-up
chr1\t100\t200\tA\t3
chr1\t99\t201\tA\t1
chr1\t150\t550\tB\t1
chr1\t600\t700\tB\t1
chr2\t0\t51\tC\t2
chr3\t60\t70\tC\t1
chr1\t110\t120\tZ\t1
"""
EXPECTED = [[0, 0, 2], [0, 1, 1], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("ending", ["tsv", "tsv.gz"])
@pytest.mark.parametrize("lines", [2, 1000])
def test_both_ends_count_where_they_lie(
    ending: str, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fragments, "_LINES", lines)
    path = tmp_path / f"fragments.{ending}"
    (gzip.open if ending.endswith("gz") else open)(path, "wb").write(LINES.encode())
    found = pp.count_fragments(path, PEAKS, pd.Index(["A", "B", "C", "D"]))
    np.testing.assert_array_equal(table(found), EXPECTED)
    assert found.var_names.tolist() == PEAKS.tolist()
    assert (found.X.format, found.X.dtype) == ("csr", np.float32)


def test_random_fragments_against_a_loop(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    start = rng.integers(0, 2000, 500)
    end = start + rng.integers(1, 300, 500)
    cell = rng.integers(0, 5, 500)
    peaks = [(100, 180), (400, 900), (900, 950), (1500, 1502)]
    expected = np.zeros((5, 4))
    for s, e, c in zip(start, end, cell, strict=True):
        for site in (s, e - 1):
            for p, (a, b) in enumerate(peaks):
                expected[c, p] += a <= site < b
    frame = pd.DataFrame({"c": "chr1", "s": start, "e": end, "b": [f"cell{c}" for c in cell], "n": 1})
    frame.to_csv(tmp_path / "f.tsv", sep="\t", header=False, index=False)
    names = pd.Index([f"chr1:{a}-{b}" for a, b in peaks])
    found = pp.count_fragments(tmp_path / "f.tsv", names, pd.Index([f"cell{i}" for i in range(5)]))
    np.testing.assert_array_equal(table(found), expected)


def test_files_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    path, cells = tmp_path / "f.tsv", pd.Index(["A"])
    path.write_text(LINES)
    with pytest.raises(DataFileError, match="expected fragments of the cells, such as 'A-1', found none"):
        pp.count_fragments(path, PEAKS, pd.Index(["A-1"]))
    with pytest.raises(DataFileError, match=r"chromosomes of the peaks \(7\), found chr1, chr2, chr3"):
        pp.count_fragments(path, pd.Index(["7:1-90"]), cells)
    with pytest.raises(ValueError, match="do not overlap each other"):
        pp.count_fragments(path, pd.Index(["chr1:1-90", "chr1:80-99"]), cells)
    path.write_text("chr1 10 20\n")
    with pytest.raises(DataFileError, match="expected a file of fragments"):
        pp.count_fragments(path, PEAKS, cells)
    with pytest.raises(DataFileError, match=r"none.tsv.gz: expected a file of fragments .*, found no such file"):
        pp.count_fragments(tmp_path / "none.tsv.gz", PEAKS, cells)
    with pytest.raises(DataFileError, match="found a folder"):
        pp.count_fragments(tmp_path, PEAKS, cells)
