"""Libraries of the extra ``prepare``, and a clear word where they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(library: str) -> Iterator[None]:
    """Say which extra to install when an import inside the block fails.

    Raises
    ------
    ImportError
        Naming the library and the extra.
    """
    try:
        yield
    except ImportError as error:
        msg = f'Expected {library} to be installed, found none ({error}). Run: pip install "midas-mosaic[prepare]"'
        raise ImportError(msg) from error
