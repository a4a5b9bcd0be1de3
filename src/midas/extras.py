"""Optional dependencies, and clear errors that name the extra to install."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def needs(library: str, extra: str, *, otherwise: str = "") -> Iterator[None]:
    """Say which extra to install when an import inside the block fails.

    Parameters
    ----------
    library
        Name of the library on PyPI.
    extra
        The extra of this package that installs it.
    otherwise
        Alternative advice, appended to the message.

    Raises
    ------
    ImportError
        Naming the library and the extra.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(_advice(library, f"none ({error})", extra) + otherwise) from error


def check_installed(libraries: Mapping[str, str], extra: str) -> None:
    """Check early, without importing them, that libraries needed later are installed.

    Parameters
    ----------
    libraries
        Names on PyPI by names of the modules.
    extra
        The extra of this package that installs them.

    Raises
    ------
    ModuleNotFoundError
        Naming those that are missing, and the extra.
    """
    missing = [library for module, library in libraries.items() if importlib.util.find_spec(module) is None]
    if missing:
        found = "neither" if len(missing) > 1 else "none"
        raise ModuleNotFoundError(_advice(" and ".join(missing), found, extra))


def _advice(library: str, found: str, extra: str) -> str:
    return f'Expected {library} to be installed, found {found}. Install it: pip install "midas-mosaic[{extra}]"'
