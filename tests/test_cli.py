"""The command line: what it prints and writes, and that an error leaves one message, exit code 1 and no file."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import mudata as md
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from helpers import files_under, joined, names, one, query_of, simulated, tiny
from midas import MIDAS, io, training
from midas.cli import app
from midas.io import read_file, write_mudata
from midas.training import loop


@pytest.fixture(autouse=True)
def _warnings_as_before() -> Iterator[None]:
    with warnings.catch_warnings():
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a mosaic and a small configuration."""
    write_mudata(tmp_path / "in.h5mu", simulated())
    tiny().to_toml(tmp_path / "tiny.toml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


START = ["in.h5mu", "tiny.toml"]


def midas(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def integrate(*arguments: str, data: str = "in.h5mu", output: str = "out.h5mu") -> Result:
    return midas("integrate", data, "-o", output, "--config", "tiny.toml", *arguments)


# --- integrate --------------------------------------------------------------------------------------------------------


def test_integrate_writes_what_the_library_gives(folder: Path) -> None:
    result = integrate("--impute", "--correct", "--model", "model", "--seed", "3")
    assert result.exit_code == 0, result.output
    assert files_under(folder) == [
        "in.h5mu",
        "model",
        "model/cells.h5ad",
        "model/model.json",
        "model/weights.safetensors",
        "out.h5mu",
        "tiny.toml",
    ]
    found, data = read_file(folder / "out.h5mu"), read_file(folder / "in.h5mu")
    model = MIDAS(data, config=tiny(), seed=3).fit(progress=False)
    np.testing.assert_array_equal(found.obsm["X_midas"], model.latent())
    assert found.obs_names.tolist() == data.obs_names.tolist()
    assert {"rna_imputed", "adt_corrected"} <= set(found.mod)
    np.testing.assert_array_equal(MIDAS.load("model", data).latent(), model.latent())
    for said in ("120 cells, 3 batches", "Training on 120 cells", "Model: model", "Result: out.h5mu"):
        assert said in result.stderr
    assert result.stdout == ""


def test_convert_and_integrate_from_disk_give_what_memory_gives(folder: Path) -> None:
    result = midas("convert", "in.h5mu", "-o", "fast.h5mu")
    assert result.exit_code == 0, result.output
    assert "Store: fast.h5mu" in result.stderr
    assert integrate("--impute", "--in-memory").exit_code == 0
    backed = integrate("--impute", "--backed", data="fast.h5mu", output="backed.h5mu")
    assert backed.exit_code == 0, backed.output
    memory, disk = read_file(folder / "out.h5mu"), read_file(folder / "backed.h5mu")
    np.testing.assert_array_equal(disk.obsm["X_midas"], memory.obsm["X_midas"])
    assert list(disk.mod) == list(memory.mod)
    for name in memory.mod:
        assert disk[name].obs_names.equals(memory[name].obs_names)
    np.testing.assert_array_equal(disk["rna_imputed"].X, memory["rna_imputed"].X)


def test_large_counts_are_left_on_disk_and_it_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "too_large", lambda path: True)
    result = integrate()
    assert result.exit_code == 0, result.output
    assert "they are left on disk (--in-memory)" in result.stderr
    assert "left on disk" not in integrate("--in-memory").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.h5mu", "-o", "fast.h5mu"), "expected a file, found none"),
        (("in.h5mu", "-o", "fast.h5ad"), "expected the name to end in .h5mu"),
        (("in.h5mu", "-o", "in.h5mu"), "expected a file that is not the input"),
    ],
)
def test_convert_refuses_in_one_message(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = midas("convert", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert files_under(folder) == START


def test_integrate_writes_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that repeats the run; the layout's library takes long to compile and is left out."""
    from midas.reporting import content  # noqa: PLC0415 - needs optional libraries

    monkeypatch.setattr(content, "plane", lambda z, _: (z[:, :2], "two dimensions"))
    options = ["--report", "page.html", "--report-label", "cell_type", "--report-columns", "", "--no-report-names"]
    result = integrate(*options, "--report-features", "adt:PROT01", "--seed", "3")
    assert result.exit_code == 0, result.output
    assert "Report: page.html" in result.stderr
    text = (folder / "page.html").read_text("utf-8")
    command = "integrate in.h5mu --output out.h5mu --config tiny.toml --seed 3 --report page.html"
    assert command in text
    assert "--no-report-names" in text
    assert "with the types of the column <code>cell_type</code>" in text
    assert not any(name in text for name in read_file(folder / "in.h5mu").obs_names)


def test_quiet_prints_nothing(folder: Path) -> None:
    result = integrate("--quiet")
    assert result.exit_code == 0
    assert result.output == ""
    assert (folder / "out.h5mu").is_file()


def test_an_h5ad_of_one_modality_and_one_batch(folder: Path) -> None:
    one(names("c", 30), names("g", 5), None).write_h5ad(folder / "in.h5ad")
    result = integrate("--batch-key", "none", data="in.h5ad")
    assert result.exit_code == 0, result.output
    assert read_file(folder / "out.h5mu").obsm["X_midas"].shape == (30, 4)


def test_an_interrupted_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after an epoch, a crash, and the same command again give the unbroken run."""
    assert integrate(output="whole.h5mu").exit_code == 0
    monkeypatch.setattr("midas.model.Surroundings", functools.partial(loop.Surroundings, checkpoint_seconds=0.0))
    original, calls = loop.train_step, []

    def crashing(*arguments: object, **options: object) -> training.step.StepReport:
        calls.append(1)
        if len(calls) == 4:  # in the second epoch
            raise OSError("power cut")
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_step", crashing)
    crashed = integrate("--checkpoint", "run.ckpt")
    assert crashed.exit_code == 1
    assert "Error: power cut" in crashed.stderr
    assert files_under(folder) == ["in.h5mu", "run.ckpt", "tiny.toml", "whole.h5mu"]
    result = integrate("--checkpoint", "run.ckpt")
    assert result.exit_code == 0
    assert "Going on from run.ckpt: epoch 1" in result.stderr
    found, expected = (read_file(folder / name).obsm["X_midas"] for name in ("out.h5mu", "whole.h5mu"))
    np.testing.assert_array_equal(found, expected)


def test_a_second_run_replaces_result_and_model(folder: Path) -> None:
    for seed in ("0", "1"):
        assert integrate("--model", "model", "--seed", seed).exit_code == 0
    assert MIDAS.load("model").seed == 1
    assert dict(read_file(folder / "out.h5mu").uns["midas"])["seed"] == "1"


# --- errors -----------------------------------------------------------------------------------------------------------


def broken_values(value: float) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        mdata = simulated()
        mdata["adt"].X.data[3] = value
        write_mudata(folder / "in.h5mu", mdata)

    return write


def normalised(folder: Path) -> None:
    mdata = simulated()
    mdata["rna"].X = np.log1p(mdata["rna"].X / 7)
    write_mudata(folder / "in.h5mu", mdata)


def without_batch(folder: Path) -> None:
    write_mudata(folder / "in.h5mu", joined({"rna": one(names("c", 9), names("g", 4), None)}))


def nan_batch(folder: Path) -> None:
    adata = one(names("c", 9), names("g", 4))
    adata.obs["batch"] = ["b"] * 8 + [None]
    write_mudata(folder / "in.h5mu", joined({"rna": adata}))


def odd_modality(folder: Path) -> None:
    write_mudata(folder / "in.h5mu", joined({"lipids": one(names("c", 9), names("g", 4))}))


def shared_barcode(folder: Path) -> None:
    rna, adt = one(["x"], ["g"], "b1"), one(["x"], ["p"], "b2")
    write_mudata(folder / "in.h5mu", joined({"rna": rna, "adt": adt}))


def foreign_h5(folder: Path) -> None:
    with h5py.File(folder / "in.h5mu", "w") as file:
        file["x"] = 1


def truncated(folder: Path) -> None:
    raw = (folder / "in.h5mu").read_bytes()
    (folder / "in.h5mu").write_bytes(raw[: len(raw) // 2])


def nothing(_: Path) -> None:
    pass


def stranger(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "thesis.txt").touch()


ERRORS: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "log-normalised": (normalised, [], "modality 'rna': expected raw counts"),
    "NaN": (
        broken_values(np.nan),
        [],
        "modality 'adt': expected raw counts (whole numbers from 0 up), found NaN or infinite",
    ),
    "infinite": (broken_values(np.inf), [], "found NaN or infinite values, first inf"),
    "negative": (broken_values(-2), [], "found negative values, first -2"),
    "no batch column": (without_batch, [], "expected a column 'batch' that names each cell's batch"),
    "other batch column": (nothing, ["--batch-key", "donor"], "expected a column 'donor'"),
    "NaN batch": (nan_batch, [], "expected a batch for every cell, found none in 'batch' for 'c8'"),
    "unknown modality": (odd_modality, [], "Expected modalities called rna, adt, atac, found 'lipids'"),
    "one row, two cells": (shared_barcode, [], "Expected every row of obs to be one cell"),
    "missing layer": (nothing, ["--layer", "counts"], "expected a layer 'counts', found the layers: none"),
    "missing file": (lambda folder: (folder / "in.h5mu").unlink(), [], "in.h5mu: expected a file, found none"),
    "truncated file": (truncated, [], "in.h5mu: expected a MuData, found a damaged or foreign file"),
    "text": (lambda folder: (folder / "in.h5mu").write_text("hello"), [], "found a damaged or foreign file"),
    "another h5 file": (foreign_h5, [], "found a damaged or foreign file"),
    "output without ending": (nothing, ["-o", "out"], "out: expected the result to end in .h5mu, found 'no ending'"),
    "output is input": (nothing, ["-o", "in.h5mu"], "expected a result file that is not the input"),
    "unwritable output": (nothing, ["-o", "tiny.toml/out.h5mu"], "expected a folder that can be written to"),
    "report without ending": (nothing, ["--report", "page"], "expected the report to end in .html"),
    "unwritable report": (nothing, ["--report", "tiny.toml/page.html"], "expected a folder that can be written to"),
    "report of no column": (nothing, ["--report", "p.html", "--report-columns", "ag"], "found none called 'ag'"),
    "report of no feature": (nothing, ["--report", "p.html", "--report-features", "XY"], "found none called 'XY'"),
    "foreign model folder": (stranger, ["--model", "model"], "found 1 other files, such as thesis.txt"),
    "missing configuration": (nothing, ["--config", "gone.toml"], "gone.toml"),
    "wrong configuration": (
        lambda folder: (folder / "tiny.toml").write_text("[network]\ndim_c = 0\n"),
        [],
        "tiny.toml: NetworkConfig.dim_c: expected 1 or more, found 0",
    ),
    "foreign checkpoint": (nothing, ["--checkpoint", "tiny.toml"], "expected a checkpoint of midas"),
    "diverged": (
        lambda folder: tiny(learning_rate=1e7, epochs=20).to_toml(folder / "tiny.toml"),
        [],
        "Expected a finite objective, found NaN or infinity",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_one_message_and_leaves_nothing_behind(name: str, folder: Path) -> None:
    spoil, arguments, message = ERRORS[name]
    spoil(folder)
    before = {path: (folder / path).read_bytes() for path in files_under(folder) if (folder / path).is_file()}
    result = integrate(*arguments, "--quiet")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output
    after = {path: (folder / path).read_bytes() for path in files_under(folder) if (folder / path).is_file()}
    assert after == before


def test_an_error_leaves_the_older_result(folder: Path) -> None:
    (folder / "out.h5mu").write_text("older")
    broken_values(-1)(folder)
    assert integrate().exit_code == 1
    assert (folder / "out.h5mu").read_text() == "older"


def test_ctrl_c_outside_of_the_training_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("midas.io.write_dense", interrupted)
    result = integrate("--impute")
    assert result.exit_code == 130
    assert "Interrupted; nothing was written" in result.stderr
    assert files_under(folder) == START


# --- inspect and simulate ---------------------------------------------------------------------------------------------


def test_inspect_prints_the_mosaic_and_changes_nothing(folder: Path) -> None:
    result = midas("inspect", "in.h5mu")
    assert result.exit_code == 0
    for said in (
        "120 cells, 3 batches",
        "Cells by what they have",
        "adt+atac+rna",
        "atac: 75 features, bernoulli, binarize, 3 blocks (chromosomes)",
        "bridge adt - rna:",
        "! Batch 'batch1' has only 40 cells",
        "Would train on 120 cells (0 held out)",
    ):
        assert said in result.stdout
    assert files_under(folder) == START


def test_inspect_prints_what_a_model_was_trained_on(folder: Path, fitted: MIDAS) -> None:
    fitted.save(folder / "model")
    result = midas("inspect", "model")
    assert result.exit_code == 0
    assert "120 cells, 3 batches" in result.stdout
    assert f"adt: 6 features, {sum(fitted.mosaic.modalities['adt'].present)} cells, poisson" in result.stdout


@pytest.mark.parametrize("damage", ["none", "text", "newer"])
def test_inspect_refuses_what_is_no_model(damage: str, folder: Path, fitted: MIDAS) -> None:
    fitted.save(folder / "model")
    card = folder / "model" / "model.json"
    if damage == "none":
        card.unlink()
    else:
        card.write_text("hello" if damage == "text" else '{"format": 7}')
    result = midas("inspect", "model")
    assert result.exit_code == 1
    assert "Error: model" in result.stderr
    assert "expected" in result.stderr
    assert result.stdout == ""


def test_simulate_writes_a_mosaic_that_can_be_inspected(folder: Path) -> None:
    arguments = ["--cells", "90", "--genes", "40", "--proteins", "5", "--peaks", "60", "--mosaic", "rna+adt,atac"]
    assert midas("simulate", "-o", "sim.h5mu", *arguments).exit_code == 0
    assert midas("simulate", "-o", "again.h5mu", *arguments).exit_code == 0
    with md.set_options(pull_on_update=False):
        first, again = md.read_h5mu("sim.h5mu"), md.read_h5mu("again.h5mu")
    assert {name: adata.shape for name, adata in first.mod.items()} == {
        "rna": (45, 40),
        "adt": (45, 5),
        "atac": (45, 60),
    }
    assert all((first[name].X != again[name].X).nnz == 0 for name in first.mod)
    assert "No cell bridges" in midas("inspect", "sim.h5mu").stdout


def test_simulate_refuses_impossible_wishes(folder: Path) -> None:
    result = midas("simulate", "-o", "sim.h5mu", "--mosaic", "rna+protein")
    assert result.exit_code == 1
    assert "mosaic: expected modalities out of" in result.stderr
    assert files_under(folder) == START


def test_help_names_the_commands() -> None:
    result = midas("--help")
    assert result.exit_code == 0
    assert all(command in result.output for command in ("inspect", "integrate", "simulate"))


# --- map --------------------------------------------------------------------------------------------------------------


def test_map_writes_latents_and_labels(folder: Path, saved: Path) -> None:
    write_mudata(folder / "q.h5mu", query_of())
    options = ("--labels", "cell_type", "--labels", "lineage", "--mode", "encode", "--model", "mapped")
    result = midas("map", "q.h5mu", "-r", str(saved), "-o", "mapped.h5mu", *options)
    assert result.exit_code == 0, result.output
    found, data = read_file(folder / "mapped.h5mu"), read_file(folder / "q.h5mu")
    assert found.obs_names.tolist() == data.obs_names.tolist()
    np.testing.assert_array_equal(found.obsm["X_midas"], MIDAS.load(saved).latent(data))
    for column in ("cell_type", "lineage"):
        assert {f"{column}_transferred", f"{column}_confidence", f"{column}_unknown_score"} <= set(found.obs.columns)
    assert "Mapped 80 cells (encode)" in result.stderr
    assert (folder / "mapped" / "model.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "typo"), "Expected a column 'typo' in the reference's obs, found: batch, cell_type"),
        (("--mode", "magic"), "Expected a mode out of"),
        (("--mode", "reciprocal"), "Expected counts of the reference's cells, found none"),
    ],
)
def test_map_leaves_nothing_behind_on_an_error(
    options: tuple[str, ...], message: str, folder: Path, saved: Path
) -> None:
    write_mudata(folder / "q.h5mu", query_of())
    before = files_under(folder)
    result = midas("map", "q.h5mu", "-r", str(saved), "-o", "mapped.h5mu", "--model", "mapped", *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert files_under(folder) == before


def test_integrate_keeps_counts_on_request(folder: Path) -> None:
    assert integrate("--model", "model", "--with-cells", "25").exit_code == 0
    assert MIDAS.load(folder / "model").counts()[0].n_cells == 25
