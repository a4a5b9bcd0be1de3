"""Locate saved models: a folder, an archive on the web, or a repository on the Hugging Face Hub."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path

import pooch

from midas.extras import needs
from midas.storage import ModelFileError

_HUB = "hf://"
_WEB = ("http://", "https://")
# Errors from unpacking a file that is not an archive, or is damaged.
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)


def fetch(address: str | Path, *, sha256: str | None = None, cache: str | Path | None = None) -> Path:
    """Return a saved model's folder, downloading it if necessary.

    Parameters
    ----------
    address
        A folder; the URL of a zip or tar archive of one; or ``hf://owner/name`` (``@revision`` may
        follow), which needs the extra ``hub``.
    sha256
        SHA-256 hash of the archive; required for a URL, to verify the download, and rejected otherwise, as it would not
        be checked.
    cache
        Folder for downloads; the user's cache folder by default.

    Raises
    ------
    ValueError, ImportError, ModelFileError
        When the hash is missing, or given without a URL; when the extra is not installed; when the download is not a
        model.
    """
    text = str(address)
    if not text.startswith(_WEB):
        if sha256 is not None:
            advice = (
                "Name the commit after the repository (@) to have just that one."
                if text.startswith(_HUB)
                else "Give the URL of the archive, or leave the sum out."
            )
            msg = f"{text}: expected a sha256 with the URL of an archive alone, as nothing else is checked by it. {advice}"
            raise ValueError(msg)
        return _from_hub(text.removeprefix(_HUB), cache) if text.startswith(_HUB) else Path(address)
    if sha256 is None:
        msg = (
            f"{text}: expected the sha256 of the archive, found none. Give sha256=, as the model's authors publish it."
        )
        raise ValueError(msg)
    folder = cache or pooch.os_cache("midas-mosaic")
    try:
        files = pooch.retrieve(text, known_hash=f"sha256:{sha256}", path=folder, processor=_unpacked)
    except _BROKEN as error:
        msg = (
            f"{text}: expected a .zip or .tar.gz archive of a saved model, found something else, or a damaged one ({error}). "
            "Ask the model's authors for another address."
        )
        raise ModelFileError(msg) from error
    found = [Path(file).parent for file in files if Path(file).name == "model.json"]
    if len(found) != 1:
        msg = f"{text}: expected an archive of one saved model, found {len(found)} files model.json."
        raise ModelFileError(msg)
    return found[0]


def _unpacked(file: str, action: str, where: object) -> list[str]:
    """Unpack a downloaded archive; the URL may lack a suffix (``model.zip?download=1``), so its type is sniffed."""
    unpack = pooch.Unzip() if zipfile.is_zipfile(file) else pooch.Untar()
    files: list[str] = unpack(file, action, where)
    return files


def _from_hub(name: str, cache: str | Path | None) -> Path:
    with needs("huggingface-hub", "hub"):
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - optional
    repository, _, revision = name.partition("@")
    return Path(snapshot_download(repository, revision=revision or None, cache_dir=cache))
