"""The one check of a field that a user sets, and its message."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

_SEEDS: Final = 2**63  # what torch's generators take

_SEEDS_OF_SKLEARN: Final = 2**32
"""What scikit-learn and numpy's older generators take."""


def expect(owner: object, name: str, ok: bool, expected: str) -> None:  # noqa: FBT001 - an assertion
    """Refuse the value of a field.

    Parameters
    ----------
    owner
        Whose field it is.
    name
        Of the field.
    ok
        Whether its value will do.
    expected
        What it should have been, in words.

    Raises
    ------
    ValueError
        Naming the field, what was expected and what was found.
    """
    if not ok:
        msg = f"{type(owner).__name__}.{name}: expected {expected}, found {getattr(owner, name)!r}."
        raise ValueError(msg)


def expect_finite(owner: object, name: str) -> None:
    """Refuse a number that is infinite or NaN.

    Raises
    ------
    ValueError
        As :func:`expect`.
    """
    value = getattr(owner, name)
    expect(owner, name, not isinstance(value, float) or math.isfinite(value), "a finite number")


def expect_seed(seed: object) -> int:
    """Refuse what is no seed.

    Returns
    -------
    It, as an int.

    Raises
    ------
    ValueError
        Saying which numbers are.
    """
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool) and 0 <= int(seed) < _SEEDS:
        return int(seed)
    msg = f"Expected seed to be a whole number from 0 up to {_SEEDS - 1:,}, found {seed!r}."
    raise ValueError(msg)


def sklearn_seed(seed: int) -> int:
    """The seed for libraries that take smaller ones (scikit-learn, umap, pynndescent, scanpy); larger ones start over."""
    return seed % _SEEDS_OF_SKLEARN
