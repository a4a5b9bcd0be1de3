"""``midas integrate`` and ``midas convert``: what they print and write."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from commands import START, integrate, midas

from helpers import files_under, joined, names, one, tiny
from midas import MIDAS, training
from midas.cli.integrate import Page
from midas.io import read_file, write_mudata
from midas.training import loop


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
    assert midas("convert", "in.h5mu", "-o", "again.h5mu", "--quiet").output == ""
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
    monkeypatch.setattr("midas.io.files.too_large", lambda path: True)
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
    assert all(said in result.stderr for said in ("Writing the report ...", "Report: page.html"))
    text = (folder / "page.html").read_text("utf-8")
    command = "integrate in.h5mu --output out.h5mu --config tiny.toml --seed 3 --report page.html"
    assert command in text
    assert "--no-report-names" in text
    assert "with the types of the column <code>cell_type</code>" in text
    assert not any(name in text for name in read_file(folder / "in.h5mu").obs_names)


def test_columns_and_features_may_be_listed_with_blanks() -> None:
    chosen = Page(report_columns="cell_type, lineage,", report_features=" CD3E , adt:CD3").choices()
    assert (chosen.columns, chosen.features) == (("cell_type", "lineage"), ("CD3E", "adt:CD3"))


def test_a_modality_of_no_cells_is_imputed_and_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from midas.reporting import content  # noqa: PLC0415 - needs optional libraries

    monkeypatch.setattr(content, "plane", lambda z, _: (z[:, :2], "two dimensions"))
    parts = {name: adata.copy() for name, adata in read_file(folder / "in.h5mu").mod.items()}
    write_mudata(folder / "none.h5mu", joined({**parts, "adt": parts["adt"][:0].copy()}))
    result = integrate("--impute", "--report", "page.html", data="none.h5mu")
    assert result.exit_code == 0, result.output
    written = read_file(folder / "out.h5mu")
    assert written["adt"].layers["imputed"].shape == (0, 6)
    assert written["adt_imputed"].shape == (written.n_obs, 6)


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
    monkeypatch.setattr("midas.model.RunOptions", functools.partial(loop.RunOptions, checkpoint_seconds=0.0))
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
    assert "run.ckpt: no checkpoint yet, starting from the beginning" in crashed.stderr
    assert "Going on from epoch 2 (1 done), by run.ckpt." in result.stderr
    found, expected = (read_file(folder / name).obsm["X_midas"] for name in ("out.h5mu", "whole.h5mu"))
    np.testing.assert_array_equal(found, expected)


def test_ctrl_c_is_told_by_exit_code_and_result_and_the_command_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert integrate(output="whole.h5mu").exit_code == 0
    original, calls = loop.train_step, []

    def interrupted(*arguments: object, **options: object) -> training.step.StepReport:
        calls.append(1)
        if len(calls) == 5:  # in the second epoch
            raise KeyboardInterrupt
        return original(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        result = integrate("--checkpoint", "run.ckpt", "--model", "model")
    assert result.exit_code == 130
    assert "Interrupted: the results are those of 1 epochs, not of a whole training." in result.stderr
    assert "The same command goes on from run.ckpt." in result.stderr
    found = dict(read_file(folder / "out.h5mu").uns["midas"])
    assert (found["epochs"], found["interrupted"]) == ("1", "true")
    assert MIDAS.load("model").interrupted
    assert integrate("--checkpoint", "run.ckpt").exit_code == 0
    found, expected = (read_file(folder / name) for name in ("out.h5mu", "whole.h5mu"))
    np.testing.assert_array_equal(found.obsm["X_midas"], expected.obsm["X_midas"])
    assert dict(found.uns["midas"]) == dict(expected.uns["midas"])
    assert found.uns["midas"]["interrupted"] == "false"


def test_outside_of_a_terminal_there_are_lines(folder: Path) -> None:
    result = integrate("--impute")
    lines = [" ".join(line.split()) for line in result.stderr.splitlines()]
    assert any(line.startswith("epoch 2: total ") and "step 6 of 6" in line for line in lines)
    assert "INFO Decoding imputed counts of rna (120 cells) ..." in lines


def test_a_second_run_replaces_result_and_model(folder: Path) -> None:
    for seed in ("0", "1"):
        assert integrate("--model", "model", "--seed", seed).exit_code == 0
    assert MIDAS.load("model").seed == 1
    assert dict(read_file(folder / "out.h5mu").uns["midas"])["seed"] == "1"


def test_integrate_keeps_counts_on_request(folder: Path) -> None:
    assert integrate("--model", "model", "--with-counts", "25").exit_code == 0
    assert MIDAS.load(folder / "model").counts()[0].n_cells == 25


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (("--with-counts", "5"), "--model"),
        (("--report-label", "cell_type"), "--report"),
        (("--no-report-names",), "--report"),
    ],
)
def test_options_that_mean_nothing_alone_are_refused(options: tuple[str, ...], missing: str, folder: Path) -> None:
    before = files_under(folder)
    result = integrate(*options)
    assert result.exit_code == 1
    assert f"Expected {missing} with {options[0]}" in result.stderr
    assert files_under(folder) == before


def test_a_checkpoint_in_no_folder_is_refused_before_training(folder: Path) -> None:
    result = integrate("--checkpoint", "in.h5mu/run.ckpt")
    assert result.exit_code == 1
    assert "expected a place that can be written to, found" in result.stderr
    assert "Training on" not in result.stderr
