"""A query is read as the reference's own data were, and the order and place of the reference have no say in what comes of it."""

from __future__ import annotations

from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import joined, simulated, tiny
from midas import MIDAS, ModelFileError
from midas.transfer import Query, TransferConfig, encode, label_cells, reciprocal, transfer_model

QUICK = TransferConfig(step_fraction=0.01, discriminator_warmup_steps=1)


def told_otherwise(mdata: md.MuData) -> md.MuData:
    """The same counts in a layer, batches in another column, and something else where both are by default."""
    parts = {}
    for name, part in mdata.mod.items():
        parts[name] = part.copy()
        parts[name].layers["counts"] = part.X.copy()
        parts[name].X = (part.X > 0).astype(np.float32)
        parts[name].obs["donor"] = part.obs["batch"].astype(str)
        parts[name].obs["batch"] = "lane"
    return joined(parts)


def test_a_query_is_read_as_the_references_data_were(mdata: md.MuData, query: md.MuData) -> None:
    reference = MIDAS(told_otherwise(mdata), batch_key="donor", layer="counts", config=tiny()).fit(progress=False)
    odd = told_otherwise(query)
    told = Query(odd, batch_key="donor", layer="counts", config=QUICK, progress=False)
    left_out = Query(odd, config=QUICK, progress=False)
    for way in (encode, reciprocal):
        expected, found = way(reference, told), way(reference, left_out)
        np.testing.assert_array_equal(found.cells.obsm["X_midas"], expected.cells.obsm["X_midas"])
        assert found.query.obs["midas_batch"].tolist() == expected.query.obs["midas_batch"].tolist()
    model = transfer_model(reference, left_out)
    assert model.schema.batches == ("batch4", "batch5")
    assert (model.batch_key, model.layer) == ("donor", "counts")


def test_a_reference_of_one_batch_says_nothing_of_the_querys(mdata: md.MuData, query: md.MuData) -> None:
    reference = MIDAS({"rna": mdata["rna"]}, batch_key=None, config=tiny()).fit(progress=False)
    assert set(encode(reference, query).query.obs["midas_batch"]) == {"batch4", "batch5"}
    assert set(encode(reference, Query(query, batch_key=None)).query.obs["midas_batch"]) == {"all"}


def test_the_order_of_the_references_cells_has_no_say(mdata: md.MuData, query: md.MuData) -> None:
    mixed = joined({name: part[::-1].copy() for name, part in mdata.mod.items()})
    mixed.obs["cell_type"] = mdata.obs["cell_type"].reindex(mixed.obs_names)
    tables = []
    for data in (mdata, mixed):
        mapped = reciprocal(MIDAS(data, config=tiny()).fit(progress=False), Query(query, config=QUICK, progress=False))
        tables.append(label_cells(mapped, "cell_type").table)
    pd.testing.assert_frame_equal(*tables, check_categorical=False, rtol=1e-3)


def test_counts_of_another_model_in_the_same_place_are_refused(mdata: md.MuData, tmp_path: Path) -> None:
    first, second = (MIDAS(data, config=tiny()).fit(progress=False) for data in (mdata, simulated(1)))
    first.save(tmp_path / "model", with_counts=20)
    loaded = MIDAS.load(tmp_path / "model")
    second.save(tmp_path / "model", with_counts=20)
    with pytest.raises(ModelFileError, match="another in its place"):
        loaded.counts()


def test_a_relative_folder_is_found_from_elsewhere(
    fitted: MIDAS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.save(tmp_path / "model", with_counts=20)
    monkeypatch.chdir(tmp_path)
    loaded = MIDAS.load("model")
    monkeypatch.chdir("/")
    assert loaded.has_counts
    assert loaded.counts()[0].n_cells == 20


def test_a_few_of_the_models_cells_do_not_stand_for_those_that_it_kept(
    fitted: MIDAS, mdata: md.MuData, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model", with_counts=50)
    few = joined({name: part[:5].copy() for name, part in mdata.mod.items()})
    assert MIDAS.load(tmp_path / "model", few).counts()[0].n_cells == 50
    assert MIDAS.load(tmp_path / "model", mdata).counts()[0].n_cells == mdata.n_obs


@pytest.mark.parametrize("layer", [{"rna": "counts", "prot": "counts"}, {"rna": "counts", "adt": "counts"}])
def test_layers_go_by_the_names_of_the_data_or_of_the_model(
    layer: dict[str, str], fitted: MIDAS, query: md.MuData
) -> None:
    odd = told_otherwise(query)
    odd = joined({"rna": odd["rna"], "prot": odd["adt"]})
    found = encode(fitted, Query(odd, batch_key="donor", layer=layer))
    expected = encode(fitted, query)
    np.testing.assert_array_equal(found.query.obsm["X_midas"], expected.query.obsm["X_midas"])


def test_a_layer_of_a_modality_that_nobody_has_is_refused(fitted: MIDAS, query: md.MuData) -> None:
    odd = told_otherwise(query)
    with pytest.raises(KeyError, match=r"layer= by modality .*found rn"):
        encode(fitted, Query(odd, batch_key="donor", layer={"rn": "counts"}))
    with pytest.raises(KeyError, match=r"layer= by modality .*found rn"):
        fitted.read(odd, batch_key="donor", layer={"rn": "counts"})
