"""Data sets are found in the right place, fetched once, and never taken with a wrong hash."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import anndata as ad
import mudata as md
import numpy as np
import pytest
import scipy.sparse as sp

from midas import datasets
from midas.datasets import Dataset
from midas.simulate import SimulationConfig, mosaic

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADABLE = [entry.name for entry in datasets.available() if entry.loadable]


def real_folder() -> Path | None:
    named = os.environ.get(datasets.FOLDER_VARIABLE)
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's cache and variable out of the tests."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.pooch, "os_cache", lambda _: folder)
    monkeypatch.delenv(datasets.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with one small mosaic."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    config = SimulationConfig(n_cells=20, n_genes=30, n_proteins=4, n_peaks=30, n_chromosomes=3)
    with md.set_options(pull_on_update=False):
        mosaic(config).write_h5mu(folder / "tiny.h5mu")
    return folder


def register(monkeypatch: pytest.MonkeyPatch, file: Path, url: str | None = None) -> str:
    """Make `file` the only data set, and return its hash."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    entry = Dataset("tiny", "A test.", "https://example.org/paper", filename=file.name, sha256=sha256, url=url)
    monkeypatch.setattr(datasets, "DATASETS", MappingProxyType({"tiny": entry}))
    return sha256


@pytest.fixture
def server(shelf: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(shelf))) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_the_registry_is_consistent() -> None:
    entries = datasets.available()
    assert {entry.name for entry in entries} == set(datasets.DATASETS)
    assert [entry.loadable for entry in entries] == sorted((entry.loadable for entry in entries), reverse=True)
    for entry in entries:
        assert entry.source.startswith("https://")
        assert (entry.url or "https://").startswith("https://")
        if entry.sha256 is not None:
            assert len(entry.sha256) == 64
            assert set(entry.sha256) <= set("0123456789abcdef")


def test_a_file_without_a_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a sha256 for every file"):
        Dataset("x", "A test.", "https://example.org", filename="x.h5mu")


def test_explicit_folder_comes_before_the_variable_and_the_cache(
    shelf: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, shelf / "tiny.h5mu")
    named = tmp_path / "named"
    for place in (cache, named):
        place.mkdir()
        (place / "tiny.h5mu").write_bytes((shelf / "tiny.h5mu").read_bytes())
    assert datasets.path("tiny") == cache / "tiny.h5mu"
    monkeypatch.setenv(datasets.FOLDER_VARIABLE, str(named))
    assert datasets.path("tiny") == named / "tiny.h5mu"
    assert datasets.path("tiny", folder=shelf) == shelf / "tiny.h5mu"
    (shelf / "tiny.h5mu").unlink()
    assert datasets.path("tiny", folder=shelf) == named / "tiny.h5mu"


def test_another_hash_is_an_error_that_names_both(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shelf / "tiny.h5mu"
    expected = register(monkeypatch, file)
    file.write_bytes(file.read_bytes() + b"x")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"expected sha256 {expected}, found {found}"):
        datasets.load("tiny", folder=shelf)


def test_a_set_without_an_address_says_what_to_put_where(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = register(monkeypatch, shelf / "tiny.h5mu")
    with pytest.raises(FileNotFoundError, match=rf"tiny\.h5mu is not in any of: .*sha256 {sha256}.*MIDAS_DATA"):
        datasets.load("tiny", folder=tmp_path)


def test_fetches_once_into_the_cache(shelf: Path, cache: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, shelf / "tiny.h5mu", url=f"{server}/tiny.h5mu")
    mdata = datasets.load("tiny")
    assert isinstance(mdata, md.MuData)
    assert mdata.n_obs == 20
    (shelf / "tiny.h5mu").unlink()
    assert datasets.path("tiny") == cache / "tiny.h5mu"


def test_a_fetched_file_with_another_hash_is_refused(shelf: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, shelf / "tiny.h5mu", url=f"{server}/tiny.h5mu")
    (shelf / "tiny.h5mu").write_bytes(b"something else")
    with pytest.raises(ValueError, match="hash"):
        datasets.path("tiny")


def test_a_failed_download_says_what_to_do(shelf: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, shelf / "tiny.h5mu", url=f"{server}/not-there.h5mu")
    with pytest.raises(ConnectionError, match=r"save it as tiny\.h5mu"):
        datasets.path("tiny")


def test_unknown_names_and_bare_sources_list_what_loads() -> None:
    with pytest.raises(ValueError, match=r"Unknown data set 'pbmc'.*pbmc_wnn_mosaic_1600"):
        datasets.load("pbmc")
    source = next(entry for entry in datasets.available() if not entry.loadable)
    with pytest.raises(ValueError, match=r"listed as a source only.*pbmc_wnn_mosaic_1600"):
        datasets.load(source.name)


def test_a_folder_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotADirectoryError, match="Expected `folder` to name a folder"):
        datasets.path(LOADABLE[0], folder=tmp_path / "nowhere")
    monkeypatch.setenv(datasets.FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match="MIDAS_DATA"):
        datasets.path(LOADABLE[0])


@pytest.mark.parametrize("name", LOADABLE)
def test_real_files_are_what_the_registry_says(name: str) -> None:
    folder, entry = REAL, datasets.DATASETS[name]
    if folder is None or not (folder / str(entry.filename)).is_file():
        pytest.skip("no local copy")
    data = datasets.load(name, folder=folder)
    assert isinstance(data, ad.AnnData if str(entry.filename).endswith(".h5ad") else md.MuData)
    assert {entry.batch_key, entry.label_key} <= set(data.obs)
    assert data.obs[entry.batch_key].notna().all()
    for adata in [data] if isinstance(data, ad.AnnData) else data.mod.values():
        assert isinstance(adata.X, sp.csr_matrix)
        assert adata.X.dtype == np.float32
        assert (adata.X.data == np.round(adata.X.data)).all()


REAL = real_folder()  # before a fixture hides the variable
