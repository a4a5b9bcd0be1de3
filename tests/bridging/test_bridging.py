"""Modalities that no cells tie: matched where what is known of their genes allows it, left alone where it does not."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers import one
from midas import ADT, MIDAS, Config, Modality, Mosaic, TrainingConfig, simulate
from midas.bridging import bridged_by_genes, bridged_by_state, by_genes
from midas.bridging.genes import genes_of, in_common
from midas.bridging.groups import composed, untied, with_groups
from midas.bridging.matching import assigned, twice_assigned
from midas.cli import app
from midas.data.minibatch import gather
from midas.data.read import read_mosaic
from midas.io import write_mudata
from midas.training.plan import plan_training

PLAIN = simulate.SimulationConfig(
    mosaic=("rna", "adt"), n_cells=400, n_genes=200, n_proteins=40, n_types=4, branch=False, batch_strength=0.1,
    proportion_variation=0.1, link_strength=0.95, rna_depth=3000, adt_depth=2000, cell_noise=0.15, adt_background=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def diagonal() -> md.MuData:
    return simulate.mosaic(PLAIN, seed=1)


def types(mdata: md.MuData, names: pd.Index) -> np.ndarray:
    return mdata.obs["cell_type"].astype(str).reindex(names).to_numpy()


def test_matched_cells_are_of_one_type(diagonal: md.MuData) -> None:
    mosaic = read_mosaic(diagonal)
    whole, bridges = bridged_by_genes(mosaic, seed=0)
    (bridge,) = bridges
    assert set(bridge.modalities) == {"adt", "rna"}
    assert bridge.links.trusted
    a, b = (types(diagonal, mosaic.cells[cells]) for cells in bridge.cells.T)
    by_chance = sum((a == t).mean() * (b == t).mean() for t in set(a))
    assert (a == b).mean() > by_chance + 0.4
    assert whole.n_cells == mosaic.n_cells + len(bridge.cells)
    assert untied(mosaic)
    assert not untied(whole)


def test_matched_cells_are_drawn_with_their_batches_not_as_batches_of_their_own(diagonal: md.MuData) -> None:
    mosaic = read_mosaic(diagonal)
    whole = bridged_by_genes(mosaic, seed=0)[0]
    assert set(whole.model_batch) == {0, 1}
    by_batch = TrainingConfig(sampling="by_batch", batch_size=50)
    steps = [plan_training(data, by_batch, seed=0).steps_per_epoch for data in (mosaic, whole)]
    assert steps[0] == 8
    assert steps[1] <= 16  # one of the batches holds its own cells and all that were matched
    assert steps[1] == 2 * -(-int(np.bincount(whole.model_batch).max()) // 50)


def test_inspect_says_what_will_be_trained(
    diagonal: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_mudata(tmp_path / "in.h5mu", diagonal)
    result = CliRunner().invoke(app, ["inspect", "in.h5mu"], catch_exceptions=False)
    n = bridged_by_genes(read_mosaic(diagonal), seed=0)[0].n_cells
    assert n > diagonal.n_obs
    assert f"Would train on {n:,} cells" in result.stdout


def test_the_order_of_cells_and_features_changes_nothing(diagonal: md.MuData) -> None:
    rng = np.random.default_rng(0)
    with md.set_options(pull_on_update=False):
        shuffled = md.MuData(
            {name: a[rng.permutation(a.n_obs), rng.permutation(a.n_vars)].copy() for name, a in diagonal.mod.items()}
        )
    found = []
    for data in (diagonal, shuffled):
        mosaic = read_mosaic(data)
        pairs = bridged_by_genes(mosaic, seed=0)[1][0].cells
        found.append({tuple(mosaic.cells[pair]) for pair in pairs})
    assert found[0] == found[1]


def test_no_more_cells_are_put_together_than_help(diagonal: md.MuData, monkeypatch: pytest.MonkeyPatch) -> None:
    mosaic = read_mosaic(diagonal)
    monkeypatch.setattr(by_genes, "_MOST_GROUPS", 30)
    whole, bridges = bridged_by_genes(mosaic, seed=0)
    assert sum(len(bridge.cells) for bridge in bridges) > 30
    assert whole.n_cells == mosaic.n_cells + 30


def test_wrong_links_are_refused(diagonal: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    wrong = md.MuData({name: a.copy() for name, a in diagonal.mod.items()})
    wrong["adt"].var["gene"] = np.random.default_rng(0).permutation(wrong["rna"].var_names)[: wrong["adt"].n_vars]
    mosaic = read_mosaic(wrong)
    with caplog.at_level(logging.WARNING):
        whole, (bridge,) = bridged_by_genes(mosaic, seed=0)
    assert whole is mosaic
    assert len(bridge.cells) == 0
    assert "do not vary together" in caplog.text


def test_half_of_the_links_wrong_is_borne(diagonal: md.MuData) -> None:
    half = md.MuData({name: a.copy() for name, a in diagonal.mod.items()})
    gene = half["adt"].var["gene"].astype(str).to_numpy().copy()
    gene[::2] = np.random.default_rng(0).permutation(half["rna"].var_names)[: len(gene[::2])]
    half["adt"].var["gene"] = gene
    mosaic = read_mosaic(half)
    (bridge,) = bridged_by_genes(mosaic, seed=0)[1]
    a, b = (types(diagonal, mosaic.cells[cells]) for cells in bridge.cells.T)
    assert (a == b).mean() > 0.6
    right = np.isin(bridge.links.genes, [str(g).upper() for g in gene[1::2]])
    assert bridge.links.weight[right].mean() > 2 * bridge.links.weight[~right].mean()


def test_what_no_gene_links_is_said(diagonal: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    bare = md.MuData({name: a.copy() for name, a in diagonal.mod.items()})
    del bare["adt"].var["gene"]
    mosaic = read_mosaic(bare)
    with caplog.at_level(logging.WARNING):
        assert bridged_by_genes(mosaic, seed=0)[0] is mosaic
    assert 'var["gene"]' in caplog.text


@pytest.mark.parametrize("batches", [("rna+adt", "rna", "adt"), ("rna",), ("rna+adt",)])
def test_tied_modalities_are_left_alone(batches: tuple[str, ...]) -> None:
    mosaic = read_mosaic(simulate.mosaic(simulate.SimulationConfig(mosaic=batches, n_cells=200, n_genes=50), seed=0))
    whole, bridges = bridged_by_genes(mosaic, seed=0)
    assert whole is mosaic
    assert bridges == ()


def test_too_few_cells_are_left_alone() -> None:
    mosaic = read_mosaic(simulate.mosaic(simulate.SimulationConfig(mosaic=("rna", "adt"), n_cells=20), seed=0))
    assert bridged_by_genes(mosaic, seed=0)[0] is mosaic


def test_values_that_are_no_counts_can_be_matched(diagonal: md.MuData) -> None:
    rna = diagonal["rna"].copy()
    logged = np.log1p(np.asarray(diagonal["adt"].X.todense()))
    level = ad.AnnData(logged - logged.mean(0), obs=diagonal["adt"].obs.copy(), var=diagonal["adt"].var.copy())
    kinds = {"level": Modality("gaussian", "identity")}
    mosaic = read_mosaic({"rna": rna, "level": level}, modalities=kinds)
    (bridge,) = bridged_by_genes(mosaic, seed=0)[1]
    a, b = (types(diagonal, mosaic.cells[cells]) for cells in bridge.cells.T)
    assert (a == b).mean() > 0.6


def test_genes_come_from_the_data_then_from_names(diagonal: md.MuData) -> None:
    data = md.MuData({name: a.copy() for name, a in diagonal.mod.items()})
    data["adt"].var_names = ["CD3-UCHT1", "CD8a", *data["adt"].var_names[2:]]
    data["adt"].var["gene"] = ["", "MYGENE;OTHER", *[""] * (data["adt"].n_vars - 2)]
    mosaic = read_mosaic(data)
    of = dict(zip(mosaic.schema.modalities["adt"].features, genes_of(mosaic, "adt"), strict=True))
    assert "CD3E" in of["CD3-UCHT1"]
    assert of["CD8a"] == ("MYGENE", "OTHER")


@pytest.mark.parametrize(
    ("kind", "features", "genes"),
    [
        # A panel of its own, though zeros tell what was measured of it: CD3 is no antibody here.
        (Modality("poisson", "log1p", zero_means_unmeasured=True), ["CD3", "CD8a"], [("CD3",), ("CD8A",)]),
        (ADT, ["CD3", "nothing"], [("CD3E", "CD3D", "CD3G"), ("NOTHING",)]),
        (Modality("poisson", "log1p", blocks="chromosome"), ["CD3E", "MS4A1"], [("CD3E",), ("MS4A1",)]),
        (Modality("poisson", "log1p"), ["chr1:1-90", "chr2:1-90"], [(), ()]),
    ],
)
def test_what_a_modality_holds_is_told_by_what_it_is(
    kind: Modality, features: list[str], genes: list[tuple[str, ...]]
) -> None:
    data = {"rna": one(["a", "b"], ["g"], None), "mine": one(["a", "b"], features, None)}
    mosaic = read_mosaic(data, batch_key=None, modalities={"mine": kind})
    of = dict(zip(mosaic.schema.modalities["mine"].features, genes_of(mosaic, "mine"), strict=True))
    assert {name: set(of[name]) for name in features} == dict(zip(features, map(set, genes), strict=True))


def test_a_feature_stands_for_its_first_gene_that_both_have() -> None:
    first, second = in_common([("A", "B"), ("C",)], [("B",), ("X",), ("C", "B")])
    assert first.tolist() == ["B", "C"]
    assert second.tolist() == ["B", "", "C"]


def test_pairs_with_a_common_cell_become_one_cell() -> None:
    groups = composed([np.array([[0, 10], [1, 11]]), np.array([[0, 20], [2, 21]])])
    assert [sorted(group[group >= 0].tolist()) for group in groups] == [[0, 10, 20], [1, 11], [2, 21]]


def test_a_cell_of_several_pairs_is_part_of_several_cells() -> None:
    groups = composed([np.array([[0, 10], [0, 11]]), np.array([[0, 20], [0, 21], [0, 22]])])
    assert [sorted(group[group >= 0].tolist()) for group in groups] == [[0, 10, 20], [0, 11, 21], [0, 22]]


def test_frequent_types_of_one_side_are_not_paired_with_others() -> None:
    rng = np.random.default_rng(0)
    of_rows, of_columns = np.repeat([0, 1], [40, 20]), np.repeat([0, 1], [20, 40])
    similar = (of_rows[:, None] == of_columns) + rng.normal(scale=0.1, size=(60, 60))
    once, twice = (of_rows[i] == of_columns[j] for i, j in (assigned(similar), twice_assigned(similar)))
    assert once.mean() < 0.7
    assert twice.all()
    i, j = twice_assigned(similar[:, :30])
    assert set(i) == set(range(60))
    assert set(j) == set(range(30))
    assert np.bincount(i).max() <= 3  # once for itself, twice for columns


def test_put_together_cells_have_the_counts_and_panels_of_their_parts(diagonal: md.MuData) -> None:
    panel = md.MuData({name: a.copy() for name, a in diagonal.mod.items()})
    measured = np.arange(panel["adt"].n_vars) >= 5
    panel["adt"].var[f"measured_{panel['adt'].obs['batch'].iloc[0]}"] = measured
    mosaic = read_mosaic(panel)
    having = [np.flatnonzero(mosaic.modalities[name].present) for name in ("rna", "adt")]
    pairs = np.stack([cells[3:5] for cells in having], axis=1)
    whole = with_groups(mosaic, pairs)
    new = gather(whole, np.array([mosaic.n_cells, mosaic.n_cells + 1]))
    for name, column in (("rna", 0), ("adt", 1)):
        own = gather(mosaic, pairs[:, column], frozenset({name})).counts[name]
        made = new.counts[name]
        assert (made.dense("identity") == own.dense("identity")).all()
        assert (made.mask is None) == (own.mask is None)
    assert new.counts["adt"].mask is not None
    # The batch of the first part, then that of the second.
    assert new.batch.tolist() == [int(mosaic.batch[pairs[0, 0]]), int(mosaic.batch[pairs[1, 1]])]


def test_cells_are_matched_by_where_they_lie(diagonal: md.MuData) -> None:
    mosaic = read_mosaic(diagonal)
    label = pd.factorize(types(diagonal, mosaic.cells))[0]
    rng = np.random.default_rng(0)
    state = np.eye(label.max() + 1)[label] * 5 + rng.normal(size=(mosaic.n_cells, label.max() + 1)) * 0.1
    state[mosaic.batch == 1] += 3.0  # what is common to a batch does not count
    state[0] = np.nan
    whole = bridged_by_state(mosaic, state, seed=0)
    names = [name.split(" & ") for name in whole.cells[mosaic.n_cells :]]
    assert len(names) > 50
    assert np.mean([types(diagonal, pd.Index(pair))[0] == types(diagonal, pd.Index(pair))[1] for pair in names]) > 0.8


def test_a_diagonal_mosaic_is_aligned(diagonal: md.MuData) -> None:
    def agreement(*, bridge: bool) -> float:
        network = {"encoder": [64, 32], "decoder": [32, 64]}
        config = Config.from_dict({"network": network, "training": {"epochs": 80, "bridge": bridge}})
        model = MIDAS(diagonal, config=config).fit(progress=False)
        assert isinstance(model.mosaic, Mosaic)
        c, label, batch = model.latent(), types(diagonal, model.mosaic.cells), model.mosaic.batch
        near = np.argsort(((c[batch == 0][:, None] - c[batch == 1][None]) ** 2).sum(2), axis=1)[:, :5]
        return float((label[batch == 1][near] == label[batch == 0][:, None]).mean())

    assert agreement(bridge=True) > agreement(bridge=False) + 0.2
