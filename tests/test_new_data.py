"""New cells of a trained model, and a model of awkward data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import joined, names, one, tiny
from midas import MIDAS, Modality
from midas.data import MosaicData
from midas.data.read import read_for_model
from midas.inference import encode
from networks import values


def test_some_of_the_cells_come_out_as_among_all(fitted: MIDAS, mdata: md.MuData) -> None:
    some = mdata[::-3]
    assert some.obs_names.tolist() == mdata.obs_names[::-3].tolist()
    np.testing.assert_allclose(fitted.latent(some), fitted.latent()[::-3], rtol=1e-4, atol=1e-5)
    found = fitted.impute("adt", some)
    np.testing.assert_allclose(values(found), values(fitted.impute("adt"))[::-3], rtol=1e-4)


def test_cells_of_an_unknown_batch_are_encoded_without_batch(fitted: MIDAS, mdata: md.MuData) -> None:
    rna = mdata["rna"].copy()
    known = fitted.latent({"rna": rna})
    rna.obs["batch"] = "elsewhere"
    found = fitted.latent({"rna": rna})
    assert np.isfinite(found).all()
    assert not np.allclose(found, known)
    rna.obs["batch"] = np.where(np.arange(rna.n_obs) % 2, "elsewhere", mdata["rna"].obs["batch"].astype(str))
    mixed = fitted.latent({"rna": rna})
    np.testing.assert_allclose(mixed[1::2], found[1::2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mixed[::2], known[::2], rtol=1e-4, atol=1e-5)


def test_missing_features_are_masked_reported_and_imputed(
    fitted: MIDAS, mdata: md.MuData, caplog: pytest.LogCaptureFixture
) -> None:
    rna = mdata["rna"]
    kept, lost = rna.var_names[:20], rna.var_names[20:]
    query = rna[:, kept[::-1]].copy()
    found = fitted.impute("rna", {"rna": query})
    assert "20 of the model's 30 features found, 10 are missing (masked) and 0 are unknown" in caplog.text
    assert found.var_names.tolist() == [*kept[::-1], *sorted(lost)]
    assert np.isfinite(values(found)).all()
    others = rna.copy()  # counts where nothing was measured are not looked at
    others.X = np.where(rna.var_names.isin(kept), rna.X.toarray(), 9)
    hidden = {"rna": pd.DataFrame(False, index=list(fitted.schema.batches), columns=lost)}
    told = read_for_model({"rna": others}, measured=hidden, schema=fitted.schema)
    expected = encode(fitted.vae, told, fitted.modalities).mean[:, : fitted.config.network.dim_c]
    np.testing.assert_allclose(fitted.latent({"rna": query}), expected, rtol=1e-4, atol=1e-5)


def test_features_unknown_to_the_model_change_nothing(fitted: MIDAS, mdata: md.MuData) -> None:
    rna = mdata["rna"]
    more = ad.concat([one(rna.obs_names.tolist(), ["strange1", "strange2"], None, rate=50), rna], axis=1)
    more.obs["batch"] = rna.obs["batch"]
    np.testing.assert_allclose(fitted.latent({"rna": more}), fitted.latent({"rna": rna}), rtol=1e-4, atol=1e-5)
    fitted.annotate(alone := joined({"rna": more}), impute=["rna"])
    layer = pd.DataFrame(alone["rna"].layers["imputed"], columns=more.var_names)
    assert layer[["strange1", "strange2"]].isna().to_numpy().all()
    assert layer[rna.var_names].notna().to_numpy().all()


def test_what_was_said_of_measured_features_holds_when_the_data_come_again(mdata: md.MuData, tmp_path: Path) -> None:
    genes = mdata["rna"].var_names[:15]
    measured = {"rna": pd.DataFrame(False, index=["batch1", "batch3"], columns=genes)}
    model = MIDAS(mdata, measured=measured, config=tiny()).fit(progress=False)
    ignorant = MIDAS(mdata, config=tiny()).fit(progress=False)
    assert not np.allclose(model.latent(), ignorant.latent())
    np.testing.assert_array_equal(model.latent(mdata), model.latent())
    first = mdata[(mdata.obs["batch"] == "batch1").to_numpy()]  # lacks a batch of the table
    np.testing.assert_allclose(
        model.latent(first), model.latent()[mdata.obs["batch"] == "batch1"], rtol=1e-4, atol=1e-5
    )
    model.save(tmp_path / "model")
    again = MIDAS.load(tmp_path / "model", mdata, measured=measured)
    np.testing.assert_array_equal(again.latent(), model.latent())


CELLS = names("c", 40)
BATCH = ["b1"] * 20 + ["b2"] * 20


def padded() -> MosaicData:
    adt = one(CELLS, names("p", 4), BATCH, seed=1)
    adt.X = adt.X.toarray() * (np.array(BATCH) == "b1")[:, None]
    return {"rna": one(CELLS, names("g", 6), BATCH), "adt": adt}


AWKWARD: dict[str, tuple[Callable[[], MosaicData], dict[str, object]]] = {
    "one modality": (lambda: one(CELLS, names("g", 6), BATCH), {}),
    "peaks only": (lambda: one(CELLS, [f"chr{i % 2}-{i}-{i + 1}" for i in range(60)], BATCH), {}),
    "one batch": (lambda: {"rna": one(CELLS, names("g", 6)), "adt": one(CELLS, names("p", 4))}, {}),
    "no batch column": (lambda: one(CELLS, names("g", 6), None), {"batch_key": None}),
    "a batch of five cells": (lambda: one(CELLS, names("g", 6), ["b1"] * 35 + ["b2"] * 5), {}),
    "a single cell": (lambda: one(["c"], names("g", 6)), {}),
    "one feature": (lambda: {"rna": one(CELLS, names("g", 6), BATCH), "adt": one(CELLS, ["p"], BATCH)}, {}),
    "no two modalities in a cell": (
        lambda: {"rna": one(CELLS[:20], names("g", 6), "b1"), "adt": one(CELLS[20:], names("p", 4), "b2")},
        {},
    ),
    "features by batch": (
        lambda: {"b1": one(CELLS, names("g", 6), None), "b2": one(CELLS, names("g", 3), None, seed=1)},
        {},
    ),
    "zeros for a modality": (padded, {}),
    "barcodes used twice": (lambda: one([*CELLS[:20], *CELLS[:20]], names("g", 6), BATCH), {}),
    "real values": (
        lambda: {"metabolome": one(CELLS, names("m", 5), BATCH)},
        {"modalities": {"metabolome": Modality("gaussian", "identity")}},
    ),
    "overdispersed counts": (
        lambda: {"rna": one(CELLS, names("g", 5), BATCH)},
        {"modalities": {"rna": Modality("negative_binomial", "log1p", weight=0.5)}},
    ),
}


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize("name", AWKWARD)
def test_a_model_can_be_made_of_awkward_data(name: str) -> None:
    make, options = AWKWARD[name]
    data = make()
    model = MIDAS(data, config=tiny(batch_size=16), **options).fit(progress=False)  # type: ignore[arg-type]
    assert model.mosaic is not None
    assert np.isfinite(model.latent(part="z")).all()
    for modality in model.modalities:
        for found in (model.impute(modality), model.correct(modality, sample=True)):
            assert found.shape == (model.mosaic.n_cells, model.schema.modalities[modality].n_features)
            assert np.isfinite(values(found)).all()
    np.testing.assert_array_equal(model.latent(data), model.latent())


def test_features_in_another_order_are_the_same_features(fitted: MIDAS, mdata: md.MuData) -> None:
    adt = mdata["adt"]
    found = fitted.impute("adt", {"adt": adt[:, ::-1].copy()})
    assert found.var_names.tolist() == adt.var_names[::-1].tolist()
    np.testing.assert_allclose(values(found)[:, ::-1], values(fitted.impute("adt", {"adt": adt})), rtol=1e-4)
