"""What the page shows: columns, labels, features; validated before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from midas.columns import all_columns
from midas.extras import check_installed
from midas.files import check_writable
from midas.plane import is_number

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from midas.data import Mosaic

# Maximum number of default columns: enough for usual tables, few enough for a small page.
_MOST_COLUMNS = 16
# A text column with more values than this identifies cells rather than groups.
_MOST_CATEGORIES = 200
_LABELS = ("celltype", "label", "labels", "annotation", "celltypes")
_LIBRARIES = {"umap": "umap-learn", "jinja2": "jinja2"}


@dataclass(frozen=True)
class Choices:
    """What the page shows.

    Attributes
    ----------
    columns
        Columns of obs to show; None for up to 16 that can be displayed well.
    label
        Column of obs with cell types, for the diagnostics; None for the first one with a usual name.
    features
        Features to colour by in addition to the most informative ones: ``CD3E``, or ``adt:CD3`` to specify the modality.
    cell_names
        Whether the page includes cell names.
    most_cells
        Maximum number of cells in the plot; a sample is drawn if there are more.
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
    """Refuse a page that cannot be written, before hours of training.

    Parameters
    ----------
    path
        Path of the page.
    others
        Files that it must not replace.

    Raises
    ------
    ValueError, OSError, ModuleNotFoundError
        If its name does not end in .html, it is another file of the run, its folder is not writable, or the extra ``report`` is
        not installed.
    """
    if path.suffix.lower() not in {".html", ".htm"}:
        msg = f"{path}: expected the report to end in .html, found {path.suffix or 'no ending'!r}."
        raise ValueError(msg)
    if any(path.absolute() == other.absolute() for other in others):
        msg = f"{path}: expected a report that replaces no other file of this run, found the same name. Choose another name."
        raise ValueError(msg)
    check_writable(path)
    check_installed(_LIBRARIES, "report")


def check_choices(data: MuData | AnnData, mosaic: Mosaic, choices: Choices) -> None:
    """Refuse columns and features that are not in the data, before hours of training."""
    from midas.reporting.colours import find_features  # noqa: PLC0415 - that module imports this one

    columns_of(all_columns(data), choices)
    find_features(mosaic, choices.features)


def label_of(obs: pd.DataFrame, label: str | None) -> str | None:
    """Name of the column with cell types: the requested one, or the first one with a usual name."""
    if label is not None:
        _refuse_unknown([label], obs)
        return label
    plain = {name: "".join(c for c in name.lower() if c.isalnum()) for name in obs.columns}
    found = [name for wanted in _LABELS for name, spelled in plain.items() if spelled == wanted]
    return next((name for name in found if 1 < obs[name].nunique() <= _MOST_CATEGORIES), None)


def columns_of(obs: pd.DataFrame, choices: Choices) -> tuple[list[str], list[str]]:
    """Choose the columns to show, and list those left out."""
    label = label_of(obs, choices.label)
    if choices.columns is not None:
        _refuse_unknown(list(choices.columns), obs)
        chosen = list(dict.fromkeys(choices.columns))
    else:
        suited = [name for name in obs.columns if _suited(obs[name])]
        first = [name for name in (label,) if name in suited]
        chosen = list(dict.fromkeys([*first, *suited]))[:_MOST_COLUMNS]
    return chosen, [name for name in obs.columns if name not in chosen]


def _suited(values: pd.Series) -> bool:
    if not values.notna().any():
        return False
    return is_number(values) or values.astype(str).nunique() <= _MOST_CATEGORIES


def _refuse_unknown(names: list[str], obs: pd.DataFrame) -> None:
    unknown = [name for name in names if name not in obs.columns]
    if unknown:
        there = ", ".join(map(str, obs.columns)) or "none"
        msg = f"Expected columns of obs, found none called {', '.join(map(repr, unknown))}. There are: {there}."
        raise KeyError(msg)
