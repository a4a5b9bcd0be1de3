"""Missing and placeholder labels, handled alike by all metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.columns import as_text

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def known_labels(labels: ArrayLike, unlabelled: Sequence[str] = ()) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Labels as text and a mask of labelled cells, both `(n_cells,)`: no NaN, None or one of `unlabelled` in any case.

    Numbers are written as :func:`midas.columns.as_text` does, so that 1, 1.0 and "1" are one label.

    Examples
    --------
    >>> from midas.metrics.labels import known_labels
    >>> known_labels(["B", float("nan"), "Unknown", "T"], ["unknown"])[1].tolist()
    [True, False, False, True]
    """
    # As objects, since in a text array numpy would turn NaN into the type "nan".
    values = pd.Series(np.asarray(labels, dtype=object))
    text: NDArray[np.str_] = as_text(values).astype(str)
    return text, ~(values.isna().to_numpy() | np.isin(np.char.lower(text), [name.lower() for name in unlabelled]))


def some_labels(labels: ArrayLike, unlabelled: Sequence[str] = ()) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """As :func:`known_labels`, but requires at least one labelled cell.

    Raises
    ------
    ValueError
        If no cell has a label.
    """
    text, known = known_labels(labels, unlabelled)
    if not known.any():
        found = np.unique(text[~pd.isna(np.asarray(labels, dtype=object))]).tolist()
        why = " or ".join(["missing", *map(repr, found)])
        msg = f"Expected cells with a label, found none among {len(text):,}: all are {why}. Give the labels of some."
        raise ValueError(msg)
    return text, known


def cells_by_label(labels: ArrayLike) -> dict[str, NDArray[np.int64]]:
    """Cells of each label by position, labels sorted; cells without a label are in none."""
    text, known = known_labels(labels)
    return {str(name): np.flatnonzero(known & (text == name)) for name in np.unique(text[known])}


def complete(values: ArrayLike, what: str) -> NDArray[np.str_]:
    """Values that every cell must have, such as batches, as text.

    Raises
    ------
    ValueError
        If a value is missing.
    """
    text, known = known_labels(values)
    if not known.all():
        msg = f"Expected a {what} for each of {len(text):,} cells, found none for {int((~known).sum()):,}. Leave them out."
        raise ValueError(msg)
    return text
