"""A model comes back bit for bit, or is refused with the reason; what was there before is never lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from helpers import files_under, joined, one, tiny
from midas import MIDAS, Modality, ModelFileError, NotFittedError, storage

FILES = ["cells.h5ad", "model.json", "weights.safetensors"]


@pytest.fixture
def folder(fitted: MIDAS, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_gives_the_same_bit_for_bit(fitted: MIDAS, mdata: md.MuData, folder: Path) -> None:
    assert files_under(folder) == FILES
    for found in (MIDAS.load(folder, mdata), MIDAS.load(str(folder))):
        assert found.config == fitted.config
        assert found.seed == fitted.seed
        assert found.schema.to_dict() == fitted.schema.to_dict()
        pd.testing.assert_frame_equal(found.history, fitted.history)
        np.testing.assert_array_equal(found.latent(mdata, part="z"), fitted.latent(part="z"))
        np.testing.assert_array_equal(found.standard_noise, fitted.standard_noise)
        for modality in fitted.modalities:
            for verb in ("impute", "correct"):
                expected = getattr(fitted, verb)(modality, mdata)
                again = getattr(found, verb)(modality, mdata)
                np.testing.assert_array_equal(again.X, expected.X)
                assert again.var_names.tolist() == expected.var_names.tolist()
    np.testing.assert_array_equal(MIDAS.load(folder, mdata).latent(), fitted.latent())


def test_others_may_read_a_model_as_they_may_read_new_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    usual = (tmp_path / "new").stat().st_mode
    assert [(folder / name).stat().st_mode for name in FILES] == [usual] * len(FILES)


def test_other_kinds_of_modalities_come_back(tmp_path: Path) -> None:
    kinds = {"surface": Modality("negative_binomial", "log1p", weight=0.5, aliases=("s",))}
    data = one([f"c{i}" for i in range(30)], ["p1", "p2"], ["b1", "b2"] * 15)
    model = MIDAS(data, modalities=kinds, config=tiny()).fit(progress=False)
    model.save(tmp_path / "model")
    found = MIDAS.load(tmp_path / "model", data)
    assert found.kinds == kinds
    draws = [m.impute("surface", sample=True).X for m in (model, found)]
    np.testing.assert_array_equal(*draws)


def test_a_loaded_model_without_data_asks_for_them(folder: Path, mdata: md.MuData) -> None:
    model = MIDAS.load(folder)
    with pytest.raises(ValueError, match="this model was loaded without its own; give data="):
        model.latent()
    with pytest.raises(NotFittedError, match=r"found none: this model was loaded without\. Give load\(data=\)"):
        model.fit()
    assert model.latent(mdata).shape == (120, 4)
    assert repr(model) == "MIDAS: 3 batches, adt (6), atac (75), rna (30); fitted in 2 epochs"


def test_a_loaded_model_may_be_trained_further(folder: Path, mdata: md.MuData) -> None:
    model = MIDAS.load(folder, mdata)
    before = model.latent()
    model.fit(progress=False)
    assert not np.array_equal(model.latent(), before)


def test_a_model_loaded_with_its_own_data_has_their_counts(folder: Path, mdata: md.MuData, query: md.MuData) -> None:
    mosaic, rows = MIDAS.load(folder, mdata).counts()
    assert mosaic.n_cells == len(rows) == mdata.n_obs
    assert MIDAS.load(folder).cells.obs_names[rows].tolist() == mosaic.cells.tolist()
    assert not MIDAS.load(folder, query).has_counts


def test_training_anew_tells_what_it_forgets(folder: Path, mdata: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    part = joined({name: adata[adata.obs["batch"] != "batch1"].copy() for name, adata in mdata.mod.items()})
    model = MIDAS.load(folder, part)
    model.fit(progress=False)
    assert (
        f"Training anew on {part.n_obs} cells; what the model knows of {mdata.n_obs - part.n_obs} more" in caplog.text
    )
    assert model.cells.n_obs == part.n_obs


def test_a_loaded_model_is_trained_on_batches_that_it_knows_alone(folder: Path, mdata: md.MuData) -> None:
    rna = mdata["rna"].copy()
    rna.obs["batch"] = "elsewhere"
    with pytest.raises(
        ValueError, match=r"batches that the model knows \(batch1, .*\), found elsewhere\. Make a new model"
    ):
        MIDAS.load(folder, joined({"rna": rna})).fit(progress=False)
    adt = mdata["adt"].copy()
    adt.obs["batch"] = "batch2"
    with pytest.raises(ValueError, match="adt in batch2, where the model knows none"):
        MIDAS.load(folder, joined({"adt": adt})).fit(progress=False)


def test_a_loaded_model_refuses_data_without_its_features(folder: Path, mdata: md.MuData) -> None:
    rna = mdata["rna"].copy()
    rna.var_names = rna.var_names.str.lower()
    with pytest.raises(ValueError, match="30 match when case and punctuation are ignored"):
        MIDAS.load(folder, joined({"rna": rna}))


def test_a_model_holds_no_cells(fitted: MIDAS, folder: Path) -> None:
    text = (folder / "model.json").read_text()
    assert "cell0000" not in text
    shapes = {tuple(value.shape) for value in load_file(folder / "weights.safetensors").values()}
    assert not any(120 in shape for shape in shapes)
    card = json.loads(text)["card"]
    assert card["total_cells"] == 120
    assert card["cells"]["adt"]["batch2"] == 0


# --- damaged and foreign ----------------------------------------------------------------------------------------------


def change(**values: Any) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        description = json.loads((folder / "model.json").read_text())
        description |= values
        (folder / "model.json").write_text(json.dumps({k: v for k, v in description.items() if v is not None}))

    return changed


def cut(name: str, share: float) -> Callable[[Path], None]:
    def truncated(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[: int(share * len(raw))])

    return truncated


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated weights": (cut("weights.safetensors", 0.5), "the file is damaged .*Copy it again"),
    "no weights": (
        lambda folder: (folder / "weights.safetensors").unlink(),
        "expected the file weights.safetensors, found none. Copy the whole folder",
    ),
    "truncated description": (cut("model.json", 0.5), "expected the description of a midas model, found a damaged"),
    "no description": (
        lambda folder: (folder / "model.json").unlink(),
        "expected a folder with model.json and weights.safetensors, found cells.h5ad, weights.safetensors",
    ),
    "other text": (lambda folder: (folder / "model.json").write_text("hello"), "found a damaged or foreign file"),
    "binary": (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\x00"), "found a damaged or foreign file"),
    "other JSON": (lambda folder: (folder / "model.json").write_text('{"a": 1}'), "found JSON of something else"),
    "a list": (lambda folder: (folder / "model.json").write_text("[1]"), "found JSON of something else"),
    "JSON of another tool": (
        lambda folder: (folder / "model.json").write_text('{"format": 2, "layers": []}'),
        "expected the description of a midas model, found one without versions, created, sha256",
    ),
    "no schema": (change(schema=None), "found one without schema"),
    "another schema": (change(schema={"batches": ["b"]}), "found one with parts missing or changed .*modalities"),
    "another configuration": (change(config={"network": {"layers": 3}}), "parts missing or changed .*Unknown in"),
    "a newer format": (
        change(format=99, versions={"midas-mosaic": "9.9"}),
        "expected a model of format 2, found 99. Install midas-mosaic 9.9 or later",
    ),
    "an older format": (change(format=1), "expected a model of format 2, found 1, .* Train it anew"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_and_foreign_models_are_refused(name: str, folder: Path) -> None:
    damage, message = DAMAGES[name]
    damage(folder)
    with pytest.raises(ModelFileError, match=message):
        MIDAS.load(folder)


@pytest.mark.parametrize(("made", "found"), [(True, "found an empty folder"), (False, "found no folder")])
def test_a_folder_without_a_model_is_refused(made: bool, found: str, tmp_path: Path) -> None:
    if made:
        (tmp_path / "model").mkdir()
    with pytest.raises(ModelFileError, match=found):
        MIDAS.load(tmp_path / "model")


# --- saving -----------------------------------------------------------------------------------------------------------


def test_saving_replaces_an_older_model(fitted: MIDAS, mdata: md.MuData, folder: Path) -> None:
    other = MIDAS(mdata, config=tiny(epochs=1), seed=5).fit(progress=False)
    other.save(folder)
    assert MIDAS.load(folder).seed == 5
    assert files_under(folder.parent) == ["model", *(f"model/{name}" for name in FILES)]


def test_saving_that_breaks_leaves_the_older_model(
    fitted: MIDAS, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: (folder / name).read_bytes() for name in FILES}

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "save_file", broken)
    with pytest.raises(OSError, match="No space left"):
        fitted.save(folder)
    assert {name: (folder / name).read_bytes() for name in FILES} == before
    assert files_under(folder.parent) == ["model", *(f"model/{name}" for name in FILES)]


def test_saving_into_an_empty_folder(fitted: MIDAS, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    fitted.save(tmp_path / "model")
    assert files_under(tmp_path / "model") == FILES


@pytest.mark.parametrize("with_model", [False, True])
def test_other_files_are_never_replaced(with_model: bool, fitted: MIDAS, tmp_path: Path) -> None:
    place = tmp_path / "results"
    if with_model:
        fitted.save(place)
    place.mkdir(exist_ok=True)
    (place / "thesis.txt").write_text("years of work")
    before = files_under(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds a midas model alone, found 1 other files, such as thesis\.txt"):
        fitted.save(place)
    assert files_under(tmp_path) == before


def test_a_file_in_the_way_is_refused(fitted: MIDAS, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("x")
    with pytest.raises(FileExistsError, match=r"expected a new folder, .* found a file\. Choose another place"):
        fitted.save(tmp_path / "model")
    with pytest.raises(PermissionError, match=r"expected a place that can be written to, found .*which is no folder"):
        fitted.save(tmp_path / "model" / "deeper")
    assert (tmp_path / "model").read_text() == "x"


def test_weights_are_plain_tensors(fitted: MIDAS, folder: Path) -> None:
    found = load_file(folder / "weights.safetensors")
    expected = fitted.vae.state_dict()
    beside = {"spread.adt", "spread.rna", "batch_distances"}  # ATAC is not counted
    assert set(found) == set(expected) | beside
    assert all(torch.equal(found[name], expected[name].cpu()) for name in expected)


# --- cells and counts beside the model --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("cells.h5ad", 0.5), r"cells\.h5ad: the file is damaged .*Copy it again"),
        (lambda folder: (folder / "cells.h5ad").unlink(), r"expected the file cells\.h5ad, found none"),
    ],
)
def test_damaged_cells_are_refused(damage: Callable[[Path], object], message: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(ModelFileError, match=message):
        MIDAS.load(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("sample.h5mu", 0.5), r"sample\.h5mu: the file is damaged"),
        (lambda folder: (folder / "sample.h5mu").unlink(), r"expected the file sample\.h5mu, found none"),
    ],
)
def test_damaged_counts_are_refused_when_they_are_asked_for(
    damage: Callable[[Path], object], message: str, fitted: MIDAS, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model", with_counts=30)
    assert files_under(tmp_path / "model") == sorted([*FILES, "sample.h5mu"])
    damage(tmp_path / "model")
    model = MIDAS.load(tmp_path / "model")
    with pytest.raises(ModelFileError, match=message):
        model.counts()


def test_cells_travel_only_when_they_may(fitted: MIDAS, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model", cells=False)
    assert files_under(tmp_path / "model") == ["model.json", "weights.safetensors"]
    with pytest.raises(NotFittedError, match=r"was saved without them\. Call fit\(\), or save it again"):
        _ = MIDAS.load(tmp_path / "model").cells


def test_counts_without_latents_are_refused(fitted: MIDAS, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected cells=True with with_counts=20"):
        fitted.save(tmp_path / "model", cells=False, with_counts=20)
    assert files_under(tmp_path) == []


def test_a_model_without_its_cells_says_that_nothing_is_borrowed(
    fitted: MIDAS, mdata: md.MuData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fitted.save(tmp_path / "model", cells=False)
    alone = MIDAS.load(tmp_path / "model", mdata)
    assert not alone.has_cells
    alone.correct("adt")
    assert not caplog.records
    alone.impute("adt")
    assert "decodes cells that lack adt, or features of it, from their own state alone" in caplog.text


def test_a_model_remembers_how_its_data_were_read(mdata: md.MuData, tmp_path: Path) -> None:
    data = joined({"rna": mdata["rna"].copy(), "adt": mdata["adt"].copy()})
    for adata in data.mod.values():
        adata.obs["half"] = ["a", "b"] * (adata.n_obs // 2) + ["a"] * (adata.n_obs % 2)
        adata.obs_names = [f"{name}_{half}" for name, half in zip(adata.obs_names, adata.obs["half"], strict=True)]
        adata.layers["counts"] = adata.X.copy()
        adata.X = adata.X.log1p()
    data.update()
    model = MIDAS(data, batch_key="half", layer={"rna": "counts", "adt": "counts"}, config=tiny()).fit(progress=False)
    model.save(tmp_path / "model")
    again = MIDAS.load(tmp_path / "model", data)
    assert (again.batch_key, again.layer) == ("half", {"rna": "counts", "adt": "counts"})
    np.testing.assert_array_equal(again.latent(), model.latent())
    assert MIDAS.load(tmp_path / "model", batch_key=None).batch_key is None
