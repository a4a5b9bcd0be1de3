"""Helpers shared by the parts of a configuration: checking and replacing fields."""

from __future__ import annotations

import dataclasses
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from midas.expect import expect, expect_finite

ROUNDING: Final = 1e-9
"""Tolerance for fractions that should sum to 1."""


def check_types(owner: Any) -> None:  # noqa: ANN401 - any part of a configuration
    """Reject values of the wrong type (from a TOML file or a typo) before they cause errors deep in torch."""
    for name, hint in _hints(type(owner)).items():  # type: ignore[arg-type] # a class has a hash
        value = getattr(owner, name)
        if get_origin(hint) is Literal:
            expect(owner, name, value in get_args(hint), f"one of {', '.join(map(repr, get_args(hint)))}")
        elif get_origin(hint) is tuple:
            expect(owner, name, isinstance(value, tuple) and all(type(v) is int for v in value), "whole numbers")
        else:
            allowed = tuple(get_args(hint)) or (hint,)
            whole_is_fine = float in allowed and type(value) is int
            expect(owner, name, type(value) in allowed or whole_is_fine, " or ".join(t.__name__ for t in allowed))
            expect_finite(owner, name)


@cache
def _hints(part: type) -> dict[str, Any]:
    """Types of a part's fields; cached, as the look-up takes longer than all checks."""
    return get_type_hints(part)


def overridden(table: str, base: Any, values: Any) -> Any:  # noqa: ANN401 - any part of a configuration
    """Replace fields of a part by the values of its TOML table: "none" becomes None, a list becomes a tuple."""
    names = {f.name for f in dataclasses.fields(base)}
    if not isinstance(values, dict):
        msg = f"Expected [{table}] to be a table, found {values!r}."
        raise TypeError(msg)
    refuse_unknown(f"[{table}]", set(values), names)
    return dataclasses.replace(
        base,
        **{
            key: None if value == "none" else tuple(value) if isinstance(value, list) else value
            for key, value in values.items()
        },
    )


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read the tables of a TOML file.

    Raises
    ------
    FileNotFoundError, tomllib.TOMLDecodeError
        When there is no such file, or it is not valid TOML.
    """
    if not Path(path).is_file():
        msg = f"{path}: expected a TOML file, found {'a folder' if Path(path).is_dir() else 'none'}."
        raise FileNotFoundError(msg)
    return tomllib.loads(Path(path).read_text(encoding="utf-8"))


def refuse_unknown(place: str, found: set[str], known: set[str]) -> None:
    """Reject unknown names, and list the known ones."""
    if found - known:
        msg = f"Unknown in {place}: {', '.join(sorted(found - known))}. Expected some of: {', '.join(sorted(known))}."
        raise ValueError(msg)
