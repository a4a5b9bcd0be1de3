"""``midas inspect`` of mosaics and models, ``midas simulate``, and the help."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import mudata as md
import pytest
from commands import START, midas

from helpers import files_under
from midas import MIDAS


def test_inspect_prints_the_mosaic_and_changes_nothing(folder: Path) -> None:
    result = midas("inspect", "in.h5mu")
    assert result.exit_code == 0
    for said in (
        "120 cells, 3 batches",
        "Cells by what they have",
        "adt+atac+rna",
        "atac: 75 features, bernoulli, binarize\n",
        "bridge adt - rna:",
        "! 3 batches have fewer than 50 cells ('batch1', 'batch2', 'batch3')",
        "Would train on 120 cells (0 held out)",
    ):
        assert said in result.stdout
    assert files_under(folder) == START


def test_inspect_tells_of_the_blocks_that_would_be_trained(folder: Path) -> None:
    Path("blocks.toml").write_text("[network]\nmin_features_for_blocks = 50\n", encoding="utf-8")
    result = midas("inspect", "in.h5mu", "--config", "blocks.toml")
    assert "atac: 75 features, bernoulli, binarize, 3 blocks (chromosomes)" in result.stdout


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
    again = midas("simulate", "-o", "again.h5mu", *arguments, "--quiet")
    assert (again.exit_code, again.output) == (0, "")
    with md.set_options(pull_on_update=False):
        first, second = md.read_h5mu("sim.h5mu"), md.read_h5mu("again.h5mu")
    assert {name: adata.shape for name, adata in first.mod.items()} == {
        "rna": (45, 40),
        "adt": (45, 5),
        "atac": (45, 60),
    }
    assert all((first[name].X != second[name].X).nnz == 0 for name in first.mod)
    assert "No cell bridges" in midas("inspect", "sim.h5mu").stdout


def test_simulate_refuses_impossible_wishes(folder: Path) -> None:
    result = midas("simulate", "-o", "sim.h5mu", "--mosaic", "rna+protein")
    assert result.exit_code == 1
    assert "mosaic: expected modalities out of" in result.stderr
    assert files_under(folder) == START


def test_making_and_preparing_a_mosaic_warn_of_nothing(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    assert (
        midas(
            "simulate", "-o", "sim.h5mu", "--cells", "90", "--genes", "40", "--proteins", "5", "--peaks", "60"
        ).exit_code
        == 0
    )
    assert midas("prepare", "sim.h5mu", "-o", "prepared.h5mu").exit_code == 0
    assert [str(warning.message) for warning in recwarn if "mudata" in warning.filename] == []


def test_the_version_is_printed() -> None:
    result = midas("--version")
    assert result.exit_code == 0
    assert result.stdout == f"midas-mosaic {importlib.metadata.version('midas-mosaic')}\n"


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "midas", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("midas-mosaic ")


def test_help_names_the_commands() -> None:
    result = midas("--help")
    assert result.exit_code == 0
    assert all(command in result.output for command in ("inspect", "integrate", "simulate"))


def test_a_folder_of_raw_files_is_sent_to_prepare(folder: Path) -> None:
    (folder / "outs").mkdir()
    (folder / "outs" / "matrix.mtx").write_text("")
    result = midas("inspect", "outs")
    assert result.exit_code == 1
    assert "found matrix.mtx. To make a mosaic of raw files, see midas prepare." in " ".join(result.stderr.split())
