"""The record that methods fill comes back from its file as it was, and a file that does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midas.metrics import Result, ResultError, Values

CELLS = ["a", "b", "c"]


def whole() -> Result:
    rng = np.random.default_rng(0)
    return Result(
        embedding=Values(CELLS, rng.normal(size=(3, 2))),
        technical=Values(CELLS, rng.normal(size=(3, 1))),
        modality_latents={"rna": Values(["c", "x"], rng.normal(size=(2, 2)))},
        corrected={"rna": Values(CELLS, rng.random((3, 2)), ["g1", "g2"])},
        imputed={"adt": Values(["a"], [[70_000.0]], ["p"])},
        translated={(("rna", "adt"), "atac"): Values(["b", "a"], [[0.5], [1]], ["peak"])},
    )


def test_a_result_comes_back(tmp_path: Path) -> None:
    before = whole()
    before.save(tmp_path / "r.npz")
    after = Result.load(tmp_path / "r.npz")
    np.testing.assert_allclose(after.embedding.array, before.embedding.array, rtol=1e-6)
    assert after.technical is not None
    assert list(after.modality_latents["rna"].cells) == ["c", "x"]
    np.testing.assert_allclose(after.corrected["rna"].array, before.corrected["rna"].array, rtol=1e-3)
    assert list(after.corrected["rna"].features) == ["g1", "g2"]
    assert after.imputed["adt"].array[0, 0] == 70_000  # beyond float16
    route = after.translated[("adt", "rna"), "atac"]
    assert list(route.cells) == ["b", "a"]
    assert route.array[:, 0].tolist() == [0.5, 1]


def test_numpy_alone_can_write_it(tmp_path: Path) -> None:
    arrays = {
        "cells": np.array(CELLS),
        "embedding": np.eye(3),
        "imputed/rna": np.ones((3, 1)),
        "features/rna": np.array(["g"]),
    }
    np.savez(tmp_path / "r.npz", **arrays)
    found = Result.load(tmp_path / "r.npz")
    assert found.technical is None
    assert not found.translated
    assert list(found.imputed["rna"].cells) == CELLS


def test_rows_are_taken_by_name() -> None:
    rows = Values(CELLS, [[1.0], [2.0], [3.0]]).get(["c", "z", "a"])
    np.testing.assert_array_equal(rows, [[3], [np.nan], [1]])


def test_features_may_come_in_another_order(tmp_path: Path) -> None:
    one, two = Values(CELLS, [[1.0, 2]] * 3, ["g1", "g2"]), Values(CELLS, [[2.0, 1]] * 3, ["g2", "g1"])
    Result(Values(CELLS, np.eye(3)), corrected={"rna": one}, imputed={"rna": two}).save(tmp_path / "r.npz")
    assert Result.load(tmp_path / "r.npz").imputed["rna"].array[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": None}, "expected the array 'cells'"),
        ({"embedding": np.eye(2)}, "Expected an array of 3 cells"),
        ({"cells": np.array(["a", "a", "b"])}, "Expected each cell once"),
        ({"latents/rna": np.eye(3)}, "found 'latents/rna'"),
        ({"imputed/rna": np.eye(3)}, "expected the array 'features/rna'"),
        ({"translated/rna": np.eye(3), "features/rna": np.array(CELLS)}, "expected translated/<sources"),
        ({"embedding": np.array([[None], [None], [None]])}, "without pickled objects"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    arrays = {"cells": np.array(CELLS), "embedding": np.eye(3)} | change
    np.savez(tmp_path / "r.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(ResultError, match=message):
        Result.load(tmp_path / "r.npz")


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "r.npy", np.eye(3))
    with pytest.raises(ResultError, match=r"a single array, as np\.save writes it; use np\.savez"):
        Result.load(tmp_path / "r.npy")


def test_a_part_without_cells_has_rows_of_none() -> None:
    assert np.isnan(Values([], np.empty((0, 2))).get(["a", "b"])).all()


def test_features_come_once() -> None:
    with pytest.raises(ResultError, match=r"Expected each feature once, found repeated names: .*g1"):
        Values(CELLS, np.eye(3), ["g1", "g1", "g2"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="found none that can be read"):
        Result.load(tmp_path / "none.npz")
