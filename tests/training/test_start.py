"""Before the first step, decoders expect the data's means."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import joined, names, one, tiny
from midas import MIDAS, Config, Mosaic
from midas.data.minibatch import Minibatch, gather
from midas.decoding import States, decode
from midas.training import start as module
from midas.training.start import start


def expected(model: MIDAS, name: str, z: np.ndarray) -> np.ndarray:
    columns = np.arange(model.schema.modalities[name].n_features)
    return np.concatenate(list(decode(model.vae, model.schema, States(z), name, columns)))


def zeros(model: MIDAS, n: int = 1) -> np.ndarray:
    return np.zeros((n, model.config.network.dim_z), dtype=np.float32)


@pytest.mark.parametrize("name", ["rna", "adt", "atac"])
def test_chosen_features_start_at_their_means_whatever_z_is(name: str, mdata: md.MuData) -> None:
    model = MIDAS(mdata, config=tiny())
    assert model.mosaic is not None
    chosen = {m: np.arange(part.n_features) % 2 == 0 for m, part in model.schema.modalities.items()}
    z = np.random.default_rng(0).normal(size=(5, model.config.network.dim_z)).astype(np.float32)
    before = expected(model, name, z)
    start(model.vae, model.mosaic, "means", chosen)
    found = expected(model, name, z)
    part = mdata[name][:, model.schema.modalities[name].features]
    values = part.X > 0 if name == "atac" else part.X
    means = np.clip(np.asarray(values.mean(0)).ravel(), 1 / (part.n_obs + 1), None)
    np.testing.assert_allclose(found[:, chosen[name]], np.tile(means[chosen[name]], (5, 1)), rtol=1e-4)
    np.testing.assert_array_equal(found[:, ~chosen[name]], before[:, ~chosen[name]])


def test_features_that_a_batch_lacks_do_not_count_there() -> None:
    genes = names("g", 6)
    cells = [*names("a", 40), *names("b", 400)]
    rna = one(cells, genes, ["all"] * 40 + ["half"] * 400, rate=4.0)
    rna.X = rna.X.toarray()
    rna.X[40:, 3:] = 0
    flags = pd.DataFrame([[True] * 6, [True] * 3 + [False] * 3], index=["all", "half"], columns=genes)
    model = MIDAS(joined({"rna": rna}), measured={"rna": flags}, config=tiny())
    assert model.mosaic is not None
    start(model.vae, model.mosaic, "means", {"rna": np.ones(6, dtype=bool)})
    np.testing.assert_allclose(expected(model, "rna", zeros(model)), 4.0, atol=0.8)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Cells whose counts are read, as they are asked for."""
    asked: list[np.ndarray] = []

    def noted(mosaic: Mosaic, cells: np.ndarray, only: frozenset[str]) -> Minibatch:
        asked.append(cells)
        return gather(mosaic, cells, only)

    monkeypatch.setattr(module, "gather", noted)
    return asked


def test_many_cells_are_represented_by_runs_from_all_over(
    read: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_RUN", 5), ("_MOST", 20), ("_FEWEST", 5)):
        monkeypatch.setattr(module, name, value)
    rna = one([f"c{i:04}" for i in range(1_000)], names("g", 3))
    rna.X = np.tile(np.arange(1.0, 1_001)[:, None], 3)  # rises from the first cell to the last
    model = MIDAS(joined({"rna": rna}), config=tiny())
    assert model.mosaic is not None
    start(model.vae, model.mosaic, "means", {"rna": np.ones(3, dtype=bool)})
    (cells,) = read
    assert len(cells) == len(np.unique(cells)) == 20
    assert (np.diff(cells.reshape(4, 5)) == 1).all()
    assert (cells[0], cells[-1]) == (0, 999)
    np.testing.assert_allclose(expected(model, "rna", zeros(model)), rna.X.mean(), rtol=1e-3)


@pytest.mark.parametrize("name", ["rna", "atac"])
def test_what_only_a_small_batch_measured_starts_at_its_own_means(name: str) -> None:
    shared, own = [f"chr1:{i}-{i + 1}" for i in range(1, 9)], [f"chr2:{i}-{i + 1}" for i in range(1, 5)]
    data = {
        batch: joined({name: one(names(batch, n), features, None, seed=i)})
        for i, (batch, n, features) in enumerate([("a", 1518, shared), ("b", 24, [*shared, *own]), ("c", 1518, shared)])
    }
    model = MIDAS(data, config=tiny())
    assert model.mosaic is not None
    start(model.vae, model.mosaic, "means", {name: np.ones(12, dtype=bool)})
    found = dict(zip(model.schema.modalities[name].features, expected(model, name, zeros(model))[0], strict=True))
    alone = data["b"][name][:, own].X.toarray()
    means = np.clip((alone > 0 if name == "atac" else alone).mean(0), 1 / 25, 24 / 25 if name == "atac" else None)
    np.testing.assert_allclose([found[feature] for feature in own], means, rtol=1e-4)
    # Of what all measured, the small batch has a small part.
    whole = np.concatenate([part[name][:, shared].X.toarray() for part in data.values()])
    means = (whole > 0 if name == "atac" else whole).mean(0)
    np.testing.assert_allclose([found[feature] for feature in shared], means, rtol=0.1)


def test_what_no_batch_measured_starts_rare() -> None:
    data = one(names("c", 40), names("g", 12), ["a"] * 20 + ["b"] * 20)
    unknown = pd.DataFrame(False, index=["a", "b"], columns=["g3", "g7"])
    model = MIDAS(joined({"rna": data}), measured={"rna": unknown}, config=tiny())
    assert model.mosaic is not None
    start(model.vae, model.mosaic, "means", {"rna": np.ones(12, dtype=bool)})
    features = model.schema.modalities["rna"].features
    found = pd.Series(expected(model, "rna", zeros(model))[0], index=features)
    np.testing.assert_allclose(found[["g3", "g7"]], 1e-3, rtol=1e-4)
    assert found.drop(["g3", "g7"]).between(1, 3).all()
    depth = model.vae.encoder.inputs["rna"].depth
    assert depth is not None
    np.testing.assert_allclose(depth.profile.numpy(), found, rtol=1e-4)


def test_cells_on_disk_that_are_read_in_the_order_of_storage_are_sampled_in_it(
    read: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    rna = one([f"c{i:02}" for i in range(10)][::-1], names("g", 3), ["b", "a"] * 5)
    model = MIDAS(joined({"rna": rna}), config=tiny())
    assert model.mosaic is not None
    start(model.vae, model.mosaic, "random")
    assert model.mosaic.cells[np.concatenate(read)].tolist() == [f"c{i:02}" for i in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)]
    read.clear()
    monkeypatch.setattr(module, "scattered", lambda *_: True)
    start(model.vae, model.mosaic, "random")
    assert np.concatenate(read).tolist() == [1, 3, 5, 7, 9, 0, 2, 4, 6, 8]


def test_training_from_the_means_is_ahead_from_the_first_epoch(mdata: md.MuData) -> None:
    means, random = (MIDAS(mdata, config=tiny(init=how)).fit(progress=False) for how in ("means", "random"))
    for name in ("rna", "adt", "atac"):
        of_means, of_random = (m.history[f"reconstruction_{name}"].iloc[0] for m in (means, random))
        assert of_means < of_random


def test_a_model_that_goes_on_keeps_what_it_has_learned(mdata: md.MuData, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MIDAS(mdata, config=tiny()).fit(progress=False)
    monkeypatch.setattr("midas.model.start", pytest.fail)
    before = model.history["total"].iloc[0]
    model.fit(progress=False)
    assert model.history["total"].iloc[0] < before


def test_the_published_set_up_starts_at_random() -> None:
    assert Config.paper().training.init == "random"
    assert Config().training.init == "means"
