"""The one check of a field that a user sets, and its message."""

from __future__ import annotations

import math


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
    """Refuse a number that is infinite, or none.

    Raises
    ------
    ValueError
        As :func:`expect`.
    """
    value = getattr(owner, name)
    expect(owner, name, not isinstance(value, float) or math.isfinite(value), "a finite number")
