"""A model reads all data as its own were read, and says where that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import tiny
from midas import MIDAS, Modality, read_mosaic


@pytest.fixture
def renamed(mdata: md.MuData) -> md.MuData:
    """Batches in another column, a decoy in the usual one, counts in a layer."""
    found = mdata.copy()
    found.obs["donor"], found.obs["batch"] = found.obs["batch"].astype(str), "run"
    for adata in found.mod.values():
        adata.obs["donor"], adata.obs["batch"] = adata.obs["batch"].astype(str), "run"
        adata.layers["raw"], adata.X = adata.X, adata.X * 0 + adata.X.multiply(2)
    return found


MEASURED = {"rna": pd.DataFrame(False, index=["batch1"], columns=["gene1", "gene2"])}


@pytest.mark.parametrize(
    "said",
    [{"batch_key": "donor"}, {"batch_key": "donor", "layer": "raw"}, {"batch_key": "donor", "layer": {"rna": "raw"}}],
    ids=["column", "layer", "layer by modality"],
)
def test_a_mosaic_tells_the_model_how_it_was_read(said: dict[str, Any], renamed: md.MuData) -> None:
    model = MIDAS(read_mosaic(renamed, **said), config=tiny()).fit(progress=False)
    assert (model.batch_key, model.layer) == ("donor", said.get("layer"))
    np.testing.assert_array_equal(model.latent(renamed), model.latent())
    np.testing.assert_array_equal(model.latent(model.read(renamed)), model.latent())


def test_what_a_batch_did_not_measure_travels_with_the_mosaic_and_with_the_model(
    mdata: md.MuData, tmp_path: Path
) -> None:
    measured = {"rna": pd.DataFrame(False, index=["batch1"], columns=mdata["rna"].var_names[:15])}
    model = MIDAS(read_mosaic(mdata, measured=measured), config=tiny()).fit(progress=False)
    np.testing.assert_array_equal(model.latent(mdata), model.latent())
    model.save(tmp_path / "model")
    again = MIDAS.load(tmp_path / "model", mdata)
    np.testing.assert_array_equal(again.latent(), model.latent())
    otherwise = MIDAS.load(tmp_path / "model", mdata, measured={})
    assert not np.allclose(otherwise.latent(), model.latent())


@pytest.mark.parametrize(
    "said",
    [
        {"batch_key": None},
        {"batch_key": "donor"},
        {"layer": "raw"},
        {"measured": MEASURED},
        {"modalities": {"adt": Modality("negative_binomial", "log1p")}},
    ],
    ids=["no column", "column", "layer", "measured", "modalities"],
)
def test_what_contradicts_the_mosaic_is_refused(said: dict[str, Any], mdata: md.MuData) -> None:
    (name,) = said
    with pytest.raises(ValueError, match=f"Expected {name} to be left out, as the Mosaic was read with {name}="):
        MIDAS(read_mosaic(mdata), config=tiny(), **said)


def test_batches_of_which_the_model_knows_none_are_noted(
    fitted: MIDAS, mdata: md.MuData, caplog: pytest.LogCaptureFixture
) -> None:
    fitted.latent(mdata)
    assert "None of the batches" not in caplog.text
    for adata in (mdata, *mdata.mod.values()):
        adata.obs["batch"] = "new_" + adata.obs["batch"].astype(str)
    fitted.latent(mdata)
    assert "None of the batches ('new_batch1', " in caplog.text
    assert "that the model knows ('batch1', " in caplog.text
