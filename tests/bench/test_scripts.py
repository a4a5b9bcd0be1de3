"""The scripts that run in this environment, on a small task, and the scores of what they write."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import midas
from helpers import SIMULATION, real_folder
from midas import metrics, simulate
from midas.bench import METHODS, Settings, scoring
from midas.bench.data import SOURCES, bone_marrow, stacked
from midas.bench.registry import SCRIPTS
from midas.bench.tasks import read_task, write_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RNA, proteins, both: of all cells, the truth is known."""
    where = tmp_path_factory.mktemp("task")
    config = replace(SIMULATION, mosaic=("rna+adt",) * 3, n_cells=240, unpaired_fraction=0.0)
    full = simulate.mosaic_with_truth(config, seed=0).full
    del full.mod["atac"]
    full.update()
    shape = write_task(full, "diagonal+paired", 150, where)
    assert len(shape.combinations) == 3
    return where


def run(folder: Path, name: str, out: Path, *more: str) -> Path:
    command = [sys.executable, str(SCRIPTS / METHODS[name].script), "--task", str(folder / "task.h5mu")]
    command += ["--truth", str(folder / "truth.h5mu"), "--out", str(out / f"{name}.npz"), "--seed", "1", *more]
    environment = {"PYTHONPATH": str(Path(midas.__file__).parents[1]), "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return out / f"{name}.npz"


def test_a_task_on_disk_hides_what_it_should(folder: Path) -> None:
    task = read_task(folder, "diagonal+paired")
    assert task.mdata.n_obs == task.truth.n_obs == 150
    assert list(task.mdata.obs.columns) == ["batch"]
    assert {m: mod.n_obs for m, mod in task.truth.mod.items()} == {"rna": 150, "adt": 150}
    assert task.mdata["rna"].n_obs == 100
    assert (task.origin == task.truth.obs_names).all()


def test_this_package_gives_every_kind_of_result(folder: Path, tmp_path: Path) -> None:
    file = run(folder, "midas", tmp_path, "--epochs", "2")
    with np.load(file) as arrays:
        assert arrays["embedding"].shape == (150, 32)
        assert len(arrays["latent_cells/adt"]) == 150  # hidden modalities are encoded from the truth
        assert arrays["translated/rna/adt"].shape == arrays["corrected/adt"].shape == (150, 6)
        assert np.isfinite(arrays["translated/adt/rna"]).all()
    found = scoring.score(SOURCES["sim"], "diagonal+paired", folder, file)
    assert set(found) >= {"overall", "batch", "bio", "scmib_overall", "imputed_rna_r_log1p_feature", "state_r2"}
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("name", ["knn", "ridge"])
def test_baselines_impute_from_what_cells_have(folder: Path, tmp_path: Path, name: str) -> None:
    file = run(folder, name, tmp_path)
    with np.load(file) as arrays:
        assert "embedding" not in arrays
        assert np.isfinite(arrays["imputed/adt"]).all()
        assert (arrays["cells"] == read_task(folder, "diagonal+paired").mdata.obs_names).all()
        content = dict(arrays)
    found = scoring.score(SOURCES["sim"], "diagonal+paired", folder, file)
    assert {score.split("_")[0] for score in found} == {"imputed"}  # no embedding, so nothing else
    assert 0.1 < found["imputed_adt_r_log1p_feature"] <= 1
    content["imputed/adt"] = np.random.default_rng(0).permutation(content["imputed/adt"])
    np.savez(file, **content)
    found = scoring.score(SOURCES["sim"], "diagonal+paired", folder, file)
    assert found["imputed_adt_r_log1p_feature"] < 0.1


def test_joined_components_are_zero_where_a_cell_lacks_a_modality(folder: Path, tmp_path: Path) -> None:
    task = read_task(folder, "diagonal+paired")
    with np.load(run(folder, "pca", tmp_path)) as arrays:
        z = arrays["embedding"]
    lacking = ~task.mdata.obs_names.isin(task.mdata["adt"].obs_names)
    empty = (z[lacking] == 0).all(0)
    assert empty.sum() == 5  # six proteins
    assert not (z[~lacking][:, empty] == 0).any()


def test_the_truth_scores_best_and_what_is_left_out_does_not_count(folder: Path, tmp_path: Path) -> None:
    task = read_task(folder, "diagonal+paired")
    true = np.asarray(task.truth["rna"].X.todense())
    cells = task.truth.obs_names.to_numpy(dtype=str)
    content = {
        "cells": cells,
        "imputed/rna": true[:, 3:9],
        "features/rna": task.truth["rna"].var_names[3:9].to_numpy(str),
    }
    content["imputed/rna"][0] = np.nan  # a cell that the method has nothing for
    state = np.asarray(task.truth.obsm["X_truth"])
    latent = np.where(np.arange(len(state))[:, None] < 7, np.nan, state)
    content |= {"latent/rna": latent, "latent/adt": state}
    np.savez(tmp_path / "true.npz", embedding=state @ np.diag(np.arange(1, state.shape[1] + 1)), **content)
    found = scoring.score(SOURCES["sim"], "diagonal+paired", folder, tmp_path / "true.npz")
    assert found["imputed_rna_r_log1p_feature"] == pytest.approx(1)
    assert found["state_r2"] > 0.99
    assert found["foscttm_score"] == 1
    assert found == metrics.evaluate(task, metrics.Result.load(tmp_path / "true.npz")).dropna().to_dict()


def test_panels_are_joined_by_name_and_remembered() -> None:
    from helpers import one  # noqa: PLC0415

    both = stacked([one(["a", "b"], ["g2", "g1"], "x"), one(["c"], ["g3", "g2"], "y", seed=1)])
    assert list(both.var_names) == ["g1", "g2", "g3"]
    assert both.var["measured_x"].tolist() == [True, True, False]
    assert both.var["measured_y"].tolist() == [False, True, True]
    assert both["a", "g2"].X.sum() == one(["a", "b"], ["g2", "g1"], "x")["a", "g2"].X.sum()
    assert both["c", "g1"].X.sum() == 0


@pytest.mark.skipif(real_folder() is None, reason="the data are not here")
@pytest.mark.parametrize("name", ["wnn", "bmmc", "asap"])
def test_real_sources_make_tasks(name: str, tmp_path: Path) -> None:
    source = SOURCES[name]
    settings = Settings(cells=60)
    shape = scoring.instrument(real_folder()).make(source, source.tasks[-1], settings, tmp_path)
    task = read_task(tmp_path, source.tasks[-1])
    assert shape.modalities == set(task.mdata.mod)
    assert task.labels is not None
    assert task.labels.nunique() > 1


@pytest.mark.skipif(real_folder() is None, reason="the data are not here")
def test_bone_marrow_is_a_mosaic_of_three_modalities() -> None:
    mdata = bone_marrow(real_folder())
    assert {name: mod.n_obs for name, mod in mdata.mod.items()} == {"rna": 1100, "adt": 600, "atac": 500}
    assert mdata["rna"].n_vars == 1000 + 1134 - 168
    assert mdata.obs["batch"].nunique() == 4
