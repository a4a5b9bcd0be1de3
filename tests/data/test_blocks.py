"""Chromosomes of peaks from any notation and any genome."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers import names, one
from midas import read_mosaic
from midas.data.blocks import MIN_BLOCK, chromosomes, order_and_blocks, peak_keys, read_peaks

NO_COLUMNS = pd.DataFrame()


def peaks(chroms: list[str], n: int, form: str = "{}:{}-{}") -> list[str]:
    return [form.format(chrom, 1000 * i + 1, 1000 * i + 500) for chrom in chroms for i in range(n)]


@pytest.mark.parametrize("form", ["{}:{}-{}", "{}-{}-{}", "{}_{}_{}"])
@pytest.mark.parametrize("chrom", ["chr1", "1", "chrX", "2L", "chrUn_KI270742v1", "KI270728.1", "HLA-A-01"])
def test_the_three_notations_are_read(form: str, chrom: str) -> None:
    parts = read_peaks(pd.Index([form.format(chrom, 5, 1_000_000)]))
    assert parts is not None
    assert parts.iloc[0].tolist() == [chrom, 5, 1_000_000]
    assert peak_keys(pd.Index([form.format(chrom, 5, 1_000_000)])).tolist() == [f"{chrom}:5-1000000"]


@pytest.mark.parametrize("names", [["CD3D", "chr1:1-2"], ["HLA-A"], ["chr1:1"], ["chr1:1-2-3"], [""]])
def test_other_names_are_no_peaks(names: list[str]) -> None:
    index = pd.Index(names)
    assert read_peaks(index) is None
    assert peak_keys(index) is index
    assert chromosomes(index, NO_COLUMNS) is None


@pytest.mark.parametrize("column", ["chrom", "chromosome", "chr", "seqnames"])
def test_a_column_comes_before_the_names(column: str) -> None:
    var = pd.DataFrame({column: pd.Categorical(["7", "8"])})
    found = chromosomes(pd.Index(["chr1:1-2", "chr1:3-4"]), var)
    assert found is not None
    assert found.tolist() == ["7", "8"]


def blocks_of(names: list[str], chroms: np.ndarray | None = None) -> tuple[list[str], tuple[int, ...]]:
    index = pd.Index(names)
    found = chromosomes(index, NO_COLUMNS) if chroms is None else chroms
    order, sizes = order_and_blocks(index, found)
    assert sorted(order.tolist()) == list(range(len(names)))
    return index[order].tolist(), sizes


@pytest.mark.parametrize(
    "genome",
    [
        [f"chr{c}" for c in (*range(1, 23), "X", "Y")],
        [str(c) for c in (*range(1, 20), "X", "Y")],
        ["2L", "2R", "3L", "3R", "X"],
        ["I", "II", "III", "IV", "V", "X"],
        ["only"],
    ],
    ids=["human", "mouse", "fly", "worm", "one"],
)
def test_every_chromosome_of_any_genome_is_a_block_sorted_by_position(genome: list[str]) -> None:
    names = peaks(genome, MIN_BLOCK)
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    ordered, sizes = blocks_of(shuffled)
    assert sizes == (MIN_BLOCK,) * len(genome)
    parts = read_peaks(pd.Index(ordered))
    assert parts is not None
    for i in range(len(genome)):
        block = parts.iloc[i * MIN_BLOCK : (i + 1) * MIN_BLOCK]
        assert block["chrom"].nunique() == 1
        assert block["start"].is_monotonic_increasing


def test_chromosomes_come_in_natural_order() -> None:
    ordered, _ = blocks_of(peaks(["chr10", "chrX", "chr2", "chr1"], MIN_BLOCK))
    assert [name.split(":")[0] for name in ordered[::MIN_BLOCK]] == ["chr1", "chr2", "chr10", "chrX"]


def test_scaffolds_with_few_peaks_share_the_last_block() -> None:
    scaffolds = peaks(["GL000009", "KI270711"], MIN_BLOCK - 1)
    ordered, sizes = blocks_of(scaffolds + peaks(["chr1", "chr2"], MIN_BLOCK + 3))
    assert sizes == (MIN_BLOCK + 3, MIN_BLOCK + 3, 2 * (MIN_BLOCK - 1))
    assert set(ordered[-sizes[-1] :]) == set(scaffolds)


def test_in_a_small_panel_the_largest_chromosome_sets_the_measure() -> None:
    _, sizes = blocks_of(peaks(["chr1", "chr2"], 4) + peaks(["chr3"], 1))
    assert sizes == (4, 4, 1)


def test_without_positions_there_is_one_block_in_order_of_names() -> None:
    ordered, sizes = blocks_of(["p2", "p10", "p1"])
    assert ordered == ["p1", "p10", "p2"]
    assert sizes == (3,)


def test_a_chromosome_column_makes_blocks_of_features_without_positions() -> None:
    names = [f"peak{i}" for i in range(6)]
    ordered, sizes = blocks_of(names[::-1], np.array(["b", "b", "b", "a", "a", "a"], dtype=object))
    assert sizes == (3, 3)
    assert ordered == names


def test_an_odd_name_among_peaks_stays_and_the_others_match() -> None:
    first, second = (
        pd.Index([form.format(1), form.format(2), form.format(3), "spike"]) for form in ("chr1-{}-9", "chr1:{}-9")
    )
    parts = read_peaks(first)
    assert parts is not None
    assert parts["start"].tolist() == [1, 2, 3, -1]
    assert peak_keys(first).tolist() == peak_keys(second).tolist() == ["chr1:1-9", "chr1:2-9", "chr1:3-9", "spike"]
    found = chromosomes(first, NO_COLUMNS)
    assert found is not None
    assert found.tolist() == ["chr1", "chr1", "chr1", ""]
    mosaic = read_mosaic({"atac": one(names("c", 5), list(first))}, batch_key="batch")
    assert any("1 of 4 names are no peaks as chr1:1-2 ('spike')" in note for note in mosaic.notes)
