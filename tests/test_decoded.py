"""Imputed, corrected and translated counts: all cells, by the data's names, drawn or streamed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from helpers import files_under, tiny
from midas import MIDAS, InferenceConfig, inference
from midas.borrowing import Borrowing, Lenders
from midas.results import own_layout
from networks import decoded, values

MODALITIES = ("adt", "atac", "rna")
pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data")


@pytest.mark.parametrize("verb", ["impute", "correct"])
@pytest.mark.parametrize("modality", MODALITIES)
def test_decoded_counts_have_every_cell_and_feature_by_the_datas_names(
    verb: str, modality: str, fitted: MIDAS, mdata: md.MuData
) -> None:
    found: ad.AnnData = getattr(fitted, verb)(modality)
    assert found.obs_names.tolist() == mdata.obs_names.tolist()
    assert found.var_names.tolist() == mdata[modality].var_names.tolist()
    assert found.obs["batch"].astype(str).tolist() == mdata.obs["batch"].astype(str).tolist()
    assert found.obs["measured"].tolist() == mdata.obs_names.isin(mdata[modality].obs_names).tolist()
    x = values(found)
    assert x.dtype == np.float32
    assert (x > 0).all()
    assert modality != "atac" or (x < 1).all()
    z, depths = fitted.latent(part="z"), fitted.posterior().depths
    if verb == "correct":
        z[:, 4:] = fitted.standard_noise
    own = found.obs["measured"].to_numpy() | (verb == "correct")  # impute() lets the others borrow
    expected = decoded(fitted, z, modality, depths=depths if verb == "impute" else None)[found.var_names].to_numpy()
    np.testing.assert_allclose(x[own], expected[own], rtol=1e-4)
    assert verb == "correct" or not np.isclose(x[~own], expected[~own], rtol=1e-4).all(1).any()


def test_decoded_counts_say_of_the_cells_what_the_input_says(fitted: MIDAS, mdata: md.MuData, tmp_path: Path) -> None:
    """Also where cells share a name, told apart by their batch."""
    found = fitted.impute("adt").obs
    assert found.columns[:2].tolist() == ["batch", "measured"]
    assert found["cell_type"].astype(str).tolist() == mdata.obs["cell_type"].astype(str).tolist()
    rna = mdata["rna"].copy()
    rna.obs_names = rna.obs.groupby("batch", observed=True).cumcount().astype(str).to_numpy()
    streamed = fitted.impute("adt", rna, out=tmp_path / "adt.h5ad").obs
    assert not streamed.index.is_unique
    assert streamed["cell_type"].astype(str).tolist() == rna.obs["cell_type"].astype(str).tolist()


@pytest.mark.parametrize("modality", MODALITIES)
def test_cells_that_lack_a_modality_get_the_mean_of_what_those_decode_to_that_have_it(
    modality: str, fitted: MIDAS
) -> None:
    z, imputed, table = fitted.latent(part="z"), fitted.impute(modality), fitted.cells
    lacks = ~imputed.obs["measured"].to_numpy()
    measured = fitted.learned.measured[modality]
    lenders = Lenders.of(table, modality, measured, fitted.learned.distances, seed=fitted.seed)
    assert len(lenders.z) == (~lacks).sum()
    assert fitted.mosaic is not None
    loans = Borrowing.from_cells(lenders, fitted.mosaic, modality, lacks, 40).loans(0, z)
    assert loans is not None
    assert loans.rows.tolist() == np.flatnonzero(lacks).tolist()
    assert loans.weight.any(1).mean() > 0.5  # others are unlike all lenders
    with torch.no_grad():
        eta = fitted.vae.decode(torch.from_numpy(lenders.z), modality)
        depths = torch.from_numpy(fitted.posterior().depths[lacks])
        own, other = (fitted.vae.decode(torch.from_numpy(loans.z), modality, known) for known in (depths, None))
    deeper = (own - other)[:, :1].exp().numpy()  # what the depth of the cells' other modalities makes of it
    share = loans.weight.sum(1, keepdims=True)

    def mean(lent: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.einsum("ij,ijk->ik", loans.weight, lent[loans.at]) / np.maximum(share, 1e-6)

    if modality == "atac":
        odds = mean(torch.sigmoid(eta).numpy())
        odds = odds / (1 - odds) * deeper
        expected = share * odds / (1 + odds) + (1 - share) * torch.sigmoid(own).numpy()
    else:
        lent = np.log1p(np.expm1(mean(eta.exp().log1p().numpy())) * deeper)
        expected = np.expm1(share * lent + (1 - share) * own.exp().log1p().numpy())
    columns = fitted.schema.modalities[modality].features.get_indexer(imputed.var_names)
    np.testing.assert_allclose(values(imputed)[lacks], expected[:, columns], rtol=5e-3)


def test_features_that_a_batch_did_not_measure_are_borrowed_at_the_depth_of_its_cells(
    mdata: md.MuData, tmp_path: Path
) -> None:
    here = mdata["rna"].obs["batch"].astype(str).unique()
    measured = pd.DataFrame(True, index=mdata.obs["batch"].astype(str).unique(), columns=mdata["rna"].var_names)
    missing = measured.columns[:8]
    measured.loc[here[0], missing] = False
    hidden = (mdata["rna"].obs["batch"] == here[0]).to_numpy()
    counts = mdata["rna"].X.toarray().astype(np.float32)
    counts[np.ix_(hidden, np.arange(8))] = 0
    mdata["rna"].X = counts
    model = MIDAS(mdata, measured={"rna": measured}, config=tiny()).fit(progress=False)
    config = model.config
    found = pd.DataFrame(values(model.impute("rna")), mdata.obs_names, measured.columns)
    model.config = replace(config, inference=InferenceConfig(n_neighbors=0, spread=False))
    own = pd.DataFrame(values(model.impute("rna")), mdata.obs_names, measured.columns)
    model.config = config
    cells = mdata["rna"].obs_names[hidden]
    others = measured.columns[8:]
    np.testing.assert_array_equal(found.loc[cells, others], own.loc[cells, others])  # its own, where it was measured
    assert not np.isclose(found.loc[cells, missing], own.loc[cells, missing]).any(1).all()
    rest = mdata["rna"].obs_names[~hidden]
    np.testing.assert_array_equal(found.loc[rest], own.loc[rest])  # of a batch that measured everything
    model.save(tmp_path / "model")
    loaded = MIDAS.load(tmp_path / "model")
    assert loaded.learned.measured["rna"].equals(measured.loc[sorted(here), loaded.schema.modalities["rna"].features])
    again = loaded.impute("rna", loaded.read(mdata, measured={"rna": measured}))
    np.testing.assert_allclose(again[:, measured.columns].X, found, rtol=1e-4)
    # Deep cells are imputed more of them.
    total = mdata["rna"][cells].X.sum(1)
    assert np.corrcoef(np.log(total), np.log(found.loc[cells, missing].sum(axis=1)))[0, 1] > 0.5


def test_the_standard_noise_is_that_of_the_batch_nearest_to_the_mean(fitted: MIDAS, mdata: md.MuData) -> None:
    u = pd.DataFrame(fitted.latent(part="u"))
    means = u.groupby(mdata.obs["batch"].astype(str).to_numpy()).mean()
    nearest = ((means - u.mean()) ** 2).sum(axis=1).idxmin()
    np.testing.assert_allclose(fitted.standard_noise, means.loc[nearest], rtol=1e-4, atol=1e-6)


def test_translation_uses_the_source_alone(fitted: MIDAS, mdata: md.MuData) -> None:
    found = fitted.translate("rna", "adt")
    assert found.obs_names.tolist() == [cell for cell in mdata.obs_names if cell in set(mdata["rna"].obs_names)]
    z = fitted.latent(modalities=["rna"], part="z")
    expected = decoded(fitted, z[np.isfinite(z).all(1)], "adt")[found.var_names]
    np.testing.assert_allclose(values(found), expected, rtol=1e-4)
    assert not np.allclose(values(found), values(fitted.impute("adt"))[mdata.obs_names.isin(found.obs_names)])
    alone = fitted.translate("rna", "adt", {"rna": mdata["rna"]})
    np.testing.assert_allclose(values(alone[found.obs_names]), values(found), rtol=1e-4)


def test_translation_from_everything_is_imputation_of_cells_that_were_measured(fitted: MIDAS) -> None:
    found, imputed = fitted.translate(["rna", "adt", "atac"], "atac"), fitted.impute("atac")
    measured = imputed.obs["measured"].to_numpy()
    np.testing.assert_array_equal(values(found)[measured], values(imputed)[measured])


@pytest.mark.parametrize("modality", MODALITIES)
def test_draws_are_counts_that_the_seed_decides(modality: str, fitted: MIDAS) -> None:
    draws = [values(fitted.correct(modality, sample=True, seed=seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    assert (draws[0] == np.rint(draws[0])).all()
    assert draws[0].min() >= 0
    assert modality != "atac" or draws[0].max() == 1
    expected = values(fitted.correct(modality))
    many = np.mean([values(fitted.correct(modality, sample=True, seed=seed)).mean() for seed in range(50)])
    assert many == pytest.approx(expected.mean(), rel=0.1)


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("sample", [False, True])
def test_streamed_results_are_those_in_memory(suffix: str, sample: bool, fitted: MIDAS, tmp_path: Path) -> None:
    out = tmp_path / f"new folder/x{suffix}"
    found = fitted.impute("rna", sample=sample, seed=3, out=out)
    expected = fitted.impute("rna", sample=sample, seed=3)
    for adata in (found, ad.read_h5ad(out) if suffix == ".h5ad" else ad.read_zarr(out)):
        np.testing.assert_array_equal(values(adata), values(expected))
        pd.testing.assert_frame_equal(adata.obs, expected.obs)
        assert adata.var_names.tolist() == expected.var_names.tolist()
    assert not isinstance(found.X, np.ndarray)  # left in the file
    if found.isbacked:
        found.file.close()
    other = fitted.correct("rna", out=out)  # takes the place of the first
    np.testing.assert_array_equal(values(other), values(fitted.correct("rna")))
    if other.isbacked:
        other.file.close()
    assert [path for path in files_under(out.parent) if "/" not in path] == [out.name]


def test_a_stream_that_breaks_leaves_nothing(fitted: MIDAS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> NDArray[np.float32]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(fitted.vae, "decode", broken)
    for suffix in (".h5ad", ".zarr"):
        with pytest.raises(RuntimeError, match="out of memory"):
            fitted.impute("rna", out=tmp_path / f"x{suffix}")
    assert files_under(tmp_path) == []


def test_many_cells_are_encoded_and_decoded_block_by_block(
    fitted: MIDAS, mdata: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    original = fitted.vae.decode
    monkeypatch.setattr(fitted.vae, "decode", lambda z, *rest: sizes.append(len(z)) or original(z, *rest))
    monkeypatch.setattr(inference, "_ENTRIES_AT_ONCE", {"cpu": 1})
    blocks = fitted.impute("rna", mdata), fitted.impute("rna", mdata, out=tmp_path / "x.zarr")
    assert max(sizes) < 120
    assert sum(sizes) >= 2 * (120 + mdata["rna"].n_obs)  # and, once, the cells that lend
    monkeypatch.undo()
    for found in blocks:
        np.testing.assert_allclose(values(found), values(fitted.impute("rna")), rtol=1e-4)


def test_a_stream_leaves_the_thread_as_it_was_between_blocks(fitted: MIDAS) -> None:
    assert fitted.mosaic is not None
    layout = own_layout(fitted.mosaic, "rna")
    streams = [fitted.stream(fitted.mosaic, "rna", layer, layout) for layer in ("imputed", "corrected")]
    next(streams[0])
    assert not torch.is_inference_mode_enabled()
    for _ in zip(
        *(fitted.stream(fitted.mosaic, "rna", layer, layout) for layer in ("imputed", "corrected")), strict=True
    ):
        pass
    assert not torch.is_inference_mode_enabled()


def test_columns_of_the_input_that_are_called_like_those_of_results_are_kept(mdata: md.MuData) -> None:
    for part in mdata.mod.values():
        part.obs["measured"], part.obs["measured_of_input"] = "yes", "no"
    model = MIDAS(mdata, config=tiny()).fit(progress=False)
    obs = model.impute("adt").obs
    assert obs.columns.is_unique
    assert obs["measured"].dtype == bool
    assert {"measured_of_input", "measured_of_input_"} <= set(obs.columns)


def test_a_part_of_a_mosaic_in_memory_says_of_its_cells_what_the_whole_says(fitted: MIDAS) -> None:
    assert fitted.mosaic is not None
    order = np.random.default_rng(0).permutation(fitted.mosaic.n_cells)
    some = fitted.impute("rna", fitted.mosaic.load(order))
    whole = fitted.impute("rna")
    pd.testing.assert_series_equal(
        some.obs["cell_type"].astype(str), whole.obs["cell_type"].astype(str)[some.obs_names]
    )


def test_the_file_that_the_data_are_read_from_is_not_overwritten(mdata: md.MuData, tmp_path: Path) -> None:
    file = tmp_path / "in.h5ad"
    mdata["rna"].write_h5ad(file)
    before = file.read_bytes()
    model = MIDAS({"rna": ad.read_h5ad(file, backed="r")}, config=tiny()).fit(progress=False)
    with pytest.raises(ValueError, match=r"another file than the data are read from, found .*in.h5ad. Choose another"):
        model.impute("rna", out=file)
    assert file.read_bytes() == before
