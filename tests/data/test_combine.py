"""Mosaics made of other mosaics, against the same done by hand on tables of counts."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import dense, joined, names, one
from midas import MIDAS, read_mosaic
from midas.data.combine import aligned, measured_like, recast, take_cells, without_batch
from midas.data.combine import joined as put_together
from midas.data.minibatch import gather
from midas.data.mosaic import Mosaic
from midas.data.schema import ModalitySchema, MosaicSchema
from midas.modality import RNA


def schema_of(features: list[str], batches: tuple[str, ...] = ("b1",)) -> MosaicSchema:
    part = ModalitySchema(RNA, pd.Index(features, dtype=object), (len(features),))
    return MosaicSchema(batches, {"rna": part}, {"rna": (True,) * len(batches)})


def gathered(mosaic: Mosaic, modality: str) -> pd.DataFrame:
    """What the networks are shown: counts, NaN where masked or not there."""
    out = np.full((mosaic.n_cells, mosaic.schema.modalities[modality].n_features), np.nan)
    counts = gather(mosaic, np.arange(mosaic.n_cells)).counts.get(modality)
    if counts is not None:
        values = counts.dense("identity").numpy().astype(float)
        if counts.mask is not None:
            values[counts.mask.numpy() == 0] = np.nan
        out[counts.cells.numpy()] = values
    return pd.DataFrame(out, index=mosaic.cells, columns=mosaic.schema.modalities[modality].features)


@given(wanted=st.lists(st.sampled_from([*names("g", 6), "x", "y"]), min_size=1, max_size=8, unique=True))
def test_recast_is_reindexing(wanted: list[str]) -> None:
    data = one(names("c", 5), names("g", 6), ["b1", "b2", "b1", "b2", "b2"])
    mosaic = read_mosaic(data)
    found = recast(mosaic, schema_of(wanted, ("b2", "b9")))
    expected = dense(mosaic, "rna").reindex(columns=wanted)
    pd.testing.assert_frame_equal(dense(found, "rna"), expected, check_names=False)
    assert found.known_batch.tolist() == [-1, 0]
    rows = found.modalities["rna"]
    assert sorted(rows.input_columns.tolist()) == list(range(len(wanted)))
    assert rows.input_names.tolist() == [wanted[i] for i in rows.input_columns]
    seen = [name for name in data.var_names if name in wanted]
    assert rows.input_names[: len(seen)].tolist() == seen  # the input's own order first


def test_recast_to_the_same_schema_changes_nothing(mdata: md.MuData) -> None:
    mosaic = read_mosaic(mdata)
    again = recast(mosaic, mosaic.schema)
    for name in mosaic.modalities:
        pd.testing.assert_frame_equal(gathered(again, name), gathered(mosaic, name))


def test_a_modality_that_the_data_lack_has_no_cells(fitted: MIDAS) -> None:
    mosaic = recast(read_mosaic(one(names("c", 4), ["gene1", "z"], "new"), modalities={"rna": RNA}), fitted.schema)
    assert list(mosaic.modalities) == list(fitted.modalities)
    assert not mosaic.modalities["atac"].present.any()
    assert not mosaic.modalities["atac"].measured.any()
    assert mosaic.known_batch.tolist() == [-1]


def test_joined_is_concatenation(mdata: md.MuData) -> None:
    mosaic = read_mosaic(mdata)
    first, second = np.arange(0, 120, 2), np.arange(119, 0, -3)
    both = put_together(take_cells(mosaic, first), take_cells(mosaic, second))
    at = np.concatenate([first, second])
    assert both.cells.tolist() == mosaic.cells[at].tolist()
    assert both.batches == mosaic.batches * 2  # of one name, yet apart
    assert both.batch[: len(first)].max() < 3 <= both.batch[len(first) :].min()
    np.testing.assert_array_equal(both.known_batch[both.batch], mosaic.known_batch[mosaic.batch[at]])
    pd.testing.assert_frame_equal(both.obs, mosaic.obs.iloc[at].reset_index(drop=True))
    for name in mosaic.modalities:
        pd.testing.assert_frame_equal(gathered(both, name), gathered(mosaic, name).iloc[at])


def test_joined_asks_for_one_schema() -> None:
    mosaics = [read_mosaic(one(names("c", 3), names("g", 2))) for _ in range(2)]
    with pytest.raises(ValueError, match=r"two mosaics of one schema, found two schemas\. Call recast\(\) first"):
        put_together(*mosaics)


def test_a_join_with_data_that_lack_a_modality(mdata: md.MuData, query: md.MuData) -> None:
    first = read_mosaic(mdata)
    both = put_together(first, recast(read_mosaic(query), first.schema))
    assert both.n_cells == first.n_cells + query.n_obs
    assert both.modalities["atac"].present.sum() == mdata["atac"].n_obs
    pd.testing.assert_frame_equal(gathered(both, "atac").iloc[:120], gathered(first, "atac"))
    assert gathered(both, "atac").iloc[120:].isna().all(axis=None)


def test_measured_like_hides_what_the_other_cell_lacks() -> None:
    batch = ["b1", "b1", "b2", "b2"]
    full = joined({"rna": one(names("c", 4), names("g", 5), batch), "adt": one(names("c", 4), names("p", 3), batch)})
    mosaic = read_mosaic(full)
    flags = pd.DataFrame(True, index=["q1", "q2"], columns=names("g", 5))
    flags.loc["q1", ["g0", "g3"]] = False
    flags.loc["q2"] = ~flags.loc["q1"]
    other = joined(
        {
            "rna": one(["a", "b"], names("g", 5), ["q1", "q2"], seed=3),
            "adt": one(["b", "c"], names("p", 3), ["q2", "q2"], seed=4),
        }
    )
    model = recast(read_mosaic(other, measured={"rna": flags}), mosaic.schema)
    like = np.array([model.cells.get_loc(name) for name in ("a", "c", "b", "a")])
    found = measured_like(mosaic, model, like)
    for name in ("rna", "adt"):
        expected = gathered(mosaic, name).to_numpy()
        hidden = gathered(model, name).iloc[like].isna().to_numpy()
        np.testing.assert_array_equal(gathered(found, name).to_numpy(), np.where(hidden, np.nan, expected))
    # The cells stay in their own batches.
    assert [found.batches[b] for b in found.batch] == batch
    np.testing.assert_array_equal(found.known_batch[found.batch], mosaic.known_batch[mosaic.batch])


def test_a_cell_without_anything_in_common_keeps_nothing() -> None:
    mosaic = read_mosaic(one(["c"], names("g", 3)))
    flags = pd.DataFrame(False, index=["q"], columns=names("g", 3))
    model = recast(read_mosaic(one(["a"], names("g", 3), "q"), measured={"rna": flags}), mosaic.schema)
    found = measured_like(mosaic, model, np.array([0]))
    assert not found.measured_in(("rna",)).any()


def test_batches_may_be_made_unknown(mdata: md.MuData) -> None:
    mosaic = read_mosaic(mdata)
    assert (without_batch(mosaic).known_batch == -1).all()
    assert mosaic.known_batch.tolist() == [0, 1, 2]


def test_what_a_feature_stands_for_goes_with_it() -> None:
    adata = one(["a", "b"], ["g0", "g1", "g2"])
    adata.var["gene"] = ["CD3", "CD4", None]
    found = recast(read_mosaic(adata), schema_of(["new", "g2", "g1", "g0"]))
    assert found.genes["rna"] == ((), (), ("CD4",), ("CD3",))


def test_a_mosaic_for_an_older_schema_is_put_in_order() -> None:
    adata = one(["a", "b"], ["g0", "g1", "g2"])
    found = aligned(read_mosaic(adata), schema_of(["g2", "g0", "g1"]))
    assert found.schema.modalities["rna"].features.tolist() == ["g2", "g0", "g1"]
    pd.testing.assert_frame_equal(dense(found, "rna")[["g0", "g1", "g2"]], dense(read_mosaic(adata), "rna"))
    with pytest.raises(ValueError, match="found one of other features"):
        aligned(read_mosaic(adata), schema_of(["g0"]))
