"""An error leaves one message, exit code 1 and no file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import START, integrate

import midas
from helpers import files_under, joined, names, one, simulated, tiny
from midas.cli import common
from midas.io import write_mudata


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
    "another's words": (
        nothing,
        ["--batch-key", "donor"],
        "Name the column with --batch-key, or say --batch-key none if all cells are one batch.",
    ),
    "NaN batch": (nan_batch, [], "expected a batch for every cell, found none in 'batch' for 'c8'"),
    "unknown modality": (odd_modality, [], "Expected modalities called rna, adt, atac, found 'lipids'"),
    "one row, two cells": (shared_barcode, [], "Expected modalities to agree on the batch of a cell, found 1 cell"),
    "missing layer": (nothing, ["--layer", "counts"], "expected a layer 'counts', found the layers: none"),
    "missing file": (lambda folder: (folder / "in.h5mu").unlink(), [], "in.h5mu: expected a file, found none"),
    "truncated file": (truncated, [], "in.h5mu: expected a MuData, found a damaged or foreign file"),
    "text": (lambda folder: (folder / "in.h5mu").write_text("hello"), [], "found a damaged or foreign file"),
    "another h5 file": (foreign_h5, [], "found a damaged or foreign file"),
    "output without ending": (nothing, ["-o", "out"], "out: expected the result to end in .h5mu, found 'no ending'"),
    "output is input": (nothing, ["-o", "in.h5mu"], "expected a result file that is not the input"),
    "unwritable output": (nothing, ["-o", "tiny.toml/out.h5mu"], "expected a place that can be written to"),
    "report without ending": (nothing, ["--report", "page"], "expected the report to end in .html"),
    "unwritable report": (nothing, ["--report", "tiny.toml/page.html"], "expected a place that can be written to"),
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
    "what to do with it": (nothing, ["--checkpoint", "tiny.toml"], "Name another checkpoint."),
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

    monkeypatch.setattr("midas.io.result.write_dense", interrupted)
    result = integrate("--impute")
    assert result.exit_code == 130
    assert "Interrupted. Files that were whole" in result.stderr
    assert files_under(folder) == START


def test_advice_for_the_command_line_stands_for_advice_that_is_given_in_python() -> None:
    """Words that the package does not say any more would not be found."""
    source = "".join(path.read_text("utf-8") for path in Path(midas.__file__).parent.rglob("*.py"))
    source = re.sub(r'"\s*f?"', "", source.replace(Path(common.__file__).read_text("utf-8"), ""))
    assert [words for words in common._AS_OPTIONS if words not in source] == []
