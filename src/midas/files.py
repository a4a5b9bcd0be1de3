"""Atomic writing: to a temporary path next to the target, then renamed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def obstacle(target: Path) -> str | None:
    """Return why `target` cannot be written, or None if it can; nothing is created or changed."""
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


def check_writable(target: Path, *, folder: bool = False, error: type[Exception] | None = None) -> None:
    """Raise an error early if a path cannot be written to.

    Parameters
    ----------
    folder
        Whether the path may be a folder.
    error
        Exception to raise instead of those below.

    Raises
    ------
    IsADirectoryError, PermissionError
        When it is a folder, or cannot be written.
    """
    if target.is_dir() and not folder:
        msg = f"{target}: expected the name of a file, found a folder. Choose another name."
        raise (error or IsADirectoryError)(msg)
    found = obstacle(target)
    if found is not None:
        msg = f"{target}: expected a place that can be written to, found {found}. Choose another place."
        raise (error or PermissionError)(msg)


def holds_only(*names: str) -> Callable[[Path], bool]:
    """Predicate whether a folder holds only these files, so that no other files are lost when it is replaced."""
    return lambda folder: {path.name for path in folder.iterdir()} <= set(names)


def is_store(folder: Path) -> bool:
    """Whether a folder is empty, or a zarr store."""
    there = {path.name for path in folder.iterdir()}
    return not there or bool(there & {"zarr.json", ".zgroup"})


def check_replaceable(target: Path, replaceable: Callable[[Path], bool]) -> None:
    """Raise an error if a folder with other content would be replaced.

    Raises
    ------
    FileExistsError
        When `target` is a folder that is not `replaceable`.
    """
    if not target.is_dir() or replaceable(target):
        return
    there = sorted(path.name for path in target.iterdir()) or ["nothing in it"]
    found = f"a folder with {there[0]}" + (f" and {len(there) - 1:,} more" if len(there) > 1 else "")
    msg = f"{target}: expected a new name, or an older result to replace, found {found}. Choose another name."
    raise FileExistsError(msg)


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


def apply_umask(path: Path) -> None:
    """Give a file the default mode of new files, as some libraries restrict theirs to the user."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        usual = Path(folder) / path.name
        usual.touch()
        path.chmod(stat.S_IMODE(usual.stat().st_mode))


@contextmanager
def replacing(target: Path, *, replaceable: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """Yield a temporary path that replaces `target` when the block succeeds, and is removed otherwise.

    An existing folder is moved aside first, and only removed once the new one is in place.

    Parameters
    ----------
    replaceable
        Whether an existing folder may be replaced; by default only if empty.

    Raises
    ------
    FileExistsError
        When it may not be replaced, before anything is written.
    """
    target = target.absolute()
    check_replaceable(target, replaceable or holds_only())
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        made = scratch / target.name
        yield made
        # Renaming is atomic, but data still in the page cache would not survive a power failure.
        if made.is_file():
            with made.open("rb") as file:
                os.fsync(file.fileno())
        _put(made, target, scratch / "previous")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
