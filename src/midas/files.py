"""Writing so that nothing is ever half there: to a temporary name beside the target, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def obstacle(target: Path) -> str | None:
    """Say why `target` could not be written, or None when it could; nothing is made or changed by asking."""
    place = target.absolute().parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return f"{place}, which is no folder"
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return f"{place}, where nothing can be written ({error.strerror})"


def _put(made: Path, target: Path, aside: Path) -> None:
    if not target.is_dir():
        made.replace(target)
        return
    target.rename(aside)
    try:
        made.replace(target)
    except BaseException:
        aside.rename(target)
        raise


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that takes its place when the block ends well, and vanishes otherwise.

    A folder in the way of a folder is moved aside first, and only removed once the new one is in place.
    """
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        made = scratch / target.name
        yield made
        # A file is replaced in one step; data that are only in the page cache would not survive a power cut.
        if made.is_file():
            with made.open("rb") as file:
                os.fsync(file.fileno())
        _put(made, target, scratch / "previous")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
