"""Peaks linked to genes by place or by a table."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from midas import pp
from midas.io import DataFileError

GTF = """#!genome-build made-up
1\thavana\tgene\t10001\t20000\t.\t+\t.\tgene_id "ENSG01.4"; gene_name "PLUS";
1\thavana\ttranscript\t10001\t20000\t.\t+\t.\tgene_id "ENSG01.4"; gene_name "PLUS";
1\thavana\tgene\t30001\t40000\t.\t-\t.\tgene_id "ENSG02"; gene_name "MINUS";
2\thavana\tgene\t1\t500\t.\t+\t.\tgene_id "ENSG03";
"""
PEAKS = pd.Index(["chr1:7900-8000", "chr1:7900-8001", "chr1-41999-42500", "chr1:42000-42500", "chr2:100-300"])


def test_promoters_follow_the_strand(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "genes.gtf.gz", "wb") as file:
        file.write(GTF.encode())
    links = pp.link_peaks(PEAKS, tmp_path / "genes.gtf.gz")
    assert list(zip(links["peak"], links["gene"], strict=True)) == [
        ("chr1:7900-8001", "PLUS"),
        ("chr1-41999-42500", "MINUS"),
        ("chr2:100-300", "ENSG03"),
    ]
    assert links["distance"].tolist() == [10000 - 7950, 42249 - 40000, 200]
    assert len(pp.link_peaks(PEAKS, tmp_path / "genes.gtf.gz", upstream=2001)) == 5
    spelled = pp.link_peaks(PEAKS, tmp_path / "genes.gtf.gz", only=pd.Index(["Plus"]))
    assert spelled["gene"].tolist() == ["Plus"]


def test_links_of_a_table_go_to_the_joint_peaks() -> None:
    table = pd.DataFrame({"peak": ["chr1:7950-7990", "chr2:250-900", "chr9:1-90"], "gene": ["A", "B", "C"]})
    links = pp.link_peaks(PEAKS, table)
    assert list(zip(links["peak"], links["gene"], strict=True)) == [
        ("chr1:7900-8000", "A"),
        ("chr1:7900-8001", "A"),
        ("chr2:100-300", "B"),
    ]
    with pytest.raises(ValueError, match="Expected links of the peaks"):
        pp.link_peaks(PEAKS, table.iloc[2:])


def test_what_is_no_gtf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gtf").write_text("hello\n")
    with pytest.raises(DataFileError, match=r"x.gtf: expected"):
        pp.read_genes(tmp_path / "x.gtf")
    with pytest.raises(DataFileError, match="expected a GTF file"):
        pp.read_genes(tmp_path / "none.gtf")
    with pytest.raises(ValueError, match=r"columns chrom, start, end, strand and gene.*found x"):
        pp.link_peaks(PEAKS, pd.DataFrame({"x": [1]}))
    genes = pd.DataFrame({"chrom": ["7"], "start": [1], "end": [9], "strand": ["+"], "gene": ["A"]})
    with pytest.raises(ValueError, match="Expected genes on the chromosomes of the peaks"):
        pp.link_peaks(PEAKS, genes)
