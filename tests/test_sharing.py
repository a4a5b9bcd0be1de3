"""A model is brought from where it is, and nobody else's file is taken for it."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from midas import MIDAS, ModelFileError
from midas.sharing import fetch


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def web(tmp_path: Path, saved: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is on the web, with the archives of a model, and its address."""
    folder = tmp_path / "web"
    folder.mkdir()
    for kind in ("zip", "gztar"):
        shutil.make_archive(str(folder / "model"), kind, saved.parent, saved.name)
    shutil.make_archive(str(folder / "flat"), "zip", saved)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "name", ["model.zip", "model.tar.gz", "flat.zip", "model.zip?download=1", "model.tar.gz?x=.zip"]
)
def test_an_archive_on_the_web_is_loaded(name: str, web: tuple[Path, str], fitted: MIDAS) -> None:
    folder, address = web
    found = MIDAS.load(f"{address}/{name}", sha256=sha256(folder / name.partition("?")[0]))
    assert found.schema.to_dict() == fitted.schema.to_dict()
    np.testing.assert_array_equal(found.cells.obsm["X_midas"], fitted.cells.obsm["X_midas"])


def test_what_was_brought_once_is_not_brought_again(web: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = web
    known = sha256(folder / "model.zip")
    first = fetch(f"{address}/model.zip", sha256=known, cache=tmp_path / "mine")
    (folder / "model.zip").unlink()
    assert fetch(f"{address}/model.zip", sha256=known, cache=tmp_path / "mine") == first
    assert first.is_relative_to(tmp_path / "mine")


def test_another_sum_is_refused(web: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?i)hash"):
        fetch(f"{web[1]}/model.zip", sha256="0" * 64, cache=tmp_path / "mine")
    assert not list((tmp_path / "mine").rglob("model.json"))


def test_the_sum_must_be_given(web: tuple[Path, str]) -> None:
    with pytest.raises(ValueError, match=r"expected the sha256 of the archive, found none\. Give sha256="):
        MIDAS.load(f"{web[1]}/model.zip")


@pytest.mark.parametrize(("address", "advice"), [("hf://somebody/model", "Name the commit"), ("model", "Give the URL")])
def test_a_sum_that_would_not_be_checked_is_refused(address: str, advice: str) -> None:
    with pytest.raises(ValueError, match=f"{address}: expected a sha256 with the URL of an archive alone.*{advice}"):
        fetch(address, sha256="0" * 64)


def test_an_archive_of_something_else(web: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = web
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    shutil.make_archive(str(folder / "thesis"), "zip", tmp_path / "thesis")
    with pytest.raises(ModelFileError, match=r"expected an archive of one saved model, found 0 files model\.json"):
        fetch(f"{address}/thesis.zip", sha256=sha256(folder / "thesis.zip"))


@pytest.mark.parametrize("name", ["model.zip", "model.tar.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_damaged_archive_is_said_to_be_one(name: str, kept: float, web: tuple[Path, str]) -> None:
    folder, address = web
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(kept * len(content))] or b"<html>Not found</html>")
    with pytest.raises(
        ModelFileError, match=r"expected a \.zip or \.tar\.gz archive of a saved model, found something else"
    ):
        fetch(f"{address}/{name}", sha256=sha256(folder / name))


def test_the_hub_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        ImportError,
        match=r'huggingface-hub to be installed, found none.*\. Install it: pip install "midas-mosaic\[hub\]"',
    ):
        MIDAS.load("hf://somebody/model")


def test_the_hub_is_asked_for_a_revision(monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    class Hub:
        @staticmethod
        def snapshot_download(name: str, *, revision: str | None, cache_dir: object) -> str:
            asked.append((name, revision))
            return str(saved)

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert fetch("hf://somebody/model@v2") == fetch("hf://somebody/model") == saved
    assert asked == [("somebody/model", "v2"), ("somebody/model", None)]


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert fetch(tmp_path) == fetch(str(tmp_path)) == tmp_path
