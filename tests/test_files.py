"""Nothing is ever half there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import files_under
from midas.files import holds_only, is_store, obstacle, replacing


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    for text in ("old", "new"):
        with replacing(target) as scratch:
            assert scratch.suffix == ".txt"
            scratch.write_text(text)
        assert target.read_text() == text
    assert files_under(tmp_path) == ["a", "a/b.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_one_stays(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "b.txt"
    target.write_text("old")

    def broken() -> None:
        with replacing(target) as scratch:
            scratch.write_text("half")
            raise error

    with pytest.raises(error):
        broken()
    assert target.read_text() == "old"
    assert files_under(tmp_path) == ["b.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("first", "second"):
        with replacing(target, replaceable=holds_only("first")) as scratch:
            scratch.mkdir()
            (scratch / name).touch()
    assert files_under(tmp_path) == ["model", "model/second"]


@pytest.mark.parametrize("replaceable", [None, holds_only("weights"), is_store])
def test_a_folder_with_anything_else_is_left_alone(replaceable: Callable[[Path], bool] | None, tmp_path: Path) -> None:
    target = tmp_path / "project"
    target.mkdir()
    (target / "thesis.txt").write_text("years")
    with (
        pytest.raises(
            FileExistsError, match=r"project: expected a new name, .*found a folder with thesis.txt\. Choose"
        ),
        replacing(target, replaceable=replaceable),
    ):
        pytest.fail("must not begin")
    assert files_under(tmp_path) == ["project", "project/thesis.txt"]


def test_a_block_that_writes_nothing_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "b.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(target):
        pass
    assert target.read_text() == "old"
    assert files_under(tmp_path) == ["b.txt"]


def test_obstacles_are_named_and_asking_leaves_no_trace(tmp_path: Path) -> None:
    assert obstacle(tmp_path / "new" / "folder" / "x.h5mu") is None
    (tmp_path / "file").touch()
    assert obstacle(tmp_path / "file" / "x.h5mu") == f"{tmp_path / 'file'}, which is no folder"
    assert obstacle(tmp_path / "file" / "deeper" / "x.h5mu") == f"{tmp_path / 'file'}, which is no folder"
    assert files_under(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_written_to_is_an_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    assert obstacle(tmp_path / "x") == f"{tmp_path}, where nothing can be written (Permission denied)"


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old")

    def nothing_made() -> None:
        with replacing(target, replaceable=holds_only("weights")):
            pass

    with pytest.raises(FileNotFoundError):
        nothing_made()
    assert files_under(tmp_path) == ["model", "model/weights"]
