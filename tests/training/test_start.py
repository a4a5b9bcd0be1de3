"""Before the first step, decoders expect the data's means."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import joined, names, one, tiny
from midas import MIDAS, Config
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


def test_many_cells_are_represented_by_runs_from_all_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUNS", 4)
    monkeypatch.setattr(module, "_CELLS_IN_A_RUN", 5)
    cells = np.arange(1000) * 3
    some = module._some(cells)
    assert len(some) == 20
    assert np.isin(some, cells).all()
    assert some[0] == 0
    assert some[-1] == 2997
    np.testing.assert_array_equal(module._some(cells[:20]), cells[:20])


def test_training_from_the_means_is_ahead_from_the_first_epoch(mdata: md.MuData) -> None:
    means, random = (MIDAS(mdata, config=tiny(start=how)).fit(progress=False) for how in ("means", "random"))
    for name in ("rna", "adt", "atac"):
        of_means, of_random = (m.history[f"reconstruction_{name}"].iloc[0] for m in (means, random))
        assert of_means < of_random


def test_a_model_that_goes_on_keeps_what_it_has_learned(mdata: md.MuData, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MIDAS(mdata, config=tiny()).fit(progress=False)
    monkeypatch.setattr("midas.model.start", pytest.fail)
    before = model.history["total"].iloc[-1]
    model.fit(progress=False)
    assert model.history["total"].iloc[0] < before


def test_the_published_set_up_starts_at_random() -> None:
    assert Config.paper().training.start == "random"
    assert Config().training.start == "means"
