"""Queries on disk, of few features, of part of a modality; what a mapped model was told; what is refused before any work."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import tiny
from midas import MIDAS, keys, transfer
from midas.io import read_file, write_mapped
from midas.transfer import Query, TransferConfig, automatic

BRIEF = TransferConfig(step_fraction=0.002)


def test_a_mapped_model_knows_what_the_references_batches_were_said_to_measure(
    mdata: md.MuData, query: md.MuData
) -> None:
    table = pd.DataFrame(data=True, index=["batch1"], columns=mdata["rna"].var_names)
    table.iloc[0, :15] = False
    reference = MIDAS(mdata, config=tiny(), measured={"rna": table}).fit(progress=False)
    mapped = transfer.query_to_reference(reference, Query(query, config=BRIEF, progress=False))
    found = mapped.model.read(mdata, batch_key="batch").modalities["rna"].measured
    np.testing.assert_array_equal(found, reference.read(mdata).modalities["rna"].measured)
    query.obs["batch"] = "batch1"  # by name only: nothing was said of this one
    for adata in query.mod.values():
        adata.obs["batch"] = "batch1"
    for said, expected in ((None, 30), ({"rna": table}, 15)):
        again = Query(query, config=BRIEF, progress=False, measured=said)
        model = transfer.query_to_reference(reference, again).model
        assert model.read(query).modalities["rna"].measured.sum() == expected
        np.testing.assert_array_equal(
            model.read(mdata, batch_key="batch").modalities["rna"].measured,
            reference.read(mdata).modalities["rna"].measured,
        )


def test_two_features_do_not_make_cells_new(fitted: MIDAS, query: md.MuData) -> None:
    few = query["adt"][:, :2].copy()
    mapped = transfer.encode(fitted, {"adt": few})
    assert mapped.query.obs[keys.NOVELTY].abs().max() < 100


def test_a_backed_query_is_written_and_read_on(fitted: MIDAS, query: md.MuData, tmp_path: Path) -> None:
    query["rna"].write_h5ad(tmp_path / "rna.h5ad")
    backed = ad.read_h5ad(tmp_path / "rna.h5ad", backed="r")
    mapped = transfer.encode(fitted, backed)
    write_mapped(tmp_path / "out.h5mu", backed, mapped, impute=True)
    found = read_file(tmp_path / "out.h5mu")
    np.testing.assert_array_equal(found["rna"].X.toarray(), query["rna"].X.toarray())
    assert fitted.latent(mapped.mosaic).shape == (backed.n_obs, 4)
    with pytest.raises(TypeError, match="Expected a MuData or an AnnData to write with its results, found dict"):
        write_mapped(tmp_path / "other.h5mu", {"rna": query["rna"]}, mapped)  # type: ignore[arg-type]


def test_a_modality_that_the_query_lacks_is_imputed_from_a_part_of_it(
    fitted: MIDAS, mdata: md.MuData, query: md.MuData
) -> None:
    model = transfer.transfer_model(fitted, Query(query, config=BRIEF, progress=False))
    part = mdata["atac"][:, :40].copy()
    assert model.impute("atac", {"atac": part}).n_vars == model.schema.modalities["atac"].n_features


def test_columns_are_looked_at_before_anything_is_tuned(
    fitted: MIDAS, query: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automatic, "map_query", pytest.fail)
    with pytest.raises(KeyError, match="Expected a column 'typo' in the reference's obs"):
        transfer.labels(fitted, query, "typo")
