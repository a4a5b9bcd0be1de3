"""Seeds: every one that torch takes will do everywhere."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import simulated, tiny
from midas import MIDAS, diagnose, keys, metrics, neighbours, plane, tl
from midas.bridging import bridged_by_genes
from midas.data.read import read_mosaic
from midas.expect import sklearn_seed
from midas.metrics.scmib import feature_space
from midas.reporting.content import _clusters
from midas.sample import representative

LARGE = 2**40 + 3
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(120, 3)).astype(np.float32)


def test_seeds_that_are_small_enough_stay() -> None:
    assert [sklearn_seed(seed) for seed in (0, 7, 2**32 - 1, LARGE)] == [0, 7, 2**32 - 1, 3]


def test_large_seeds_in_metrics() -> None:
    types = np.tile(["a", "b"], 60)
    assert 0 <= metrics.label_predictability(Z, types, seed=LARGE) <= 1
    assert metrics.linear_r2(Z, Z, seed=LARGE) == pytest.approx(1)
    assert feature_space(Z, n_components=2, seed=LARGE).shape == (120, 2)


def test_large_seeds_where_cells_are_grouped() -> None:
    assert _clusters(Z, LARGE).shape == (120,)
    cells = ad.AnnData(obs=pd.DataFrame({keys.BATCH: "a"}, index=[f"c{i}" for i in range(120)]), obsm={keys.LATENT: Z})
    assert len(representative(cells, np.arange(120), 20, LARGE)) == 20
    peaks = (RNG.random((120, 30)) < np.repeat([0.1, 0.9], 60)[:, None]).astype(np.float32)
    found = tl.low_accessibility(ad.AnnData(peaks, obs=pd.DataFrame({"type": ["T"] * 120})), "type", seed=LARGE)
    assert found.low.shape == (120,)


def test_large_seeds_in_pseudotime() -> None:
    pytest.importorskip("scanpy")
    assert np.isfinite(tl.pseudotime(ad.AnnData(Z, obsm={"X_midas": Z}), "0", seed=LARGE)).all()


def test_large_seeds_in_layouts_and_in_the_search_of_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries take minutes to compile: what they are given is looked at."""
    given = []

    def layout(**options: object) -> SimpleNamespace:
        given.append(options["random_state"])
        return SimpleNamespace(fit_transform=lambda z: z[:, :2])

    def index(_: object, **options: object) -> SimpleNamespace:
        given.append(options["random_state"])
        return SimpleNamespace(prepare=lambda: None, neighbor_graph=(np.zeros((120, 3)), np.zeros((120, 3))))

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=layout))
    monkeypatch.setitem(sys.modules, "pynndescent", SimpleNamespace(NNDescent=index))
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 100)
    plane.umap_of(Z, LARGE)
    neighbours.Index(Z, seed=LARGE).of_points(3)
    assert given == [3, 3]


def test_a_large_seed_from_diagonal_data_to_diagnostics() -> None:
    mdata: md.MuData = simulated(mosaic=("rna", "adt"), unpaired_fraction=0.0, n_cells=160)
    bridged_by_genes(read_mosaic(mdata), seed=LARGE)
    model = MIDAS(mdata, config=tiny(), seed=LARGE).fit(progress=False)
    assert diagnose(model, seed=LARGE).index[0] == "batch"
