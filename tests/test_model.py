"""What a trained model gives: embeddings, decoded counts, translations; by name, in the data's own order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from helpers import files_under, joined, names, one, simulated, tiny
from midas import MIDAS, Modality, NotFittedError, inference, read_mosaic, simulate
from midas.data import MosaicData

MODALITIES = ("adt", "atac", "rna")
pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data")


def values(adata: ad.AnnData) -> NDArray[np.float32]:
    found = adata.X
    return np.asarray(found[:] if not isinstance(found, np.ndarray) else found)


def decoded(
    model: MIDAS, z: NDArray[np.float32], modality: str, borrowed: NDArray[np.float32] | None = None
) -> pd.DataFrame:
    """Expected values by the names of the schema, straight from the network."""
    with torch.no_grad():
        eta = model.vae.decode(torch.from_numpy(z), None, {modality: None})[modality]
        if borrowed is not None:
            eta = (eta + model.vae.decode(torch.from_numpy(borrowed), None, {modality: None})[modality]) / 2
    mean = torch.sigmoid(eta) if modality == "atac" else eta.exp()
    return pd.DataFrame(mean.numpy(), columns=model.schema.modalities[modality].features)


# --- embedding --------------------------------------------------------------------------------------------------------


def test_the_embedding_has_a_row_per_cell_and_its_parts(fitted: MIDAS) -> None:
    c, u, z = (fitted.latent(part=part) for part in ("c", "u", "z"))  # type: ignore[arg-type]
    assert (c.shape, u.shape) == ((120, 4), (120, 2))
    np.testing.assert_array_equal(np.hstack([c, u]), z)
    assert np.isfinite(z).all()
    assert c.dtype == np.float32
    assert np.unique(c, axis=0).shape == c.shape  # every cell its own


def test_a_posterior_is_narrower_the_more_was_measured(fitted: MIDAS) -> None:
    whole, part = fitted.posterior(part="z"), fitted.posterior(modalities=["rna"], part="z")
    both = np.isfinite(part.variance).all(1)
    assert ((whole.variance[both] <= part.variance[both] * 1.0001) & (whole.variance[both] > 0)).all()
    np.testing.assert_array_equal(whole.mean, fitted.latent(part="z"))


def test_cells_without_any_of_the_modalities_are_nan(fitted: MIDAS, mdata: md.MuData) -> None:
    found = fitted.latent(modalities=["adt"])
    has = mdata.obs_names.isin(mdata["adt"].obs_names)
    assert 0 < has.sum() < 120
    np.testing.assert_array_equal(np.isfinite(found).all(1), has)
    np.testing.assert_array_equal(np.isnan(found).all(1), ~has)


def test_the_models_own_data_and_the_same_data_again_give_the_same(fitted: MIDAS, mdata: md.MuData) -> None:
    np.testing.assert_array_equal(fitted.latent(mdata), fitted.latent())
    np.testing.assert_array_equal(fitted.latent(fitted.read(mdata)), fitted.latent())


def test_results_may_be_changed_without_changing_the_model(fitted: MIDAS) -> None:
    before = fitted.latent().copy()
    fitted.latent()[:] = 0
    fitted.posterior(part="z").mean[:] = 0
    np.testing.assert_array_equal(fitted.latent(), before)


# --- decoded counts ---------------------------------------------------------------------------------------------------


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
    z = fitted.latent(part="z")
    if verb == "correct":
        z[:, 4:] = fitted.standard_noise
    own = found.obs["measured"].to_numpy() | (verb == "correct")  # impute() lets the others borrow
    expected = decoded(fitted, z, modality)[found.var_names].to_numpy()
    np.testing.assert_allclose(x[own], expected[own], rtol=1e-4)
    assert verb == "correct" or not np.isclose(x[~own], expected[~own], rtol=1e-4).all(1).any()


@pytest.mark.parametrize("modality", MODALITIES)
def test_cells_that_lack_a_modality_borrow_half_from_the_nearest_that_have_it(modality: str, fitted: MIDAS) -> None:
    z, imputed = fitted.latent(part="z"), fitted.impute(modality)
    lacks = ~imputed.obs["measured"].to_numpy()
    distance = ((z[lacks][:, None, :4] - z[~lacks][:, :4]) ** 2).sum(2)
    nearest = np.argsort(distance, 1)[:, :20]
    expected = decoded(fitted, z[lacks], modality, z[~lacks][nearest].mean(1))[imputed.var_names]
    np.testing.assert_allclose(values(imputed)[lacks], expected, rtol=1e-3)


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
    lacking = 120 - mdata["rna"].n_obs
    original = fitted.vae.decode
    monkeypatch.setattr(fitted.vae, "decode", lambda z, *rest: sizes.append(len(z)) or original(z, *rest))
    monkeypatch.setattr(inference, "_ENTRIES_AT_ONCE", 1)
    blocks = fitted.impute("rna", mdata), fitted.impute("rna", mdata, out=tmp_path / "x.zarr")
    assert max(sizes) < 120
    assert sum(sizes) == 2 * (120 + lacking)  # cells that lack RNA are decoded from what they borrow, too
    monkeypatch.undo()
    for found in blocks:
        np.testing.assert_allclose(values(found), values(fitted.impute("rna")), rtol=1e-4)


# --- new cells --------------------------------------------------------------------------------------------------------


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
    zeros = rna.copy()
    zeros.X = rna.X.toarray() * rna.var_names.isin(kept)
    np.testing.assert_allclose(fitted.latent({"rna": query}), fitted.latent({"rna": zeros}), rtol=1e-4, atol=1e-5)


def test_features_unknown_to_the_model_change_nothing(fitted: MIDAS, mdata: md.MuData) -> None:
    rna = mdata["rna"]
    more = ad.concat([one(rna.obs_names.tolist(), ["strange1", "strange2"], None, rate=50), rna], axis=1)
    more.obs["batch"] = rna.obs["batch"]
    np.testing.assert_allclose(fitted.latent({"rna": more}), fitted.latent({"rna": rna}), rtol=1e-4, atol=1e-5)
    fitted.annotate(alone := joined({"rna": more}), impute=["rna"])
    layer = pd.DataFrame(alone["rna"].layers["imputed"], columns=more.var_names)
    assert layer[["strange1", "strange2"]].isna().to_numpy().all()
    assert layer[rna.var_names].notna().to_numpy().all()


# --- where scverse looks ----------------------------------------------------------------------------------------------


def test_annotations_are_the_results_by_name(fitted: MIDAS, mdata: md.MuData) -> None:
    shuffled = mdata["adt"][::-1, ::-1].copy()
    mixed = joined({"rna": mdata["rna"], "adt": shuffled, "atac": mdata["atac"]})
    fitted.annotate(mixed, impute=["adt", "rna"], correct=["adt"])
    expected = pd.DataFrame(fitted.latent(), index=mdata.obs_names).loc[mixed.obs_names]
    np.testing.assert_allclose(mixed.obsm["X_midas"], expected, rtol=1e-4, atol=1e-5)
    assert mixed.obsm["X_midas_u"].shape == (120, 2)
    for layer, verb in (("imputed", fitted.impute), ("corrected", fitted.correct)):
        wanted = verb("adt")[shuffled.obs_names, shuffled.var_names]
        np.testing.assert_allclose(mixed["adt"].layers[layer], values(wanted), rtol=1e-4)
    assert set(mixed["rna"].layers) == {"imputed"}
    assert not mixed["atac"].layers


def ten_x(mdata: md.MuData) -> ad.AnnData:
    cells = [name for name in mdata.obs_names if all(name in set(part.obs_names) for part in mdata.mod.values())]
    adata = ad.concat([part[cells] for part in mdata.mod.values()], axis=1)
    adata.obs["batch"] = mdata.obs.loc[cells, "batch"]
    kinds = {"rna": "Gene Expression", "adt": "Antibody Capture", "atac": "Peaks"}
    adata.var["feature_types"] = np.repeat([kinds[name] for name in mdata.mod], [p.n_vars for p in mdata.mod.values()])
    return adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()


def test_an_anndata_of_several_modalities_is_annotated_feature_by_feature(fitted: MIDAS, mdata: md.MuData) -> None:
    adata = ten_x(mdata)
    fitted.annotate(adata, impute=["rna", "atac"])
    expected = pd.DataFrame(fitted.latent(), index=mdata.obs_names).loc[adata.obs_names]
    np.testing.assert_allclose(adata.obsm["X_midas"], expected, rtol=1e-4, atol=1e-5)
    layer = pd.DataFrame(adata.layers["imputed"], index=adata.obs_names, columns=adata.var_names)
    for modality in ("rna", "atac"):
        wanted = fitted.impute(modality)[adata.obs_names]
        np.testing.assert_allclose(layer[wanted.var_names], values(wanted), rtol=1e-4)
    assert layer[mdata["adt"].var_names].isna().to_numpy().all()


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_data_whose_rows_are_no_cells_are_not_annotated(fitted: MIDAS, mdata: md.MuData) -> None:
    """Two modalities of two batches that happen to share a barcode: one row of obs, but two cells."""
    rna, adt = mdata["rna"][:1].copy(), mdata["adt"][:1].copy()
    rna.obs_names, adt.obs_names = ["AAAC"], ["AAAC"]
    adt.obs["batch"] = "batch3"
    mixed = joined({"rna": rna, "adt": adt})
    assert fitted.latent(mixed).shape == (2, 4)
    with pytest.raises(ValueError, match=r"Expected every row of obs to be one cell.*unique obs_names"):
        fitted.annotate(mixed)


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


# --- any data ---------------------------------------------------------------------------------------------------------

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


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    [
        lambda model, _: model.latent(),
        lambda model, _: model.impute("rna"),
        lambda model, _: model.correct("rna"),
        lambda model, _: model.translate("rna", "adt"),
        lambda model, _: model.standard_noise,
        lambda model, folder: model.save(folder / "model"),
    ],
    ids=["latent", "impute", "correct", "translate", "standard_noise", "save"],
)
def test_an_untrained_model_gives_nothing(
    verb: Callable[[MIDAS, Path], object], mdata: md.MuData, tmp_path: Path
) -> None:
    with pytest.raises(NotFittedError, match=r"found one that has not been: call fit\(\) first"):
        verb(MIDAS(mdata, config=tiny()), tmp_path)
    assert files_under(tmp_path) == []


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        (lambda m: m.impute("protein"), "Expected modalities out of adt, atac, rna, found protein"),
        (lambda m: m.correct("RNA"), "Expected modalities out of adt, atac, rna, found RNA"),
        (lambda m: m.translate(["rna", "x"], "adt"), "found x"),
        (lambda m: m.latent(modalities=[]), "found none"),
        (lambda m: m.latent(part="b"), "Expected part to be c, u or z, found 'b'"),
        (lambda m: m.impute("rna", out="x.h5"), r"Expected out to end in \.h5ad or \.zarr, found 'x\.h5'"),
        (lambda m: m.latent(read_mosaic(simulated())), r"Expected a mosaic that this model's read\(\) gave"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(
    verb: Callable[[MIDAS], object], message: str, fitted: MIDAS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        verb(fitted)
    assert files_under(tmp_path) == []


# --- what a model says of itself --------------------------------------------------------------------------------------


def test_a_model_says_what_it_is(fitted: MIDAS, mdata: md.MuData) -> None:
    assert repr(fitted) == "MIDAS: 120 cells, 3 batches, adt (6), atac (75), rna (30); fitted in 2 epochs"
    assert repr(MIDAS(mdata, config=tiny())).endswith("; not fitted")
    assert set(fitted.provenance()) == {"version", "seed", "config"}


def test_notes_are_logged_once(mdata: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    mdata["rna"].var["measured_nowhere"] = True
    model = MIDAS(mdata, config=tiny()).fit(progress=False)
    model.annotate(mdata)
    assert caplog.text.count("measured_nowhere of var name no batch") == 1


def test_a_simulated_mosaic_is_learnt() -> None:
    """A short training already tells the types apart better than chance, and imputes above the mean."""
    config = simulate.SimulationConfig(
        n_cells=300, n_genes=60, n_peaks=80, n_proteins=10, n_types=4, branch=False, cell_noise=0.1, n_chromosomes=2
    )
    truth = simulate.mosaic_with_truth(config, seed=0)
    model = MIDAS(truth.mdata, config=tiny(network={"dropout": 0.0}, learning_rate=4e-3, epochs=15, batch_size=64)).fit(
        progress=False
    )
    found = model.impute("rna")
    hidden = ~found.obs["measured"].to_numpy()
    expected = np.log1p(truth.full["rna"].X.toarray()[hidden])
    correlation = np.corrcoef(np.log1p(values(found)[hidden]).ravel(), expected.ravel())[0, 1]
    assert correlation > 0.5
