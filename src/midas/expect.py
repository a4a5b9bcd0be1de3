"""Validation of user-set fields and seeds."""

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
        Object with the field.
    name
        Name of the field.
    ok
        Whether its value is valid.
    expected
        Description of valid values.

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
    """Check that a value is a valid seed.

    Returns
    -------
    The seed as an int.

    Raises
    ------
    ValueError
        When it is not; the message gives the valid range.
    """
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool) and 0 <= int(seed) < _SEEDS:
        return int(seed)
    msg = f"Expected seed to be a whole number from 0 up to {_SEEDS - 1:,}, found {seed!r}."
    raise ValueError(msg)


def sklearn_seed(seed: int) -> int:
    """Seed for libraries with a smaller range (scikit-learn, umap, pynndescent, scanpy); larger seeds wrap around."""
    return seed % _SEEDS_OF_SKLEARN
