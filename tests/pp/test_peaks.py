"""Peaks joined over batches, against intervals worked out by hand."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import counts, table
from midas import pp
from midas.io import DataFileError
from midas.pp.regions import regions


def atac(*peaks: str, values: np.ndarray | None = None) -> ad.AnnData:
    adata = ad.AnnData(np.ones((2, len(peaks)), dtype=np.float32) if values is None else values)
    adata.var_names = list(peaks)
    return adata


def test_overlapping_peaks_become_one_and_counts_are_summed() -> None:
    a = atac(
        "chr2:100-200", "chr1:100-200", "chr1:300-400", values=np.array([[1, 2, 4], [8, 16, 32]], dtype=np.float32)
    )
    b = atac("chr1_150_350", "chr10-5-90")
    step = pp.merge_peaks({"a": a, "b": b})
    assert table(step.batches["a"]).to_dict("list") == {"chr1:100-400": [6, 48], "chr2:100-200": [1, 8]}
    assert step.batches["b"].var_names.tolist() == ["chr1:100-400", "chr10:5-90"]


def test_touching_peaks_stay_apart() -> None:
    assert pp.merge_peaks({"a": atac("chr1:100-200", "chr1:200-300")}).batches["a"].n_vars == 2


def test_widths_are_exclusive_before_and_after_joining() -> None:
    peaks = atac("chr1:100-120", "chr1:200-221", "chr1:1000-11000", "chr1:20000-29999", "chr1:29990-30500")
    assert pp.merge_peaks({"a": peaks}).batches["a"].var_names.tolist() == ["chr1:200-221"]


def test_a_huge_peak_does_not_swallow_others() -> None:
    found = pp.merge_peaks({"a": atac("chr1:100-90000"), "b": atac("chr1:200-300")}).batches
    assert (found["a"].n_vars, found["b"].var_names.tolist()) == (0, ["chr1:200-300"])


def test_autosomes_of_many_species() -> None:
    human = {f"chr{i}" for i in range(1, 23)}
    assert pp.autosomes([*human, "chrX", "chrY", "chrM", "chr1_KI270706v1_random", "chrUn_GL000195v1"]) == human
    assert pp.autosomes(["1", "19", "X", "Y", "MT", "GL456210.1", "JH584304.1"]) == {"1", "19"}
    assert pp.autosomes(["chr2L", "chr3R", "chr4", "chrX"]) == {"chr2L", "chr3R", "chr4"}
    assert pp.autosomes(["chrI", "chrIV", "chrV", "chrX", "chrM"]) == {"chrI", "chrIV", "chrV"}
    assert pp.autosomes(["chrI", "chrIX", "chrX", "chrXI", "chrM"]) == {"chrI", "chrIX", "chrX", "chrXI"}
    assert pp.autosomes(["chr28", "chrZ", "chrW", "chr2A"]) == {"chr28", "chr2A"}


def test_chromosomes_can_be_named() -> None:
    both = atac("chrX:100-200", "chr1:100-200")
    assert pp.merge_peaks({"a": both}, chromosomes=["chrX"]).batches["a"].var_names.tolist() == ["chrX:100-200"]
    with pytest.raises(ValueError, match=r"Expected peaks on autosomes.*chromosomes there: chrX"):
        pp.merge_peaks({"a": atac("chrX:100-200")})


def test_a_blacklist_takes_joined_peaks(tmp_path: Path) -> None:
    (tmp_path / "black.bed").write_text("# made up\nchr1\t390\t395\tbad\nchr2\t200\t300\tnext to it\n")
    peaks = atac("chr1:100-200", "chr1:300-400", "chr2:100-200")
    step = pp.merge_peaks({"a": peaks}, blacklist=tmp_path / "black.bed")
    assert step.batches["a"].var_names.tolist() == ["chr1:100-200", "chr2:100-200"]
    assert "1 joined peak on the blacklist" in step.notes[0]
    (tmp_path / "black.bed").write_text("1\t390\t395\n")
    with pytest.raises(ValueError, match="blacklist with chromosomes of the peaks, such as chr1, found 1"):
        pp.merge_peaks({"a": peaks}, blacklist=tmp_path / "black.bed")
    with pytest.raises(DataFileError, match="expected a BED file"):
        pp.merge_peaks({"a": peaks}, blacklist=tmp_path / "none.bed")


def test_wide_joined_peaks_are_told_of_beside_a_blacklist() -> None:
    a, b = atac("chr1:100-6000", "chr2:100-200"), atac("chr1:5900-11900", "chr2:400-500")
    black = pd.DataFrame({"chrom": ["chr2"], "start": [450], "end": [460]})
    step = pp.merge_peaks({"a": a, "b": b}, blacklist=black)
    assert step.notes[:2] == (
        "Left out: 1 joined peak on the blacklist.",
        "Left out: 1 joined peak wider than 10,000 bp.",
    )


def test_chromosomes_with_and_without_chr_are_the_same() -> None:
    step = pp.merge_peaks({"a": atac("chr1:100-200"), "b": atac("1:150-250")})
    assert step.batches["b"].var_names.tolist() == ["chr1:100-250"]
    assert "'b' were given the prefix chr" in step.notes[0]


def test_batches_of_other_places_are_noticed() -> None:
    step = pp.merge_peaks({"a": atac("chr1:100-200"), "b": atac("chr1:900-990")})
    assert "only 0.0% of its peaks overlap one of another batch" in step.notes[-1]


def test_names_that_are_no_peaks_are_refused() -> None:
    with pytest.raises(
        ValueError, match="batch 'a': expected names of peaks such as chr1:100-600, found 'chr1:1-90', 'CD4'"
    ):
        pp.merge_peaks({"a": atac("chr1:1-90", "CD4")})  # half of them
    with pytest.raises(ValueError, match="links: expected names of peaks such as chr1:100-600, found 'CD4'"):
        regions(pd.Index(["chr1:1-90", "chr1:100-190", "CD4"]), "links")
    with pytest.raises(ValueError, match="end after their start, found 'chr1:90-10'"):
        regions(pd.Index(["chr1:90-10"]))


@settings(max_examples=20)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 400), st.integers(21, 90)), min_size=1, max_size=12), min_size=1, max_size=3
    )
)
def test_joining_loses_no_count_and_leaves_no_overlap(places: list[list[tuple[int, int]]]) -> None:
    batches = {}
    for i, of_batch in enumerate(places):
        names = list(dict.fromkeys(f"chr1:{s}-{s + w}" for s, w in of_batch))
        batches[f"b{i}"] = atac(*names, values=counts(3, len(names), seed=i).toarray())
    found = pp.merge_peaks(batches, cutoffs=pp.Cutoffs(max_width=10**6)).batches
    union = regions(pd.Index(sorted({name for a in found.values() for name in a.var_names}))).sort_values("start")
    assert (union["start"].to_numpy()[1:] >= union["end"].to_numpy()[:-1]).all()
    for name, before in batches.items():
        np.testing.assert_array_equal(found[name].X.sum(1), before.X.sum(1)[:, None])
        bases = np.zeros(600, dtype=bool)
        for start, end in regions(before.var_names)[["start", "end"]].to_numpy():
            bases[start:end] = True
        covered = np.zeros(600, dtype=bool)
        for start, end in union[["start", "end"]].to_numpy():
            covered[start:end] = True
        assert not (bases & ~covered).any()


def test_accessibility_is_over_four_percent_of_some_batch() -> None:
    values = np.zeros((100, 2), dtype=np.float32)
    values[:4, 0] = 7
    values[:5, 1] = 7
    a, b = atac("chr1:1-90", "chr1:200-290", values=values), atac("chr1:200-290", values=np.zeros((50, 1)))
    assert pp.select_peaks({"a": a, "b": b}).peaks.tolist() == ["chr1:200-290"]
    assert len(pp.select_peaks({"a": a, "b": b}, cutoffs=pp.Cutoffs(min_accessibility=0.039)).peaks) == 2


def test_sparse_data_are_told_which_cutoff_would_do() -> None:
    # As advised, peaks are kept; rounded to the nearest digit, 0.0259 would be 0.03, which keeps none.
    values = np.zeros((10_000, 2), dtype=np.float32)
    values[:296, 0] = values[:259, 1] = 1
    batches = {"a": atac("chr1:1-90", "chr1:200-290", values=values)}
    with pytest.raises(ValueError, match=r"lower min_accessibility, for example to 0.025\."):
        pp.select_peaks(batches)
    assert len(pp.select_peaks(batches, cutoffs=pp.Cutoffs(min_accessibility=0.025)).peaks) == 2
    values = np.zeros((1000, 3), dtype=np.float32)
    values[:20] = 1
    with pytest.raises(
        ValueError, match=r"0 of 3 peaks are accessible in over 4.00%.*lower min_accessibility.*to 0.019"
    ):
        pp.select_peaks({"a": atac("chr1:1-90", "chr1:200-290", "chr1:400-490", values=values)})
