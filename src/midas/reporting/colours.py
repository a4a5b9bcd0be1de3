"""Colours of the plot: columns of obs and features, packed into few bytes."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas import keys
from midas.columns import as_text, group_names
from midas.data.rows import measured_counts
from midas.plane import is_number
from midas.results import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from midas.data import Mosaic
    from midas.model import MIDAS

# Size limit of the page's features; with names and columns of 50,000 cells the page stays below 15 MB.
FEATURE_BYTES = 8_000_000
_MOST_PER_MODALITY = 40
_MISSING_8, _MISSING_16 = 255, 65535
# Upper end of colour scales, as a quantile: one outlier must not leave all other cells in one colour.
_TOP = 0.995


@dataclass(frozen=True)
class Column:
    """A column of obs as stored in the page.

    Attributes
    ----------
    name
        Of the column.
    categories
        Categories in their order; None for numbers.
    codes
        `(n_cells,)` of uint16, base64: index of the category, or the value in 65,535 steps from `low` to `high`; 65535 if
        missing.
    low, high
        Smallest and largest number; 0 for categories.
    """

    name: str
    categories: tuple[str, ...] | None
    codes: str
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Feature:
    """A feature as stored in the page.

    Attributes
    ----------
    modality, name
        Modality and name, spelled as in the input.
    measured, imputed
        `(n_cells,)` of uint8, base64: the value in 255 steps from 0 to `high`; 255 if not measured.
    low, high
        Ends of the colour scale, shared by both.
    log
        Whether values are log1p of counts.
    """

    modality: str
    name: str
    measured: str
    imputed: str
    low: float
    high: float
    log: bool


def pack_column(name: str, values: pd.Series) -> Column:
    """Pack a column of obs."""
    if is_number(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        known = np.isfinite(numbers)
        low, high = (float(numbers[known].min()), float(numbers[known].max())) if known.any() else (0.0, 0.0)
        steps = _steps(numbers, low, high, _MISSING_16).astype("<u2")
        return Column(name, None, _base64(steps), low, high)
    categories = group_names(values)
    codes = pd.Categorical(as_text(values), categories=categories).codes.astype(np.int64)
    packed = np.where(codes < 0, _MISSING_16, np.minimum(codes, _MISSING_16 - 1)).astype("<u2")
    return Column(name, tuple(categories), _base64(packed))


def pack_features(
    model: MIDAS, mosaic: Mosaic, cells: NDArray[np.int64], wanted: dict[str, NDArray[np.int64]]
) -> list[Feature]:
    """Pack the `wanted` features, given as schema columns by modality, for `cells`: measured and imputed values."""
    packed = []
    for modality, columns in wanted.items():
        if not len(columns):
            continue
        rows, kind = mosaic.modalities[modality], mosaic.schema.modalities[modality].modality
        measured = measured_counts(mosaic, modality, cells)[:, columns].toarray().astype(np.float64)
        seen = rows.present[cells][:, None] & rows.measured[mosaic.batch[cells]][:, columns]
        blocks = model.stream(mosaic, modality, keys.IMPUTED, Layout(cells, columns))
        imputed = np.concatenate(list(blocks)).astype(np.float64)
        log = kind.transform == "log1p"
        if log:
            measured, imputed = np.log1p(measured), np.log1p(np.maximum(imputed, 0))
        measured[~seen] = np.nan
        names = spelled(mosaic, modality)
        for i, column in enumerate(columns):
            a, b = measured[:, i], imputed[:, i]
            low, high = _scale(np.concatenate([a, b]), binary=kind.transform == "binarize")
            pair = [_base64(_steps(values, low, high, _MISSING_8).astype(np.uint8)) for values in (a, b)]
            packed.append(Feature(modality, names[column], pair[0], pair[1], low, high, log))
    return packed


def spelled(mosaic: Mosaic, modality: str) -> list[str]:
    """Features in the order of the schema, spelled as in the input."""
    rows = mosaic.modalities[modality]
    names = mosaic.schema.modalities[modality].features.astype(str).tolist()
    for column, name in zip(rows.input_columns.tolist(), rows.input_names.astype(str), strict=True):
        if column >= 0:
            names[column] = name
    return names


def choose_features(
    mosaic: Mosaic,
    cells: NDArray[np.int64],
    groups: NDArray[np.int64],
    asked: Sequence[str],
    n_drawn: int,
    *,
    spare: NDArray[np.int64] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Choose the features to colour by: the requested ones, then those that best distinguish groups of cells.

    Parameters
    ----------
    cells
        Cells used for the choice, `(n,)`.
    groups
        Types or clusters of these cells, `(n,)`; -1 for none.
    asked
        Requested features, as names or ``modality:name``.
    n_drawn
        Number of cells in the plot, which limits the number of features.
    spare
        Alternative groups, for modalities with hardly any cells in `groups`, such as those of unlabelled batches.

    Returns
    -------
    Schema columns by modality.

    Raises
    ------
    KeyError, ValueError
        If a feature is in no modality, or more are requested than the page can hold.
    """
    room = max(1, int(FEATURE_BYTES / (n_drawn * 2 * 4 / 3))) if n_drawn else 1
    named = find_features(mosaic, asked)
    n_named = sum(map(len, named.values()))
    if n_named > max(room, 1):
        msg = f"Expected at most {room} features for a plot of {n_drawn:,} cells, found {n_named}. Name fewer."
        raise ValueError(msg)
    per = min(_MOST_PER_MODALITY, (room - n_named) // max(1, len(mosaic.modalities)))
    chosen = {}
    for modality in mosaic.modalities:
        found = _markers(mosaic, modality, cells, groups, per)
        if not found and spare is not None:
            found = _markers(mosaic, modality, cells, spare, per)
        best = [c for c in found if c not in named[modality]]
        chosen[modality] = np.asarray([*named[modality], *best[:per]], dtype=np.int64)
    return chosen


def find_features(mosaic: Mosaic, asked: Sequence[str]) -> dict[str, list[int]]:
    """Find features by name, as spelled in the input or the model, in the given modality or in all."""
    places: dict[str, dict[str, list[int]]] = {}
    for modality, part in mosaic.schema.modalities.items():
        for own, shown, column in zip(part.features, spelled(mosaic, modality), range(part.n_features), strict=True):
            for name in dict.fromkeys((str(own), shown)):
                for key in (name, f"{modality}:{name}"):
                    places.setdefault(key, {}).setdefault(modality, []).append(column)
    unknown = [name for name in asked if name not in places]
    if unknown:
        kinds = ", ".join(mosaic.schema.modalities)
        msg = f"Expected names of features of {kinds}, found none called {', '.join(map(repr, unknown))}."
        raise KeyError(msg)
    found: dict[str, list[int]] = {modality: [] for modality in mosaic.modalities}
    for name in asked:
        for modality, columns in places[name].items():
            found[modality] += [c for c in columns if c not in found[modality]]
    return found


def _markers(mosaic: Mosaic, modality: str, cells: NDArray[np.int64], groups: NDArray[np.int64], n: int) -> list[int]:
    """Choose the features with the largest standardised difference between a group and all cells, groups taking turns."""
    mine = mosaic.modalities[modality].present[cells] & (groups >= 0)
    if n < 1 or not mine.any():
        return []
    x = measured_counts(mosaic, modality, cells[mine]).astype(np.float64)
    x.data = mosaic.schema.modalities[modality].modality.encoded(x.data)
    member = np.eye(int(groups.max()) + 1)[groups[mine]]
    # The measured features depend only on the batch: an array of cells x features may not fit in memory.
    measured = mosaic.modalities[modality].measured
    number = np.zeros((member.shape[1], len(measured)))
    np.add.at(number, (groups[mine], mosaic.batch[cells[mine]]), 1)
    size = number @ measured.astype(np.float64)
    total, square, count = np.asarray(x.sum(0)).ravel(), np.asarray(x.multiply(x).sum(0)).ravel(), size.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        spread = np.sqrt(np.maximum(square / count - mean**2, 0))
        distance = np.asarray((x.T @ member).T) / size - mean
        score = np.where((size >= 3) & (spread > 0), distance / spread, -np.inf)
    ranked = np.argsort(-score, axis=1, kind="stable")
    turns = [int(c) for rank in range(ranked.shape[1]) for c in ranked[:, rank]]
    useful = set(np.flatnonzero(np.isfinite(score).any(0)).tolist())
    return [c for c in dict.fromkeys(turns) if c in useful][:n]


def _scale(values: NDArray[np.float64], *, binary: bool) -> tuple[float, float]:
    if binary:
        return 0.0, 1.0
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = min(0.0, float(known.min())), float(np.quantile(known, _TOP))
    # If few cells have counts of a feature, the scale must extend to them.
    return low, high if high > low + 1e-9 else max(float(known.max()), low + 1e-9)


def _steps(values: NDArray[np.float64], low: float, high: float, missing: int) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        share = (values - low) / (high - low) if high > low else np.zeros_like(values)
        steps = np.round(np.clip(share, 0, 1) * (missing - 1))
    return np.where(np.isfinite(values), steps, missing)


def _base64(values: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
