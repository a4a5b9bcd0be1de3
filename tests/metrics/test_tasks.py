"""What a task shows and hides, by name: counts, masks, links, types; and that the truth keeps it all."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import joined, names, one, real_folder, simulated, table
from midas import io, read_mosaic
from midas.metrics import tasks


@pytest.fixture(scope="module")
def full() -> md.MuData:
    mdata = simulated(mosaic=("rna+adt+atac",) * 4, n_cells=160, unpaired_fraction=0.0)
    mdata["adt"].var["measured_batch2"] = np.arange(mdata["adt"].n_vars) != 1
    return mdata


def seen_by_batch(task: tasks.Task) -> list[str]:
    """Letters of the modalities that each batch shows."""
    letters = {"atac": "A", "rna": "R", "adt": "D"}
    shown = {m: set(a.obs["batch"]) for m, a in task.mdata.mod.items()}
    return ["".join(letters[m] for m in letters if b in shown.get(m, ())) for b in sorted(set(task.batch))]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("full", "ARD ARD ARD ARD"),
        ("paired+full", "AR AD RD ARD"),
        ("paired-abc", "AR RD AD RD"),
        ("paired-ab", "AR AD AR AD"),
        ("paired-ac", "AR RD AR RD"),
        ("paired-bc", "AD RD AD RD"),
        ("diagonal+full", "A R D ARD"),
        ("diagonal", "A R D D"),
        ("paired-a", "AR AR AR AR"),
        ("paired-b", "AD AD AD AD"),
        ("paired-c", "RD RD RD RD"),
        ("atac", "A A A A"),
        ("rna", "R R R R"),
        ("adt", "D D D D"),
    ],
)
def test_the_mosaic_tasks(full: md.MuData, name: str, expected: str) -> None:
    assert name in tasks.names(full)
    task = tasks.make(full, name)
    assert seen_by_batch(task) == expected.split()
    assert list(task.mdata.obs_names) == list(task.truth.obs_names) == list(full.obs_names)
    for modality, adata in task.truth.mod.items():
        pd.testing.assert_frame_equal(table(adata), table(full[modality]), check_names=False)
    for modality, adata in task.mdata.mod.items():
        pd.testing.assert_frame_equal(table(adata), table(full[modality]).loc[adata.obs_names], check_names=False)


def test_labels_are_kept_from_the_method(full: md.MuData) -> None:
    task = tasks.make(full, "diagonal")
    assert list(task.mdata.obs.columns) == ["batch"]
    assert all(list(a.obs.columns) == ["batch"] for a in task.mdata.mod.values())
    assert not [k for k in task.mdata.obsm if k not in task.mdata.mod]
    assert task.labels.equals(full.obs["cell_type"].astype(str))
    np.testing.assert_array_equal(task.truth.obsm["X_truth"], full.obsm["X_truth"])


def test_masks_follow_their_batches(full: md.MuData) -> None:
    task = tasks.make(full, "diagonal")  # batch 2 shows RNA alone
    assert task.measured("adt").loc["batch2"].tolist() == [True, False, True, True, True, True]
    assert task.measured("adt").drop("batch2").to_numpy().all()
    flags = {c for c in task.mdata["adt"].var.columns if c.startswith("measured_")}
    assert flags == {"measured_batch3", "measured_batch4"}
    read = read_mosaic(task.truth)
    assert not read.notes
    assert (~read.modalities["adt"].measured).sum() == 1


def test_batches_are_cut_when_there_are_too_few() -> None:
    mdata = simulated(mosaic=("rna+adt+atac",) * 2, n_cells=100, unpaired_fraction=0.0)
    mdata["adt"].var["measured_batch1"] = [False] + [True] * 5
    task = tasks.make(mdata, "diagonal+full")
    assert sorted(set(task.batch)) == ["batch1.1", "batch1.2", "batch2.1", "batch2.2"]
    assert seen_by_batch(task) == ["A", "R", "D", "ARD"]
    assert (~task.measured("adt")).sum(1).to_dict() == {"batch1.1": 1, "batch1.2": 1, "batch2.1": 0, "batch2.2": 0}
    assert (task.batch.str.split(".").str[0] == mdata.obs["batch"].astype(str)).all()
    assert task.batch.value_counts().max() == 25
    assert sorted(set(tasks.make(mdata, "rna").batch)) == ["batch1", "batch2"]


def test_more_batches_start_again() -> None:
    task = tasks.make(simulated(mosaic=("rna+adt+atac",) * 6, n_cells=60, unpaired_fraction=0.0), "diagonal+full")
    assert seen_by_batch(task) == ["A", "R", "D", "ARD", "A", "R"]


def test_two_modalities() -> None:
    mdata = simulated(mosaic=("rna+atac",) * 3, n_cells=60, unpaired_fraction=0.0)
    expected = {
        "paired": ["AR", "AR", "AR"],
        "rna+paired": ["R", "AR", "R"],
        "atac+paired": ["A", "AR", "A"],
        "diagonal+paired": ["R", "A", "AR"],
        "diagonal": ["R", "A", "R"],
    }
    assert tasks.names(mdata)[:5] == tuple(expected)
    for name, seen in expected.items():
        assert seen_by_batch(tasks.make(mdata, name)) == seen


def test_a_mosaic_of_ones_own(full: md.MuData) -> None:
    task = tasks.mosaic(full, {"batch1": ["rna"], "batch2": ["adt"], "batch3": ["rna", "adt"], "batch4": ["atac"]})
    assert seen_by_batch(task) == ["R", "D", "RD", "A"]
    with pytest.raises(ValueError, match="Expected modalities for the batches"):
        tasks.mosaic(full, {"batch1": ["rna"]})
    with pytest.raises(ValueError, match="protein"):
        tasks.mosaic(full, [["protein"]])


def test_split_hides_the_link_alone(full: md.MuData) -> None:
    task = tasks.split(full, "batch2")
    assert set(task.batch) == {"batch1", "batch3", "batch4", "batch2_rna", "batch2_adt", "batch2_atac"}
    assert seen_by_batch(task) == ["ARD", "D", "A", "R", "ARD", "ARD"]
    cell = full.obs_names[(full.obs["batch"] == "batch2").to_numpy()][0]
    assert set(task.origin.index[task.origin == cell]) == {f"{cell}_{m}" for m in ("rna", "adt", "atac")}
    for modality in task.mdata.mod:
        name = f"{cell}_{modality}"
        np.testing.assert_array_equal(table(task.mdata[modality]).loc[name], table(full[modality]).loc[cell])
        for other in task.truth.mod:
            np.testing.assert_array_equal(table(task.truth[other]).loc[name], table(full[other]).loc[cell])
    assert not task.measured("adt").loc["batch2_rna"].all()
    assert set(tasks.make(full, "split").batch) >= {"batch4_rna"}
    with pytest.raises(ValueError, match="Expected a batch whose cells"):
        tasks.split(full, "nowhere")


def test_a_mosaic_can_be_split() -> None:
    mdata = simulated(mosaic=("rna", "adt", "rna+adt", "rna+adt"), n_cells=80, unpaired_fraction=0.0)
    assert tasks.names(mdata) == ("given", "split", "unpaired", "depth-25", "missing-types")
    task = tasks.make(mdata, "split")
    assert sorted(set(task.batch)) == ["batch1", "batch2", "batch3", "batch4_adt", "batch4_rna"]
    assert task.truth["rna"].n_obs == task.truth.n_obs - 20
    with pytest.raises(ValueError, match="want all modalities of all cells"):
        tasks.make(mdata, "diagonal")


def test_half_unpaired(full: md.MuData) -> None:
    task = tasks.make(full, "unpaired")
    assert task.mdata.n_obs == 80 + 3 * 80
    assert (task.batch.groupby(task.origin).nunique() == 1).all()
    assert task.origin.value_counts().value_counts().to_dict() == {1: 80, 3: 80}
    assert [a.n_obs for a in task.mdata.mod.values()] == [160] * 3


def test_thinned_counts(full: md.MuData) -> None:
    task = tasks.make(full, "full")
    thin = tasks.thinned(task, 0.25, modalities=["rna"])
    before, after = task.mdata["rna"].X, thin.mdata["rna"].X
    assert (after.toarray() <= before.toarray()).all()
    assert after.sum() == pytest.approx(0.25 * before.sum(), rel=0.05)
    assert (thin.mdata["adt"].X != task.mdata["adt"].X).nnz == 0
    assert thin.truth is task.truth
    assert (after != tasks.make(full, "depth-25").mdata["rna"].X).nnz == 0
    assert (before != tasks.thinned(task, 1.0).mdata["rna"].X).nnz == 0
    with pytest.raises(ValueError, match="Expected a fraction"):
        tasks.thinned(task, 0)


def test_missing_types() -> None:
    labels = ["a"] * 3 + ["b"] * 2 + ["unknown"] * 4
    cells = names("c", 18)
    mdata = joined({"rna": one(cells, ["g1", "g2"], ["x"] * 9 + ["y"] * 9)}, batch=["x"] * 9 + ["y"] * 9)
    for none, unlabelled in (("Unknown", ("unknown",)), (np.nan, ("other",))):
        mdata.obs["cell_type"] = pd.Series(labels * 2, index=cells).replace("unknown", none)
        task = tasks.without_types(tasks.make(mdata, "given"), unlabelled=unlabelled)
        left = task.labels.groupby(task.batch).unique().map(set)
        assert set(left["x"]) - {"unknown", "Unknown"} == {"b"}
        assert set(left["y"]) - {"unknown", "Unknown"} == {"a"}
    assert list(task.mdata.obs_names) == list(task.truth.obs_names) == list(task.origin.index)


def test_cells_are_drawn_in_proportion(full: md.MuData) -> None:
    task = tasks.make(full, "full", n_cells=41, seed=3)
    assert sorted(task.batch.value_counts()) == [10, 10, 10, 11]
    assert list(task.mdata.obs_names) == [c for c in full.obs_names if c in set(task.mdata.obs_names)]
    assert list(tasks.make(full, "full", n_cells=41, seed=3).origin) == list(task.origin)
    assert list(tasks.make(full, "full", n_cells=41, seed=4).origin) != list(task.origin)
    assert tasks.sample(["a"] * 99 + ["b"], 10).tolist()[-1] == 99
    assert len(tasks.sample(["a"] * 3, 10)) == 3


@pytest.mark.parametrize(
    ("n", "expected"), [(2, [2, 0, 0, 0]), (4, [1, 1, 1, 1]), (10, [7, 1, 1, 1]), (60, [57, 1, 1, 1])]
)
def test_so_many_cells_are_drawn_as_were_asked_for(n: int, expected: list[int]) -> None:
    groups = np.repeat([0, 1, 2, 3], [100, 1, 1, 1])
    assert np.bincount(groups[tasks.sample(groups, n)], minlength=4).tolist() == expected


def test_columns_that_are_missing(full: md.MuData) -> None:
    with pytest.raises(KeyError, match="Expected a column 'celltype'"):
        tasks.make(full, "full", label_key="celltype")
    assert tasks.make(full, "full", label_key=None).labels is None
    with pytest.raises(TypeError, match="Wrap an AnnData"):
        tasks.make(full["rna"], "full")


def test_batches_known_to_the_modalities_alone() -> None:
    cells = names("c", 8)
    mdata = joined({"rna": one(cells, ["g1"], list("xxxxyyyy")), "adt": one(cells, ["p1"], list("xxxxyyyy"))})
    assert "batch" not in mdata.obs
    task = tasks.make(mdata, "diagonal", label_key=None)
    assert seen_by_batch(task) == ["R", "D"]


@pytest.mark.skipif(real_folder() is None, reason="real data are not here")
def test_the_stand_in_set() -> None:
    mdata = io.read_file(real_folder() / "pbmc_standin_trimodal_4batch.h5mu")
    task = tasks.make(mdata, "paired-abc", n_cells=500)
    assert seen_by_batch(task) == ["AR", "RD", "AD", "RD"]
    # The file names the masks by the two batches that were halved; the silent proteins tell.
    assert (~task.measured("adt")).sum(1).tolist() == [15, 15, 0, 0]
    assert set(tasks.names(mdata)) >= {"full", "diagonal", "split", "atac"}


def test_a_missing_label_is_no_type() -> None:
    data = simulated()
    labels = data.obs["cell_type"].astype(object).copy()
    labels.iloc[::3] = np.nan
    data.obs["cell_type"] = labels
    found = tasks.make(data, "given", batch_key="batch", label_key="cell_type", seed=0).labels
    assert found is not None
    assert "nan" not in set(found)
    assert (found == "unknown").any()
