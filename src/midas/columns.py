"""Obs columns: merge them over modalities, and convert them to types that files support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from mudata import MuData
from pandas.api.extensions import ExtensionDtype

from midas.natural import natural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

_RESERVED: Final = "_index"  # where AnnData files keep the names of the rows


@dataclass(frozen=True)
class Table:
    """Columns for some of the cells.

    Attributes
    ----------
    label
        Name of the modality; empty for the global table.
    obs
        The columns, `(n, ...)`.
    at
        Cell index of each row, `(n,)`; -1 for none.
    """

    label: str
    obs: pd.DataFrame
    at: NDArray[np.int64]


def merged(tables: Sequence[Table], n_cells: int) -> pd.DataFrame:
    """Merge all columns into one table, `(n_cells, ...)`, in order of first occurrence.

    The global table has precedence, and its missing values are filled from the modalities. A column of several
    modalities is merged if they agree, and split into ``<modality>:<column>`` if not, unless the global table has a
    column of that name. Integers remain integers if some are missing.

    Examples
    --------
    >>> rna = Table("rna", pd.DataFrame({"n": [3], "cluster": [1]}), np.array([0]))
    >>> adt = Table("adt", pd.DataFrame({"n": [7], "cluster": [1]}), np.array([0]))
    >>> merged([rna, adt], 2)
       rna:n  adt:n  cluster
    0      3      7        1
    1   <NA>   <NA>     <NA>
    """
    found: dict[str, dict[str, list[Table]]] = {}
    for table in tables:
        for column in table.obs.columns:
            found.setdefault(str(column), {}).setdefault(table.label, []).append(
                Table(table.label, table.obs[[column]], table.at)
            )
    columns: dict[str, pd.Series] = {}
    for name, by_label in found.items():
        first, *more = (piece for some in by_label.values() for piece in some)
        # Nothing to merge: as it is, and no copy as objects.
        if not more and np.array_equal(first.at, np.arange(n_cells)):
            columns[name] = first.obs.iloc[:, 0].reset_index(drop=True).infer_objects()
            continue
        values = {label: _filled(some, n_cells) for label, some in by_label.items()}
        whole = next(iter(values.values())) if len(values) == 1 else _joined(values)
        if whole is None:
            columns |= {
                f"{label}:{name}": _restored(values[label], some)
                for label, some in by_label.items()
                if "" not in found.get(f"{label}:{name}", {})
            }
        else:
            columns[name] = _restored(whole, [first, *more])
    return pd.DataFrame(columns, index=pd.RangeIndex(n_cells))


def all_columns(data: MuData | AnnData) -> pd.DataFrame:
    """All columns of obs, `(n_cells, n)`: the global ones, then those that only modalities have, as :func:`merged`.

    Examples
    --------
    >>> from midas.columns import all_columns
    >>> "cell_type" in all_columns(mdata)
    True
    """
    tables = [Table("", data.obs, np.arange(data.n_obs))]
    if isinstance(data, MuData):
        tables += [Table(name, adata.obs, _places(data, name)) for name, adata in data.mod.items() if adata.n_obs]
    return merged(tables, data.n_obs)


def as_text(values: pd.Series) -> NDArray[np.object_]:
    """Values as text, None for missing ones, `(n,)`; 1 and 1.0 are equal, as missing values turn integers into floats.

    Dates are written as in files, so that groups keep their names.

    Examples
    --------
    >>> as_text(pd.Series([1.0, 0.5, None])).tolist()
    ['1', '0.5', None]
    """
    codes, uniques = pd.factorize(values)
    return np.array([*map(_group, uniques), None], dtype=object)[codes]


def group_names(groups: pd.Series) -> list[str]:
    """Names of groups, in the order of categories or else in natural order; empty groups and NaN are omitted.

    Examples
    --------
    >>> group_names(pd.Series(["c10", "c2", None])), group_names(pd.Series([10.0, 2.0]))
    (['c2', 'c10'], ['2', '10'])
    """
    there = {name for name in as_text(groups) if name is not None}
    if isinstance(groups.dtype, pd.CategoricalDtype):
        return [name for name in dict.fromkeys(as_text(pd.Series(groups.cat.categories))) if name in there]
    return sorted(there, key=natural)


def writable(table: pd.DataFrame) -> pd.DataFrame:
    """Copy a table, converting columns of mixed types, dates etc. to types that ``.h5ad`` files support.

    Missing values are kept: integers and booleans with missing values get nullable dtypes.

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
    """Union of the categories of columns, in order of first occurrence; None unless all are categorical.

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
    """Convert two columns to a common type without changing how their values are written.

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


def rows_by_map(data: MuData, name: str) -> NDArray[np.int64]:
    """Row of `data` of each row of a modality, from the MuData's ``obsmap``, `(n_cells of the modality,)`; -1 for none."""
    number = np.asarray(data.obsmap.get(name, ()), dtype=np.int64)  # 1-based; 0 for cells without the modality
    at = np.full(data.mod[name].n_obs, -1, dtype=np.int64)
    at[number[number > 0] - 1] = np.flatnonzero(number > 0)
    return at


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


def _places(data: MuData, name: str) -> NDArray[np.int64]:
    """Global index of each cell of a modality; -1 for none."""
    own = pd.Index(data.mod[name].obs_names.astype(str))
    names = pd.Index(data.obs_names.astype(str))
    if own.is_unique and names.is_unique:
        return np.asarray(names.get_indexer(own), dtype=np.int64)
    return rows_by_map(data, name)


def _filled(pieces: Sequence[Table], n_cells: int) -> NDArray[np.object_]:
    """Values of one column from the first table that has them; NaN if none has."""
    values = np.full(n_cells, np.nan, dtype=object)
    for piece in pieces:
        there = np.flatnonzero(piece.at >= 0)
        there = there[pd.isna(values[piece.at[there]])]
        values[piece.at[there]] = piece.obs.iloc[:, 0].astype(object).to_numpy()[there]
    return values


def _joined(values: Mapping[str, NDArray[np.object_]]) -> NDArray[np.object_] | None:
    """Merge the values of several modalities; None if they are contradictory and there is no global table."""
    first, *others = ([""] if "" in values else []) + [label for label in values if label]
    whole = values[first].copy()
    for label in others:
        filled, other_filled = ~pd.isna(whole), ~pd.isna(values[label])
        both = filled & other_filled
        if "" not in values and (as_text(pd.Series(whole[both])) != as_text(pd.Series(values[label][both]))).any():
            return None
        gaps = other_filled & ~filled
        whole[gaps] = values[label][gaps]
    return whole


def _restored(values: NDArray[np.object_], pieces: Sequence[Table]) -> pd.Series:
    """Restore the original dtype; integers and booleans get nullable dtypes if values are missing."""
    columns = [piece.obs.iloc[:, 0] for piece in pieces]
    series = pd.Series(values, dtype=object)
    categories = joint_categories(columns)
    if categories is not None:
        return series.astype(categories)
    kinds = {column.dtype for column in columns}
    plain = all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in kinds)
    if len(kinds) == 1 and not (plain and series.isna().any()):
        return series.astype(next(iter(kinds))).infer_objects()
    if plain:
        found = series.convert_dtypes(convert_string=False)
        return found.astype(float) if pd.api.types.is_float_dtype(found.dtype) else found
    return series.infer_objects()


def _held(dtype: np.dtype | ExtensionDtype) -> bool:
    """Whether files support this dtype: booleans, numbers, text; object columns are checked separately."""
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufO"
    return (
        pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype) or isinstance(dtype, pd.StringDtype)
    )


def _of_one_kind(values: pd.Series) -> pd.Series:
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "boolean":
        return values.astype("boolean")
    if kind == "integer":
        return pd.to_numeric(values.astype("Int64") if values.isna().any() else values)
    if kind in {"floating", "mixed-integer-float"}:
        return pd.to_numeric(values)
    if kind == "empty":
        return values.astype(float)
    return values if kind == "string" else _as_text(values)


def _as_text(values: pd.Series) -> pd.Series:
    texts: pd.Series = values.astype(object).map(_text).where(values.notna(), np.nan)
    return texts


def _group(value: object) -> str:
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else _text(value)


def _text(value: object) -> str:
    """Format a value; dates without a time of day get no time."""
    return str(value).removesuffix(" 00:00:00")
