"""What a reader of the page may see: columns, label, features; checked before anything is computed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from mudata import MuData

from midas.files import obstacle

if TYPE_CHECKING:
    from anndata import AnnData

    from midas.data import Mosaic

# Columns that no one named: enough for usual tables, few enough for a light page.
_MOST_COLUMNS = 16
# A text column with more values than this names cells rather than groups them.
_MOST_CATEGORIES = 200
_LABELS = ("celltype", "label", "labels", "annotation", "celltypes")
_LIBRARIES = {"umap": "umap-learn", "jinja2": "jinja2"}


@dataclass(frozen=True)
class Choices:
    """What goes onto the page.

    Attributes
    ----------
    columns
        Columns of obs that are shown; None for those that a page can show well, at most 16.
    label
        Column of obs with the cells' types, for the diagnostics; None for the first that is called like one.
    features
        Features to colour by besides the most telling ones: ``CD3E``, or ``adt:CD3`` to name the modality.
    cell_names
        Whether the page has the cells' names.
    most_cells
        Cells in the plot; of more, a sample is drawn.
    """

    columns: tuple[str, ...] | None = None
    label: str | None = None
    features: tuple[str, ...] = ()
    cell_names: bool = True
    most_cells: int = 50_000

    def __post_init__(self) -> None:
        if self.most_cells < 1:
            msg = f"most_cells: expected 1 or more, found {self.most_cells!r}."
            raise ValueError(msg)


def check_page(path: Path, others: tuple[Path, ...] = ()) -> None:
    """Refuse a page that could not be written, before hours of training.

    Parameters
    ----------
    path
        The page.
    others
        Files that it must not replace.

    Raises
    ------
    ValueError, OSError, ModuleNotFoundError
        When its name does not end in .html, it is another file of the run, its folder cannot be written to, or the extra
        ``report`` is not installed.
    """
    if path.suffix.lower() not in {".html", ".htm"}:
        msg = f"{path}: expected the report to end in .html, found {path.suffix or 'no ending'!r}."
        raise ValueError(msg)
    if path.is_dir():
        msg = f"{path}: expected the name of a file, found a folder. Choose another name."
        raise IsADirectoryError(msg)
    if any(path.absolute() == other.absolute() for other in others):
        msg = f"{path}: expected a report that replaces no other file of this run, found the same name. Choose another name."
        raise ValueError(msg)
    found = obstacle(path)
    if found is not None:
        msg = f"{path}: expected a folder that can be written to, found {found}. Choose another place."
        raise PermissionError(msg)
    missing = [library for module, library in _LIBRARIES.items() if importlib.util.find_spec(module) is None]
    if missing:
        msg = (
            f"Expected {' and '.join(missing)} for the report, found {'neither' if len(missing) > 1 else 'none'}. "
            'Install them with: pip install "midas-mosaic[report]".'
        )
        raise ModuleNotFoundError(msg)


def check_choices(data: MuData | AnnData, mosaic: Mosaic, choices: Choices) -> None:
    """Refuse columns and features that the data lack, before hours of training."""
    from midas.reporting.colours import find_features  # noqa: PLC0415 - that module imports this one

    columns_of(obs_of(data), choices)
    find_features(mosaic, choices.features)


def obs_of(data: MuData | AnnData) -> pd.DataFrame:
    """All columns of obs, `(n_cells, n)`: the global ones, then those that only modalities have.

    A column that several modalities have is one column where they agree, and ``<modality>:<column>`` where they do not.
    """
    table = {str(name): data.obs[name].reset_index(drop=True) for name in data.obs.columns}
    if isinstance(data, MuData):
        found: dict[str, dict[str, pd.Series]] = {}
        for name, adata in data.mod.items():
            at = _rows(data, name)
            for column in adata.obs.columns:
                if str(column) not in table:
                    values = adata.obs[column].iloc[np.maximum(at, 0)].reset_index(drop=True)
                    found.setdefault(str(column), {})[name] = values.where(at >= 0)
        for column, parts in found.items():
            table |= _merged(column, parts)
    return pd.DataFrame(table, index=pd.RangeIndex(data.n_obs))


def label_of(obs: pd.DataFrame, label: str | None) -> str | None:
    """Name the column with the cells' types: the one asked for, or the first that is called like one."""
    if label is not None:
        _refuse_unknown([label], obs)
        return label
    plain = {name: "".join(c for c in name.lower() if c.isalnum()) for name in obs.columns}
    found = [name for wanted in _LABELS for name, spelled in plain.items() if spelled == wanted]
    return next((name for name in found if 1 < obs[name].nunique() <= _MOST_CATEGORIES), None)


def columns_of(obs: pd.DataFrame, choices: Choices) -> tuple[list[str], list[str]]:
    """Choose the columns that are shown, and name those left out."""
    label = label_of(obs, choices.label)
    if choices.columns is not None:
        _refuse_unknown(list(choices.columns), obs)
        chosen = list(dict.fromkeys(choices.columns))
    else:
        suited = [name for name in obs.columns if _suited(obs[name])]
        first = [name for name in (label,) if name in suited]
        chosen = list(dict.fromkeys([*first, *suited]))[:_MOST_COLUMNS]
    return chosen, [name for name in obs.columns if name not in chosen]


def is_number(values: pd.Series) -> bool:
    """Whether a column is drawn with a colour scale."""
    return bool(pd.api.types.is_numeric_dtype(values)) and not pd.api.types.is_bool_dtype(values)


def _suited(values: pd.Series) -> bool:
    if not values.notna().any():
        return False
    return is_number(values) or values.astype(str).nunique() <= _MOST_CATEGORIES


def _rows(data: MuData, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
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


def _refuse_unknown(names: list[str], obs: pd.DataFrame) -> None:
    unknown = [name for name in names if name not in obs.columns]
    if unknown:
        there = ", ".join(map(str, obs.columns)) or "none"
        msg = f"Expected columns of obs, found none called {', '.join(map(repr, unknown))}. There are: {there}."
        raise KeyError(msg)
