"""Where a saved model is: a folder, an archive on the web, or a repository of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import pooch

from midas.storage import ModelFileError

_HUB = "hf://"
_WEB = ("http://", "https://")


def fetch(address: str | Path, *, sha256: str | None = None, cache: str | Path | None = None) -> Path:
    """Find a saved model's folder, bringing it here if it is elsewhere.

    Parameters
    ----------
    address
        A folder; the URL of a ``.zip`` or ``.tar.gz`` archive of one; or ``hf://owner/name`` (``@revision`` may
        follow), which needs the extra ``hub``.
    sha256
        Of the archive; required for a URL, so that nobody else's file is taken for it.
    cache
        Folder for what is brought; a folder of the user's by default.

    Raises
    ------
    ValueError, ImportError, ModelFileError
        When the sum is missing, the extra is not installed, or what came is no model.
    """
    text = str(address)
    if text.startswith(_HUB):
        return _from_hub(text.removeprefix(_HUB), cache)
    if not text.startswith(_WEB):
        return Path(address)
    if sha256 is None:
        msg = (
            f"{text}: expected the sha256 of the archive, found none. Give sha256=, as the model's authors publish it."
        )
        raise ValueError(msg)
    unpack = pooch.Unzip() if text.endswith(".zip") else pooch.Untar()
    folder = cache or pooch.os_cache("midas-mosaic")
    files = pooch.retrieve(text, known_hash=f"sha256:{sha256}", path=folder, processor=unpack)
    found = [Path(file).parent for file in files if Path(file).name == "model.json"]
    if len(found) != 1:
        msg = f"{text}: expected an archive of one saved model, found {len(found)} files model.json."
        raise ModelFileError(msg)
    return found[0]


def _from_hub(name: str, cache: str | Path | None) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - optional
    except ImportError as error:
        msg = 'Expected the package huggingface_hub, found none. Install it with pip install "midas-mosaic[hub]".'
        raise ImportError(msg) from error
    repository, _, revision = name.partition("@")
    return Path(snapshot_download(repository, revision=revision or None, cache_dir=cache))
