"""How near a query's cells lie to the reference, and what is told of new types by it."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import simulated
from midas import MIDAS, Mosaic, keys, transfer
from midas.inference import encode
from midas.transfer.novelty import FAR, NEAR, Novelty, enough_near, far_off, mostly_far, novelty


def judged(reference: MIDAS, query: Mosaic) -> Novelty:
    return novelty(reference, query, encode(reference.vae, query, reference.modalities))


def test_nearness_is_a_share_of_the_references_own_cells(fitted: MIDAS, query: md.MuData) -> None:
    found = judged(fitted, fitted.read(query))
    assert ((found.nearness >= 0) & (found.nearness <= 1)).all()
    own = judged(fitted, fitted.read(simulated()))
    assert 0.3 < np.nanmean(own.nearness) < 1  # among all of the reference, not its other batches alone
    mapped = transfer.encode(fitted, query)
    np.testing.assert_array_equal(mapped.query.obs[keys.NEARNESS], found.nearness)


@pytest.mark.parametrize(
    ("near", "far", "enough"), [(20, 0, True), (19, 0, False), (30, 170, True), (29, 171, False), (0, 50, False)]
)
def test_enough_cells_must_lie_near(near: int, far: int, enough: bool) -> None:
    assert enough_near(np.r_[np.full(near, 0.9), np.full(far, 0.1), np.nan]) == enough


@pytest.mark.parametrize(
    ("near", "far", "doubt"), [(5, 0, False), (1, 4, False), (0, 5, True), (0, 0, False), (19, 1, True), (40, 0, False)]
)
def test_of_a_handful_of_cells_the_share_tells(near: int, far: int, doubt: bool) -> None:
    assert mostly_far(np.r_[np.full(near, 0.9), np.full(far, 0.1), np.nan]) == doubt


def test_cells_are_measured_by_those_that_lie_near(fitted: MIDAS) -> None:
    """Cells of a type of their own, nearly half of the query, do not move the scale."""

    def scores(rna: ad.AnnData) -> Novelty:
        return judged(fitted, fitted.read({"rna": rna}))

    known = simulated()["rna"]
    new = known.copy()
    new.X = new.X[:, ::-1].copy()
    new.obs_names = "new_" + new.obs_names
    known, new = known[scores(known).nearness > NEAR], new[scores(new).nearness < NEAR / 2]
    n = known.n_obs
    assert n >= 20
    assert new.n_obs > n / 2
    alone, both = scores(known.copy()), scores(ad.concat([known, new]))
    np.testing.assert_array_equal(both.nearness[:n], alone.nearness)
    np.testing.assert_allclose(both.score[:n], alone.score, atol=1e-5)
    assert both.score[n:].min() > FAR > both.score[:n].max()


def test_far_cells_are_unknown_where_others_lie_near_and_warned_of_where_none_do(
    fitted: MIDAS, query: md.MuData, caplog: pytest.LogCaptureFixture
) -> None:
    mapped = transfer.encode(fitted, query)
    rng = np.random.default_rng(0)
    table = mapped.cells.obs
    mine = (table[keys.ORIGIN] == "query").to_numpy()
    n = int(mine.sum())
    score = np.r_[rng.normal(0, 1, n - 5), np.full(5, FAR + 0.1)]
    for near, expected in ((np.full(n, 0.8), 5), (np.full(n, 0.1), 0)):
        table.loc[mine, keys.NOVELTY], table.loc[mine, keys.NEARNESS] = np.clip(score, None, FAR + 0.1), near
        labels = transfer.label_cells(mapped, "cell_type").table["cell_type_transferred"]
        assert (labels == "Unknown").sum() == expected
    caplog.clear()
    far = {name: adata[:25].copy() for name, adata in query.mod.items() if name == "rna"}
    far["rna"].X = far["rna"].X[:, ::-1].copy()
    transfer.encode(fitted, far)
    assert "lie as near to the reference as half of its own" in caplog.text


def test_labels_that_differ_from_cell_to_cell_are_doubted(
    fitted: MIDAS, query: md.MuData, caplog: pytest.LogCaptureFixture
) -> None:
    mapped = transfer.encode(fitted, query)
    table = mapped.cells.obs
    table["number"] = np.arange(len(table)).astype(float)
    table["cluster"] = pd.Series(np.arange(len(table)) % 3, table.index).where(np.arange(len(table)) > 5)
    labels = transfer.label_cells(mapped, "cluster").table["cluster_transferred"]
    assert set(labels) <= {"0", "1", "2", "Unknown"}  # not 1.0
    assert "labels for" not in caplog.text
    transfer.label_cells(mapped, "number")
    assert "has 120 labels for 120 cells: are these types" in caplog.text


@pytest.mark.parametrize(("together", "told"), [(True, 30), (False, 0)])
def test_cells_beyond_the_reference_are_told_where_they_are_a_group(together: bool, told: int) -> None:
    rng = np.random.default_rng(0)
    c = rng.normal(size=(330, 4)).astype(np.float32)
    far = np.arange(330) < 30
    c[far & together] += 20
    c[-1] = np.nan
    found = far_off(np.where(far, 0.01, 0.5), c)
    assert found.sum() == told
    assert (found <= far).all()
    assert not far_off(np.array([0.01, np.nan]), c[:2]).any()
