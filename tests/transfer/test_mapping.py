"""Every way of mapping: what comes out, that the reference is left as it was, and that awkward queries work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import joined, tiny
from midas import MIDAS, CountsError, NotFittedError, keys
from midas.transfer import (
    Mapped,
    Query,
    TransferConfig,
    encode,
    label_cells,
    labels,
    map_query,
    query_to_reference,
    reciprocal,
    reference_to_query,
    transfer_model,
)
from midas.transfer.automatic import check_mode
from midas.transfer.mapping import together
from midas.transfer.placing import Landmarks, groups_of
from midas.transfer.replay import generated, real, shown_for
from networks import decoded, values

Way = Callable[[MIDAS, Query], Mapped]
WAYS: list[Way] = [encode, query_to_reference, reciprocal, reference_to_query]
BRIEF = TransferConfig(step_fraction=0.002)


def asked(data: object, **options: object) -> Query:
    return Query(data, **{"config": BRIEF, "progress": False, **options})  # type: ignore[arg-type]


def state(model: MIDAS) -> str:
    digest = hashlib.sha256()
    for value in model.vae.state_dict().values():
        digest.update(value.numpy().tobytes())
    digest.update(model.cells.obsm[keys.LATENT].tobytes())
    digest.update(model.cells.obs.to_csv().encode())
    return digest.hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("way", WAYS)
def test_all_cells_are_there_and_the_reference_is_as_it_was(
    way: Way, fitted: MIDAS, query: md.MuData, saved_with_counts: Path
) -> None:
    before, files = state(fitted), contents(saved_with_counts)
    found = way(fitted, asked(query))
    assert state(fitted) == before
    assert found.query.obs_names.tolist() == query.obs_names.tolist()
    assert found.reference.obs_names.tolist() == fitted.cells.obs_names.tolist()
    assert found.cells.X is None
    assert np.isfinite(found.cells.obsm[keys.LATENT]).all()
    assert np.isfinite(found.query.obs[keys.NOVELTY]).all()
    assert found.reference.obs["cell_type"].astype(str).tolist() == fitted.cells.obs["cell_type"].astype(str).tolist()
    # A reference that was saved gives the same numbers; of its counts it has a sample alone.
    loaded = MIDAS.load(saved_with_counts)
    again = way(loaded, asked(query))
    assert contents(saved_with_counts) == files
    if way in (encode, query_to_reference):
        np.testing.assert_array_equal(again.cells.obsm[keys.LATENT], found.cells.obsm[keys.LATENT])
    assert again.query.n_obs == query.n_obs


@pytest.mark.parametrize("way", [query_to_reference, reciprocal])
def test_how_the_references_batches_measure_is_known_still(way: Way, fitted: MIDAS, query: md.MuData) -> None:
    model = way(fitted, asked(query)).model
    old, new = list(fitted.schema.batches), sorted(set(query.obs["batch"].astype(str)) - set(fitted.schema.batches))
    assert new
    known = np.isfinite(model.learned.distances.loc[new, old].to_numpy())
    # Only beside counts of the reference's cells is the query compared with them.
    assert known.any() == (way is reciprocal)
    assert np.isfinite(model.learned.distances.loc[old, old].to_numpy()).any()


def test_a_batch_of_the_query_may_bear_the_name_of_one_of_the_reference(
    fitted: MIDAS, query: md.MuData, tmp_path: Path
) -> None:
    shared = fitted.schema.batches[0]
    for table in (query.obs, *(part.obs for part in query.mod.values())):
        table["batch"] = shared
    hidden = {"adt": pd.DataFrame([[i % 2 == 0 for i in range(6)]], [shared], query["adt"].var_names)}
    found = reciprocal(fitted, replace(asked(query), measured=hidden))
    renamed = f"{shared} (query)"
    assert found.model.schema.batches == (*fitted.schema.batches, renamed)
    assert set(found.query.obs[keys.BATCH]) == {renamed}
    panels = found.model.learned.measured["adt"]
    assert panels.loc[shared].all()
    assert panels.loc[renamed].sum() == 3
    distances = found.model.learned.distances
    assert sorted(distances.index) == sorted(found.model.schema.batches)
    assert (np.diag(distances) == 0).all()
    found.model.save(tmp_path / "model", with_counts=50)
    again = MIDAS.load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.learned.distances, distances.loc[again.schema.batches, again.schema.batches])
    assert np.isfinite(values(found.model.impute("adt"))).all()


def test_a_mapped_models_own_data_come_back_by_their_own_names(
    fitted: MIDAS, query: md.MuData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = fitted.schema.batches[0]
    for table in (query.obs, *(part.obs for part in query.mod.values())):
        table["batch"] = shared
    model = query_to_reference(fitted, asked(query)).model
    model.save(tmp_path / "model")
    for each in (model, MIDAS.load(tmp_path / "model", query)):
        np.testing.assert_allclose(each.latent(query), model.latent(), atol=1e-6)
        np.testing.assert_allclose(each.latent(), model.latent(), atol=1e-6)
    assert f"are read as those of the query: {shared} as {shared} (query)" in caplog.text
    assert model.read(query, batch_key="batch").model_batch.max() == 0
    assert not np.allclose(model.latent(model.read(query, batch_key="batch")), model.latent(), atol=1e-4)


def test_a_query_without_a_modality_leaves_the_reference_to_say_how_it_scatters(
    fitted: MIDAS, query: md.MuData
) -> None:
    found = reciprocal(fitted, asked({"rna": query["rna"]})).model.learned.spread
    np.testing.assert_array_equal(found["adt"].excess, fitted.learned.spread["adt"].excess)


def test_whole_numbers_of_one_side_stay_whole(fitted: MIDAS, query: md.MuData) -> None:
    table = fitted.cells.copy()
    table.obs["cluster"] = np.arange(table.n_obs) % 3
    found = together(table, encode(fitted, asked(query)).query).obs["cluster"]
    assert sorted(set(found.dropna().astype(str))) == ["0", "1", "2"]


def test_a_model_tuned_beside_its_reference_knows_how_it_now_reads_its_cells(fitted: MIDAS, query: md.MuData) -> None:
    found = reciprocal(fitted, asked(query))
    assert found.model.learned.readings is found.readings
    assert found.readings is not None
    assert found.readings.rows.max() < fitted.cells.n_obs
    assert query_to_reference(fitted, asked(query)).readings is fitted.learned.readings


def test_encode_shifts_what_the_reference_reads(fitted: MIDAS, query: md.MuData) -> None:
    found = encode(fitted, asked(query))
    shifted = Landmarks.of(fitted.cells.obsm[keys.LATENT], 0).shift_to_reference(
        fitted.latent(query), groups_of(fitted.read(query))
    )
    np.testing.assert_allclose(found.query.obsm[keys.LATENT], shifted, atol=1e-5)
    np.testing.assert_array_equal(found.query.obsm[keys.TECHNICAL], fitted.latent(query, part="u"))
    assert found.model is fitted


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_features_changes_nothing(way: Way, fitted: MIDAS, query: md.MuData) -> None:
    turned = joined({name: part[:, ::-1].copy() for name, part in query.mod.items()})
    turned.obs = query.obs.copy()
    found, other = (way(fitted, asked(data)).query for data in (query, turned))
    np.testing.assert_allclose(other.obsm[keys.LATENT], found.obsm[keys.LATENT], atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_cells_changes_nothing(way: Way, fitted: MIDAS, query: md.MuData) -> None:
    turned = {name: part[::-1].copy() for name, part in query.mod.items()}
    found, other = (way(fitted, asked(data)).query for data in (dict(query.mod), turned))
    at = other.obs_names.get_indexer(found.obs_names)
    np.testing.assert_allclose(other.obsm[keys.LATENT][at], found.obsm[keys.LATENT], atol=1e-6)


def test_aliases_csc_floats_and_annadata(fitted: MIDAS, query: md.MuData) -> None:
    other = joined({"prot": query["adt"].copy(), "rna": query["rna"].copy()})
    other.obs = query.obs.loc[other.obs_names].copy()
    for part in other.mod.values():
        part.X = sp.csc_matrix(part.X).astype(np.float64)
    expected = encode(fitted, asked(query)).query.obsm[keys.LATENT][
        pd.Index(query.obs_names).get_indexer(other.obs_names)
    ]
    for way in (encode, query_to_reference):
        found = way(fitted, asked(other))
        assert found.model.modalities == fitted.modalities
        if way is encode:
            np.testing.assert_allclose(found.query.obsm[keys.LATENT], expected, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_five_cells_of_one_batch(way: Way, fitted: MIDAS, query: md.MuData) -> None:
    few = query["adt"][:5].copy()
    few.obs["batch"] = "tiny"
    found = way(fitted, asked({"adt": few}))
    assert found.query.obs_names.tolist() == few.obs_names.tolist()
    assert label_cells(found, "cell_type").table.shape == (5, 3)


def test_a_query_with_a_modality_that_the_reference_lacks(mdata: md.MuData, query: md.MuData) -> None:
    reference = MIDAS({"rna": mdata["rna"].copy()}, config=tiny()).fit(progress=False)
    for way in (query_to_reference, reciprocal, reference_to_query):
        found = way(reference, asked(query))
        assert set(found.model.modalities) == {"rna", "adt"}
        assert found.model.impute("adt").shape == (query.n_obs, query["adt"].n_vars)
    assert set(transfer_model(reference, asked(query)).schema.batches) == {"batch4", "batch5"}


def test_a_model_is_transferred_from_a_reference_without_cells(fitted: MIDAS, query: md.MuData, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model", cells=False)
    model = transfer_model(MIDAS.load(tmp_path / "model"), asked(query))
    assert np.isfinite(model.latent()).all()


@pytest.mark.parametrize("way", [query_to_reference, reciprocal])
def test_three_queries_in_a_row(way: Way, fitted: MIDAS, query: md.MuData, tmp_path: Path) -> None:
    model, n = fitted, 120
    first = fitted.cells.obsm[keys.LATENT]
    for i in range(3):
        part = query["rna"][i::3].copy()
        part.obs["batch"] = f"day{i}"
        part.obs_names = [f"{name}-{i}" for name in part.obs_names]
        model = way(model, asked({"rna": part})).model
        n += part.n_obs
        assert model.cells.n_obs == n
        np.testing.assert_array_equal(model.cells.obsm[keys.LATENT][:120], first)
    assert model.schema.batches[-3:] == ("day0", "day1", "day2")
    model.save(tmp_path / "grown")
    again = MIDAS.load(tmp_path / "grown")
    np.testing.assert_array_equal(again.cells.obsm[keys.LATENT], model.cells.obsm[keys.LATENT])
    np.testing.assert_array_equal(again.latent(query), model.latent(query))


def test_reciprocal_needs_counts(saved: Path, saved_with_counts: Path, query: md.MuData) -> None:
    bare = MIDAS.load(saved)
    assert check_mode(bare, None) == "query_to_reference"
    assert check_mode(MIDAS.load(saved_with_counts), None) == "reciprocal"
    for mode in ("reciprocal", "reference_to_query"):
        with pytest.raises(
            NotFittedError, match=r"Expected counts of the reference's cells.*save\(with_counts=20000\)"
        ):
            map_query(bare, asked(query), mode=mode)  # type: ignore[arg-type]
    assert map_query(bare, asked(query)).mode == "query_to_reference"


def test_an_unknown_mode(fitted: MIDAS, query: md.MuData) -> None:
    ways = "reciprocal, query_to_reference, reference_to_query, encode"
    with pytest.raises(ValueError, match=f"Expected a mode out of {ways}, found 'magic'"):
        map_query(fitted, query, mode="magic")  # type: ignore[arg-type]


def test_labels_in_one_call(fitted: MIDAS, query: md.MuData) -> None:
    table = labels(fitted, asked(query), ["lineage", "cell_type"], mode="encode")
    assert table.index.tolist() == query.obs_names.tolist()
    assert len(table.columns) == 6


@pytest.mark.parametrize("way", WAYS)
def test_bad_queries(way: Way, fitted: MIDAS, query: md.MuData) -> None:
    before = state(fitted)
    rna = query["rna"].copy()
    mouse = rna.copy()
    mouse.var_names = mouse.var_names.str.capitalize()
    other = rna.copy()
    other.var_names = [f"other{i}" for i in range(other.n_vars)]
    logged = rna.copy()
    logged.X = logged.X.log1p()
    with pytest.raises(
        ValueError, match=r"none is shared\. 30 match when case and punctuation are ignored: another species"
    ):
        way(fitted, asked({"rna": mouse}))
    with pytest.raises(ValueError, match=r"none is shared\. Rename the features"):
        way(fitted, asked({"rna": other}))
    with pytest.raises(CountsError, match=r"expected raw counts .* values that are not whole"):
        way(fitted, asked({"rna": logged}))
    assert state(fitted) == before


# --- replay -----------------------------------------------------------------------------------------------------------


def test_made_cells_have_the_decoder_means_and_their_batch_modalities(fitted: MIDAS) -> None:
    z = np.repeat(fitted.latent(part="z")[[0]], 4000, axis=0)
    for batch in fitted.schema.batches:
        made = generated(fitted, z, np.full(4000, batch, dtype=object), 4000, 0)
        for name, part in made.mosaic.modalities.items():
            there = fitted.schema.batches_with[name][fitted.schema.batches.index(batch)]
            assert part.present.all() == part.present.any() == there
            counts = part.sources[0].rows(np.arange(4000)).toarray()
            mean = decoded(fitted, z[:1], name).to_numpy()[0]
            assert (np.abs(counts.mean(0) - mean) <= 6 * np.sqrt(mean / 4000) + 1e-3).all()


def test_real_replay_and_what_the_query_would_have_shown(fitted: MIDAS, query: md.MuData) -> None:
    counts, _ = fitted.counts()
    z = fitted.latent(part="z")
    replay = real(counts, z, 60, 0)
    assert np.bincount(replay.mosaic.batch).tolist() == [20, 20, 20]
    np.testing.assert_array_equal(replay.z, z[counts.cells.get_indexer(replay.mosaic.cells)])
    rna = fitted.read({"rna": query["rna"].copy()})
    shown = shown_for(rna, replay, fitted.schema, 0)
    at = counts.cells.get_indexer(shown.mosaic.cells)
    np.testing.assert_array_equal(shown.z, z[at])
    assert sorted(shown.mosaic.cells) == sorted(replay.mosaic.cells)
    only = shown.mosaic.combinations().to_numpy() == "rna"
    assert 10 < only.sum() < 60


@pytest.mark.parametrize("way", WAYS)
def test_few_features_make_a_query_less_sure(way: Way, fitted: MIDAS, query: md.MuData) -> None:
    """The reference's cells are read by what the query measured, so that the confidence is of such readings."""
    few = {"rna": query["rna"][:, :6].copy()}
    found, whole = way(fitted, asked(few)), way(fitted, asked({"rna": query["rna"]}))
    assert found.readings is not None
    assert whole.readings is not None
    by_few, by_all = found.readings.get("rna"), whole.readings.get("rna")
    assert by_few is not None
    assert by_all is not None
    z = found.reference.obsm[keys.LATENT]
    far = [
        np.nanmean(np.square(c - z[readings.rows]).sum(1))
        for c, readings in ((by_few, found.readings), (by_all, whole.readings))
    ]
    assert far[0] > far[1]
    if way in (query_to_reference, reciprocal):  # the next query may have more of them
        assert found.model.learned.readings is not found.readings


def test_a_reference_without_counts_makes_cells_to_be_read_by_few_features(saved: Path, query: md.MuData) -> None:
    found = encode(MIDAS.load(saved), asked({"rna": query["rna"][:, :6].copy()}))
    assert found.readings is not None
    assert found.readings.get("rna") is not None


def test_cells_without_a_count_get_no_label(fitted: MIDAS, query: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    rna = query["rna"].copy()
    rna.X = sp.csr_matrix(rna.X.toarray() * (np.arange(rna.n_obs) > 2)[:, None])
    found = encode(fitted, asked({"rna": rna}))
    assert "3 cells have no count of any feature of the reference: no latents" in caplog.text
    labels_ = label_cells(found, "cell_type").table
    assert labels_.loc[rna.obs_names[:3]].drop(columns="cell_type_unknown_score").isna().all(axis=None)
    assert labels_["cell_type_confidence"].notna().sum() == rna.n_obs - 3
