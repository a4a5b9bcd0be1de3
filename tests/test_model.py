"""The embedding, what a model refuses, and what it says of itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pytest
import torch

from helpers import files_under, simulated, tiny
from midas import MIDAS, Config, NotFittedError, model, read_mosaic, simulate
from midas.data.read import read_for_model
from midas.inference import device_of
from midas.io import read_file, write_mudata
from midas.training import loop
from networks import values


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


@pytest.mark.parametrize(
    "verb",
    [
        lambda model, _: model.latent(),
        lambda model, _: model.impute("rna"),
        lambda model, _: model.correct("rna"),
        lambda model, _: model.translate("rna", "adt"),
        lambda model, _: model.standard_noise,
        lambda model, folder: model.save(folder / "model"),
        lambda model, _: model.latent("no data"),  # type: ignore[arg-type]  # refused before it is read
    ],
    ids=["latent", "impute", "correct", "translate", "standard_noise", "save", "new data"],
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
        (lambda m: m.latent(read_mosaic(simulated(n_genes=31))), r"Expected a mosaic that this model's read\(\) gave"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(
    verb: Callable[[MIDAS], object], message: str, fitted: MIDAS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        verb(fitted)
    assert files_under(tmp_path) == []


def test_a_model_says_what_it_is(fitted: MIDAS, mdata: md.MuData) -> None:
    assert repr(fitted) == "MIDAS: 120 cells, 3 batches, adt (6), atac (75), rna (30); fitted in 2 epochs"
    assert repr(MIDAS(mdata, config=tiny())).endswith("; not fitted")
    assert set(fitted.provenance()) == {"version", "seed", "config", "epochs", "interrupted"}


def test_a_mosaic_says_what_it_is_in_one_line(mdata: md.MuData) -> None:
    assert repr(read_mosaic(mdata)) == "Mosaic: 120 cells, 3 batches, adt (6), atac (75), rna (30)"


def test_what_is_no_configuration_or_no_name_is_refused(fitted: MIDAS, mdata: md.MuData) -> None:
    with pytest.raises(TypeError, match=r"found dict. Make one of a dict by midas\.Config\.from_dict"):
        MIDAS(mdata, config={"training": {"epochs": 2}})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"found PosixPath. Make one by midas\.Config\(\), or of a file"):
        MIDAS(mdata, config=Path("tiny.toml"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Expected a modality by its name, out of adt, .*, found \['rna', 'adt'\]"):
        fitted.impute(["rna", "adt"])  # type: ignore[arg-type]


def test_notes_are_logged_once(mdata: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    mdata["rna"].var["measured_nowhere"] = True
    model = MIDAS(mdata, config=tiny()).fit(progress=False)
    model.annotate(mdata)
    assert caplog.text.count("were not used: 'measured_nowhere'") == 1


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


def test_a_training_that_failed_leaves_nothing_to_the_next(mdata: md.MuData) -> None:
    class Full:
        def log_metrics(self, metrics: object, step: int | None = None) -> None:
            raise OSError("No space left on device")

    clean, failed = MIDAS(mdata, config=tiny()), MIDAS(mdata, config=tiny())
    given = failed.vae
    with pytest.raises(OSError, match="No space"):
        failed.fit(progress=False, loggers=[Full()])
    assert failed.vae is given  # whoever set weights finds them trained
    np.testing.assert_array_equal(failed.fit(progress=False).latent(), clean.fit(progress=False).latent())


def test_first_weights_do_not_depend_on_torchs_default_device(mdata: md.MuData) -> None:
    with torch.device("meta"):
        there = MIDAS(mdata, config=tiny())
    for name, weights in MIDAS(mdata, config=tiny()).vae.state_dict().items():
        assert torch.equal(weights, there.vae.state_dict()[name])


def test_a_trained_model_trains_on(mdata: md.MuData) -> None:
    model = MIDAS(mdata, config=tiny()).fit(progress=False)
    assert all(parameter.grad is None for parameter in (*model.vae.parameters(), *model.discriminators.parameters()))
    networks, before, latent = model.vae, model.history["total"].iloc[0], model.latent()
    model.fit(progress=False)
    assert model.vae is networks
    assert len(model.history) == 2
    assert model.history["total"].iloc[0] < before
    assert not np.allclose(model.latent(), latent)


def test_a_model_is_loaded_to_the_device_that_it_asks_for(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a GPU that could not be used
    assert device_of(MIDAS.load(saved).vae) == torch.device("cpu")


def test_a_mosaic_that_the_model_was_made_from_is_known(mdata: md.MuData) -> None:
    mosaic = read_mosaic(mdata)
    config = Config.from_dict({**tiny().to_dict(), "network": {"min_features_for_blocks": None}})
    model = MIDAS(mosaic, config=config).fit(progress=False)
    assert mosaic.schema is not model.schema  # one block of peaks there
    np.testing.assert_allclose(model.latent(mosaic), model.latent(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True, None, 2**63])
def test_seeds_are_whole_numbers(seed: Any, mdata: md.MuData) -> None:
    with pytest.raises(ValueError, match="Expected seed to be a whole number from 0 up to"):
        MIDAS(mdata, config=tiny(), seed=seed)


def test_a_seed_of_numpy_is_that_seed(mdata: md.MuData) -> None:
    plain, numpys = MIDAS(mdata, config=tiny(), seed=3), MIDAS(mdata, config=tiny(), seed=np.int64(3))  # type: ignore[arg-type]
    assert numpys.seed == 3
    torch.testing.assert_close(numpys.vae.state_dict(), plain.vae.state_dict(), rtol=0, atol=0)


def test_a_further_training_that_fails_leaves_the_model_as_it_was(
    mdata: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MIDAS(mdata, config=tiny()).fit(progress=False)
    before, imputed = model.latent(), values(model.impute("rna"))
    whole, steps = loop.train_step, iter(range(100))

    def broken(*args: Any, **kwargs: Any) -> Any:
        if next(steps) == 3:
            raise MemoryError("no room")
        return whole(*args, **kwargs)

    monkeypatch.setattr(loop, "train_step", broken)
    with pytest.raises(MemoryError):
        model.fit(progress=False)
    np.testing.assert_array_equal(model.latent(mdata), before)
    np.testing.assert_array_equal(values(model.impute("rna", mdata)), imputed)


def test_a_layout_of_another_embedding_is_not_kept(fitted: MIDAS, mdata: md.MuData) -> None:
    fitted.annotate(mdata)
    mdata.obsm["X_midas_umap"] = np.zeros((120, 2))
    fitted.annotate(mdata)
    assert "X_midas_umap" in mdata.obsm
    mdata.obsm["X_midas"] = mdata.obsm["X_midas"] + 1
    fitted.annotate(mdata)
    assert "X_midas_umap" not in mdata.obsm


def test_a_copy_is_trained_by_itself(fitted: MIDAS, mdata: md.MuData) -> None:
    before = fitted.latent(mdata)
    copy.copy(fitted).fit(progress=False)
    np.testing.assert_array_equal(fitted.latent(mdata), before)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_model_of_data_on_disk_shares_them(
    copied: Callable[[MIDAS], MIDAS], mdata: md.MuData, tmp_path: Path
) -> None:
    write_mudata(tmp_path / "in.h5mu", mdata)
    first = MIDAS(read_file(tmp_path / "in.h5mu", backed=True), config=tiny()).fit(progress=False)
    before = first.latent(mdata)
    other = copied(first)
    assert other.mosaic is first.mosaic
    np.testing.assert_array_equal(other.latent(mdata), before)
    other.fit(progress=False)
    assert (other.latent(mdata) != before).any()
    np.testing.assert_array_equal(first.latent(mdata), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_training_that_breaks_as_it_finishes_leaves_the_model_as_it_was(
    error: type[BaseException], mdata: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = MIDAS(mdata, config=tiny()).fit(progress=False)
    before, cells = trained.latent(), trained.cells.obsm["X_midas"].copy()

    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(model, "learn", broken)
    with pytest.raises(error):
        trained.fit(progress=False)
    np.testing.assert_array_equal(trained.latent(), before)
    np.testing.assert_array_equal(
        trained.latent(trained.read(mdata)), trained.latent(read_for_model(mdata, schema=trained.schema))
    )
    np.testing.assert_allclose(trained.latent(mdata), before, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(trained.cells.obsm["X_midas"], cells)


@pytest.mark.parametrize("seed", [-1, 2**70, 1.5])
def test_seeds_of_draws_are_checked(seed: Any, fitted: MIDAS) -> None:
    with pytest.raises((TypeError, ValueError), match="seed"):
        fitted.impute("adt", sample=True, seed=seed)
