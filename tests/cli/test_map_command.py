"""``midas map``: what it writes, and that errors leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import midas

from helpers import files_under, query_of
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
    assert "Mapped 80 cells (encode)" in result.stderr
    assert (folder / "mapped" / "model.json").is_file()


@pytest.mark.parametrize("mode", ["encode", "query"])
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
