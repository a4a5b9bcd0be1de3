"""The simulated truth can be found again in the counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from small import SMALL, knn_accuracy, log_normalised, with_changes

from midas.simulate import Simulation, mosaic


def test_types_are_found_by_neighbours_but_not_perfectly(simulation: Simulation) -> None:
    full, kind = simulation.full, simulation.full.obs["cell_type"]
    truth = knn_accuracy(full.obsm["X_truth"], kind)
    assert 0.9 < truth < 1
    one = (full.obs["batch"] == "batch1").to_numpy()
    rna = PCA(20, random_state=0).fit_transform(log_normalised(full["rna"].X[one]))
    adt = PCA(20, random_state=0).fit_transform(np.log1p(full["adt"].X[one].toarray()))
    most_common = kind[one].value_counts(normalize=True).iloc[0]
    assert most_common < 0.4
    assert 0.8 < knn_accuracy(rna, kind[one]) < 1
    assert 0.75 < knn_accuracy(adt, kind[one]) < 1
    atac = PCA(20, random_state=0).fit_transform(full["atac"].X.toarray())
    assert 0.55 < knn_accuracy(atac, kind) < 0.98


def test_types_of_a_lineage_are_closer(simulation: Simulation) -> None:
    obs = simulation.full.obs
    centres = pd.DataFrame(simulation.full.obsm["X_truth"], index=obs.index).groupby(obs["cell_type"], observed=True)
    positions = centres.mean().to_numpy()
    lineage = obs.groupby("cell_type", observed=True)["lineage"].first().to_numpy()
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    same = lineage[:, None] == lineage[None]
    off_diagonal = ~np.eye(len(lineage), dtype=bool)
    assert len(set(lineage)) == 2
    assert distance[same & off_diagonal].mean() < 0.9 * distance[~same].mean()


def test_the_branch_runs_from_progenitor_to_two_ends(simulation: Simulation) -> None:
    obs, state = simulation.full.obs, simulation.full.obsm["X_truth"]
    position = obs["branch_position"]
    on_branch = obs["cell_type"].isin(["progenitor", "mature_a", "mature_b"])
    assert (position.notna() == on_branch).all()
    assert position.min() >= 0
    assert position.max() <= 1
    assert position[obs["cell_type"] == "progenitor"].max() < position[obs["cell_type"] == "mature_a"].min() + 0.01
    # No gap: neighbours along each arm are close.
    assert np.diff(np.sort(position[on_branch])).max() < 0.03
    start = state[(position < 0.05).to_numpy()].mean(0)
    ends = {}
    for end in ("mature_a", "mature_b"):
        arm = (obs["cell_type"].isin(["progenitor", end])).to_numpy()
        ends[end] = state[((obs["cell_type"] == end) & (position > 0.9)).to_numpy()].mean(0)
        along = (state[arm] - start) @ (ends[end] - start)
        assert stats.spearmanr(along, position[arm]).statistic > 0.85
    apart = np.linalg.norm(ends["mature_a"] - ends["mature_b"])
    assert apart > 0.5 * np.linalg.norm(ends["mature_a"] - start)


def test_no_branch_when_not_asked_for() -> None:
    mdata = mosaic(with_changes(SMALL, branch=False, n_types=2), seed=0)
    assert mdata.obs["branch_position"].isna().all()
    assert list(mdata.obs["cell_type"].cat.categories) == ["type1", "type2"]


def test_a_branch_alone_is_one_lineage() -> None:
    obs = mosaic(with_changes(SMALL, n_types=3), seed=0).obs
    assert set(obs["cell_type"]) == {"progenitor", "mature_a", "mature_b"}
    assert set(obs["lineage"]) == {"lineage1"}
    assert obs["branch_position"].notna().all()


@pytest.mark.parametrize(("name", "least"), [("adt", 0.5), ("atac", 0.3)])
def test_linked_features_follow_their_genes(simulation: Simulation, name: str, least: float) -> None:
    full = simulation.full
    batch = full.obs["batch"].astype(str)
    groups = full.obs["cell_type"].astype(str) + (full.obs["branch_position"] > 0.7).astype(str)

    def profiles(modality: str) -> pd.DataFrame:
        """Mean share of each well covered feature in each group of cells, without the batches' effects."""
        counts = pd.DataFrame(full[modality].X.toarray(), index=full.obs_names, columns=full[modality].var_names)
        counts = counts.loc[:, counts.mean() > 0.1 * counts.mean().mean()]
        shares = np.log(counts.div(counts.sum(axis=1), axis=0).groupby([batch, groups]).mean() + 1e-5)
        return shares - shares.groupby("batch").transform("mean")

    genes, features = profiles("rna"), profiles(name)
    link = full[name].var["gene"].loc[features.columns]
    markers = genes.columns[genes.std() > genes.std().quantile(0.7)]  # others do not vary, whatever is linked
    link = link[link.isin(markers)]
    a, b = features[link.index].to_numpy(), genes[link].to_numpy()
    correlation = np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])
    shuffled = np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, np.roll(b, 3, axis=1).T, strict=True)])
    assert correlation.mean() > least
    assert abs(shuffled.mean()) < 0.5 * correlation.mean()
