"""``midas map``: what it writes, and that errors leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import pytest
from commands import midas

from helpers import files_under, names, one, query_of
from midas import MIDAS, transfer
from midas.io import read_file, write_mudata


def test_map_writes_latents_and_labels(folder: Path, saved: Path) -> None:
    write_mudata(folder / "q.h5mu", query_of())
    options = ("--labels", "cell_type", "--labels", "lineage", "--mode", "encode", "--model", "mapped")
    result = midas("map", "q.h5mu", "-r", str(saved), "-o", "mapped.h5mu", *options)
    assert result.exit_code == 0, result.output
    found, data = read_file(folder / "mapped.h5mu"), read_file(folder / "q.h5mu")
    assert found.obs_names.tolist() == data.obs_names.tolist()
    expected = transfer.encode(MIDAS.load(saved), data).query.obsm["X_midas"]
    np.testing.assert_allclose(found.obsm["X_midas"], expected, atol=1e-5)
    for column in ("cell_type", "lineage"):
        assert {f"{column}_transferred", f"{column}_confidence", f"{column}_unknown_score"} <= set(found.obs.columns)
    assert found.obs["midas_nearness"].between(0, 1).all()
    assert "Mapped 80 cells (encode)" in result.stderr
    assert (folder / "mapped" / "model.json").is_file()


@pytest.mark.parametrize("mode", ["encode", "query_to_reference"])
def test_map_imputes_every_modality_of_the_reference_for_every_cell(mode: str, folder: Path, saved: Path) -> None:
    query = query_of()
    write_mudata(folder / "q.h5mu", query)
    result = midas("map", "q.h5mu", "-r", str(saved), "-o", "mapped.h5mu", "--mode", mode, "--impute")
    assert result.exit_code == 0, result.output
    found, reference = read_file(folder / "mapped.h5mu"), MIDAS.load(saved)
    for name in reference.modalities:
        whole = name in query.mod and query[name].n_obs == query.n_obs
        values = found[name].layers["imputed"] if whole else found[f"{name}_imputed"].X
        assert len(values) == query.n_obs
        assert np.isfinite(values).all()
        if mode == "encode":
            expected = reference.impute(name, query)
            assert whole or found[f"{name}_imputed"].obs_names.equals(expected.obs_names)
            if not whole:
                np.testing.assert_allclose(values, expected.X, rtol=1e-4, atol=1e-5)


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


def test_a_file_in_place_of_a_reference_is_named_so(folder: Path) -> None:
    result = midas("map", "in.h5mu", "-r", "in.h5mu", "-o", "mapped.h5mu")
    assert result.exit_code == 1
    assert "expected a folder that MIDAS.save() or midas integrate --model wrote, found a file" in result.stderr


def test_raw_files_are_sent_to_prepare(folder: Path, saved: Path) -> None:
    (folder / "raw.h5").write_bytes(b"")
    (folder / "outs").mkdir()
    for name, found in (("raw.h5", "found '.h5'"), ("outs", "found a folder")):
        result = midas("map", name, "-r", str(saved), "-o", "mapped.h5mu")
        assert result.exit_code == 1
        assert f"{found}. Make a mosaic of raw files by midas prepare." in result.stderr


def test_what_is_to_be_said_of_a_query_is_said_once(folder: Path, saved: Path) -> None:
    query = query_of()
    write_mudata(folder / "q.h5mu", md.MuData({"rna": query["rna"][:, :-5].copy()}))
    result = midas("map", "q.h5mu", "-r", str(saved), "-o", "mapped.h5mu", "--mode", "encode", "--impute")
    assert result.exit_code == 0, result.output
    assert " ".join(result.stderr.split()).count("are missing (masked)") == 1


def test_advice_is_of_options(folder: Path) -> None:
    one(names("c", 30), ["CD3", "CD56", "CD45RA", "CD19"]).write_h5ad(folder / "adt.h5ad")
    said = " ".join(midas("inspect", "adt.h5ad").stdout.split())
    assert "If it is another, write it as a modality of that name (rna, adt, atac) into an .h5mu file." in said
    assert "in place of adata" not in said


def test_the_reference_is_not_written_over(folder: Path, saved_with_counts: Path) -> None:
    write_mudata(folder / "q.h5mu", query_of())
    before = files_under(saved_with_counts)
    options = ("-o", "mapped.h5mu", "--mode", "encode", "--model", str(saved_with_counts))
    result = midas("map", "q.h5mu", "-r", str(saved_with_counts), *options)
    assert result.exit_code == 1
    assert "Expected --model to be another folder than --reference" in " ".join(result.stderr.split())
    assert files_under(saved_with_counts) == before


def test_label_writes_a_table(folder: Path, saved: Path) -> None:
    write_mudata(folder / "q.h5mu", query_of())
    Path("map.toml").write_text(
        "[transfer]\nsubtract_shift = false\n[labels]\nmin_confidence = 1.0\n", encoding="utf-8"
    )
    options = ("-r", str(saved), "--labels", "cell_type", "--mode", "encode")
    result = midas("label", "q.h5mu", *options, "-o", "labels.csv")
    assert result.exit_code == 0, result.output
    found, data = pd.read_csv(folder / "labels.csv", index_col="cell"), read_file(folder / "q.h5mu")
    assert found.index.tolist() == data.obs_names.tolist()
    expected = transfer.labels(MIDAS.load(saved), data, "cell_type", mode="encode")
    assert found["cell_type_transferred"].tolist() == expected["cell_type_transferred"].tolist()
    result = midas("label", "q.h5mu", *options, "-o", "unsure.tsv", "--config", "map.toml")
    assert result.exit_code == 0, result.output
    unsure = pd.read_csv(folder / "unsure.tsv", index_col="cell", sep="\t")
    assert set(unsure["cell_type_transferred"]) == {"Unknown"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "labels.csv"), "Expected --labels, the columns of the reference's obs to transfer, found none"),
        (("-o", "labels.xlsx", "--labels", "cell_type"), "expected a table that ends in .csv or .tsv, found '.xlsx'"),
        (("-o", "in.h5mu/labels.csv", "--labels", "cell_type"), "expected a place that can be written to"),
        (("-o", "labels.csv", "--labels", "cell_type", "--config", "bad.toml"), "Unknown in [transfer]: held"),
    ],
)
def test_label_refuses_before_it_maps(options: tuple[str, ...], message: str, folder: Path, saved: Path) -> None:
    write_mudata(folder / "q.h5mu", query_of())
    Path("bad.toml").write_text("[transfer]\nheld = 100.0\n", encoding="utf-8")
    before = files_under(folder)
    result = midas("label", "q.h5mu", "-r", str(saved), *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert files_under(folder) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[transfer]\npreset = "other"', r"map\.toml: Expected a preset out of \['default', 'paper'\], found 'other'"),
        ("[transfer]\nquery_anchor = -1.0", r"map\.toml: .*query_anchor"),
        ("[tuning]\n", r"map\.toml: Unknown in the settings of a mapping: tuning"),
        ("transfer = 3", r"map\.toml: Expected \[transfer\] to be a table, found 3"),
    ],
)
def test_settings_that_are_none(text: str, message: str, folder: Path) -> None:
    (folder / "map.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        transfer.read_settings(folder / "map.toml")


def test_settings_of_a_mapping(folder: Path) -> None:
    (folder / "map.toml").write_text('[transfer]\npreset = "paper"\nstep_fraction = 0.5\n', encoding="utf-8")
    tuning, voting = transfer.read_settings(folder / "map.toml")
    assert tuning is not None
    assert (tuning.adversarial, tuning.step_fraction, voting) == (30.0, 0.5, None)
