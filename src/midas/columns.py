"""Columns of tables of cells: gathered from all modalities, made such as files can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from mudata import MuData
from pandas.api.extensions import ExtensionDtype

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

_RESERVED: Final = "_index"  # where AnnData files keep the names of the rows


def all_columns(data: MuData | AnnData) -> pd.DataFrame:
    """All columns of obs, `(n_cells, n)`: the global ones, then those that only modalities have.

    A column that several modalities have is one column where they agree, and ``<modality>:<column>`` where they do not.

    Examples
    --------
    >>> from midas.columns import all_columns
    >>> "cell_type" in all_columns(mdata)
    True
    """
    table = {str(name): data.obs[name].reset_index(drop=True) for name in data.obs.columns}
    if isinstance(data, MuData):
        found: dict[str, dict[str, pd.Series]] = {}
        for name, adata in data.mod.items():
            if not adata.n_obs:
                continue
            at = _rows(data, name)
            for column in adata.obs.columns:
                if str(column) not in table:
                    values = adata.obs[column].iloc[np.maximum(at, 0)].reset_index(drop=True)
                    found.setdefault(str(column), {})[name] = values.where(at >= 0)
        for column, parts in found.items():
            table |= _merged(column, parts)
    return pd.DataFrame(table, index=pd.RangeIndex(data.n_obs))


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
    out = table.copy()
    out.columns = pd.Index(_names(table.columns))
    for column, values in out.items():
        if isinstance(values.dtype, pd.CategoricalDtype):
            out[column] = _of_held_categories(values)
        elif not _held(values.dtype):
            out[column] = _as_text(values)
        elif values.dtype == object:
            out[column] = _of_one_kind(values)
        elif isinstance(values.dtype, ExtensionDtype) and pd.api.types.is_float_dtype(values.dtype):
            out[column] = values.astype(float)  # files have no other missing value of these
    return out


def _names(columns: pd.Index) -> list[str]:
    """Names of columns that files can hold, each once."""
    taken: set[str] = set()
    found = []
    for column in columns:
        name = str(column).strip("_") if column == _RESERVED else str(column)
        name = name if name.strip(" .") else "unnamed"
        while name in taken:
            name += "_"
        taken.add(name)
        found.append(name)
    return found


def joint_categories(columns: Iterable[pd.Series]) -> pd.CategoricalDtype | None:
    """Categories of columns that become one: in the order of the first, then what others add; None unless all have some.

    Examples
    --------
    >>> stage = pd.Series(["old", "young"], dtype=pd.CategoricalDtype(["young", "old"]))
    >>> joint_categories([stage, stage.cat.add_categories("dead")]).categories.tolist()
    ['young', 'old', 'dead']
    """
    dtypes = [column.dtype for column in columns]
    kinds = [dtype for dtype in dtypes if isinstance(dtype, pd.CategoricalDtype)]
    if not kinds or len(kinds) < len(dtypes):
        return None
    every = [category for kind in kinds for category in kind.categories]
    return pd.CategoricalDtype(
        list(dict.fromkeys(every)), ordered=all(kind.ordered and kind == kinds[0] for kind in kinds)
    )


def alike(one: pd.Series, other: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Two columns that are to be one, brought to one kind, so that what either says stays as it is written.

    Examples
    --------
    >>> [values.tolist() for values in alike(pd.Series([1, 2]), pd.Series(["a", None]))]
    [['1', '2'], ['a', nan]]
    """
    kinds = {_kind(one), _kind(other)}
    if len(kinds) == 1:
        return one, other
    if kinds == {"i", "f"}:  # 1 is not to become 1.0
        return one.convert_dtypes(convert_string=False), other.convert_dtypes(convert_string=False)
    return _as_text(one), _as_text(other)


def _kind(values: pd.Series) -> str:
    dtype = values.cat.categories.dtype if isinstance(values.dtype, pd.CategoricalDtype) else values.dtype
    return "i" if dtype.kind in "iu" else "O" if isinstance(dtype, pd.StringDtype) else dtype.kind


def _of_held_categories(values: pd.Series) -> pd.Series:
    categories = values.cat.categories
    mixed = categories.dtype == object and pd.api.types.infer_dtype(categories) not in {"string", "empty"}
    if _held(categories.dtype) and not mixed:
        return values
    texts = [_text(category) for category in categories]
    if len(set(texts)) < len(texts):  # the number 1 and the text "1"
        return _as_text(values).astype("category")
    return values.cat.rename_categories(texts)


def _rows(data: MuData, name: str) -> NDArray[np.int64]:
    own = pd.Index(data.mod[name].obs_names.astype(str))
    names = pd.Index(data.obs_names.astype(str))
    if own.is_unique:
        return np.asarray(own.get_indexer(names), dtype=np.int64)
    number = np.asarray(data.obsmap.get(name, np.zeros(len(names))), dtype=np.int64)
    return number - 1


def _merged(column: str, parts: dict[str, pd.Series]) -> dict[str, pd.Series]:
    series = list(parts.values())
    whole = series[0].astype(object) if len(series) > 1 else series[0]
    for other in series[1:]:
        both = whole.notna() & other.notna()
        if (whole[both].astype(str) != other[both].astype(str)).any():
            return {f"{name}:{column}": values for name, values in parts.items()}
        whole = whole.where(whole.notna(), other.astype(object))
    return {column: whole.infer_objects()}


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
