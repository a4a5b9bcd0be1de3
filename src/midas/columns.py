"""Columns of a table of cells, made such as files can hold."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype

_RESERVED: Final = "_index"  # where AnnData files keep the names of the rows


def writable(table: pd.DataFrame) -> pd.DataFrame:
    """Copy a table; columns of mixed kinds, dates and the like become what an ``.h5ad`` file can hold.

    Missing values stay missing: whole numbers and booleans that have some among them become nullable ones.

    Examples
    --------
    >>> table = pd.DataFrame({"day": pd.to_datetime(["2024-02-29", None]), "ok": [True, None]})
    >>> found = writable(table)
    >>> found["day"].tolist()[0], found["ok"].dtype.name
    ('2024-02-29', 'boolean')
    """
    out = table.rename(columns={_RESERVED: _RESERVED.strip("_")}) if _RESERVED in table.columns else table.copy()
    for column, values in out.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            if not _held(values.cat.categories.dtype):
                out[column] = values.cat.rename_categories(_text)
        elif not _held(values.dtype):
            out[column] = _as_text(values)
        elif values.dtype == object:
            out[column] = _of_one_kind(values)
    return out


def _held(dtype: np.dtype | ExtensionDtype) -> bool:
    """Whether a file can hold columns of this type, mixed ones aside: truth, numbers, text."""
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufO"
    return (
        pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype) or isinstance(dtype, pd.StringDtype)
    )


def _of_one_kind(values: pd.Series) -> pd.Series:
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "boolean":
        return values.astype("boolean")
    if kind in {"integer", "floating", "mixed-integer-float"}:
        return pd.to_numeric(values)
    if kind == "empty":
        return values.astype(float)
    return values if kind == "string" else _as_text(values)


def _as_text(values: pd.Series) -> pd.Series:
    texts: pd.Series = values.astype(object).map(_text).where(values.notna(), np.nan)
    return texts


def _text(value: object) -> str:
    """Dates without a time of day as such."""
    return str(value).removesuffix(" 00:00:00")
