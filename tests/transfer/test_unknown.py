"""Two humps are cut, one is not."""

from __future__ import annotations

import sys
import types

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from midas import keys
from midas.transfer import cut, share_of_query


def test_two_humps_are_cut_between_them() -> None:
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(0, 1, 800), rng.normal(8, 1, 200)])
    found = cut(score)
    assert 3 < found.threshold < 6
    assert found.separation == pytest.approx(8, abs=0.6)  # Ashman's D of the truth
    assert ((score > found.threshold) == (np.arange(1000) >= 800)).mean() > 0.995


def test_the_cut_lies_where_the_components_cross() -> None:
    rng = np.random.default_rng(1)
    score = np.concatenate([rng.normal(0, 1, 20_000), rng.normal(6, 1, 20_000)])
    assert cut(score).threshold == pytest.approx(3, abs=0.1)  # equal weights and spreads: midway


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "shape",
    ["normal", "skewed", "uniform"],
)
def test_one_hump_is_not_cut(seed: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    draw = {"normal": rng.normal, "uniform": rng.uniform, "skewed": lambda size: rng.gamma(4.0, 1.0, size)}[shape]
    score = draw(size=1000)
    found = cut(score)
    assert found.separation < 4.0
    assert found.threshold == np.inf


@pytest.mark.parametrize(("above", "apart", "is_cut"), [(150, 4.6, True), (450, 4.6, False), (450, 6.0, True)])
def test_many_cells_are_unknown_only_if_they_are_far_apart(above: int, apart: float, is_cut: bool) -> None:
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(0, 1, 1000 - above), rng.normal(apart, 1, above)])
    assert np.isfinite(cut(score).threshold) == is_cut
    assert np.isfinite(cut(score, separation=0).threshold)


def test_the_guard_may_be_taken_away() -> None:
    assert np.isfinite(cut(np.random.default_rng(0).normal(size=500), separation=0).threshold)


@pytest.mark.parametrize(
    "score", [np.full(50, np.nan), np.array([]), np.zeros(100), np.r_[np.zeros(10), np.full(10, 9.0)]]
)
def test_scores_that_tell_nothing_are_not_cut(score: np.ndarray) -> None:
    assert cut(score) == cut(score[::-1])
    assert cut(score).threshold == np.inf


def test_missing_scores_are_left_out() -> None:
    score = np.concatenate([np.random.default_rng(0).normal(0, 1, 400), np.random.default_rng(1).normal(9, 1, 99)])
    assert cut(np.insert(score, [0, 50, 100], np.nan)) == cut(score)


class _Layout:
    """Stands for a UMAP, whose compiling takes minutes."""

    def __init__(self, **_: object) -> None:
        pass

    def fit_transform(self, latent: np.ndarray) -> np.ndarray:
        assert np.isfinite(latent).all()
        return latent[:, :2]


def test_cells_of_a_new_type_lie_among_query_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=_Layout))
    rng = np.random.default_rng(0)
    centre = np.eye(6)[:2] * 12
    new = np.repeat([0, 1], [310, 60])  # the last 60 cells are of a type that the reference lacks
    c = centre[new] + rng.normal(size=(370, 6))
    c[260] = np.nan
    obs = pd.DataFrame({keys.ORIGIN: ["reference"] * 250 + ["query"] * 120}, index=[f"c{i}" for i in range(370)])
    share = share_of_query(AnnData(obs=obs, obsm={keys.LATENT: c.astype(np.float32)}), n_neighbors=40)
    assert share.shape == (120,)
    assert np.isnan(share[10])
    assert np.isnan(share).sum() == 1
    assert np.nanmean(share[:60]) < 0.4
    assert share[60:].mean() > 0.95


def test_a_wide_component_that_is_never_the_likelier_cuts_nothing() -> None:
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(0, 1, 950), rng.normal(0.5, 3, 50)])
    found = cut(score, separation=0)
    assert (score > found.threshold).mean() < 0.1
