"""Result of a method on a task: one record that any method can fill, in one file that numpy alone can write."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import pandas as pd

from midas.files import replacing
from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Route: TypeAlias = tuple[tuple[str, ...], str]
"""Sources and target of translated counts: ``(("rna", "adt"), "atac")``."""

# Larger counts overflow a float16 and are kept as float32.
_FLOAT16_MAX = 6e4


class ResultError(ValueError):
    """The arrays of a result do not fit each other, or a file holds no result."""


@dataclass(frozen=True)
class Values:
    """An array with named rows, and named columns unless it is a latent space.

    Attributes
    ----------
    cells
        Names of the rows, `(n,)`.
    array
        `(n, d)`.
    features
        Names of the columns, `(d,)`; None for a latent space.
    """

    cells: pd.Index
    array: NDArray[Any]
    features: pd.Index | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", pd.Index(np.asarray(self.cells).astype(str)))
        object.__setattr__(self, "array", np.asarray(self.array))
        if self.features is not None:
            object.__setattr__(self, "features", pd.Index(np.asarray(self.features).astype(str)))
        expected = (len(self.cells), None if self.features is None else len(self.features))
        if self.array.ndim != 2 or len(self.array) != expected[0] or expected[1] not in {None, self.array.shape[1]}:
            msg = (
                f"Expected an array of {expected[0]} cells x {expected[1] or 'some'} columns, as it has names, found shape "
                f"{self.array.shape}."
            )
            raise ResultError(msg)
        for what, names in (("cell", self.cells), ("feature", self.features)):
            if names is not None and not names.is_unique:
                repeated = describe_names(names[names.duplicated()])
                msg = f"Expected each {what} once, found repeated names: {repeated}."
                raise ResultError(msg)

    def get(self, cells: ArrayLike) -> NDArray[np.float64]:
        """The rows of these cells in this order, `(len(cells), d)`; NaN for cells that the method left out."""
        at = self.cells.get_indexer(pd.Index(np.asarray(cells).astype(str)))
        found = np.full((len(at), self.array.shape[1]), np.nan)
        found[at >= 0] = self.array[at[at >= 0]]
        return found


def _nothing() -> Mapping[Any, Values]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Result:
    """Result of a method on a task. Only the embedding is required; scores that need more are NaN without it.

    Attributes
    ----------
    embedding
        Biological state of the task's cells.
    technical
        Technical state, for methods that separate it.
    modality_latents
        By modality: the biological state of cells encoded from this modality alone. For cells of the *truth* if the method can
        embed cells it was not trained on, so that all modalities can be compared on the same cells.
    corrected
        By modality: batch-corrected values of the cells, on any scale that grows with the counts.
    imputed
        By modality: expected counts of the cells, including batch effects; those that the task hides are compared with the truth.
    translated
        By sources and target: expected counts of the target for the truth's cells, predicted from the sources alone.

    Notes
    -----
    **The file** is an ``.npz`` (a zip of ``.npy``; text as fixed-width unicode, no pickle) with the keys

    ====================================== ===============================================================================
    ``cells``                              names of the task's cells, `(n,)`
    ``embedding``                          `(n, d)` floats, rows as in ``cells``
    ``technical``                          `(n, d)`, optional
    ``latent/<modality>``                  `(m, d)`, optional
    ``corrected/<modality>``               `(m, features)`, optional
    ``imputed/<modality>``                 `(m, features)`, optional
    ``translated/<a+b>/<target>``          `(m, features)`, optional; sources joined by ``+`` in any order
    ``features/<modality>``                names of the columns of all arrays of that modality's counts
    ``<key>_cells/<rest>``                 names of the rows of ``<key>/<rest>``, such as ``latent_cells/rna`` or
                                           ``translated_cells/rna+adt/atac``; may be left out where they are ``cells``
    ====================================== ===============================================================================

    Counts are stored as float16 or float32, latent spaces as float32. A row with NaN is scored as if it were left out. In another
    environment this is all that is needed:

    .. code-block:: python

        np.savez("result.npz", **{"cells": names.astype(str), "embedding": z, "latent/rna": z_rna, "latent_cells/rna": names_rna})
    """

    embedding: Values
    technical: Values | None = None
    modality_latents: Mapping[str, Values] = field(default_factory=_nothing)
    corrected: Mapping[str, Values] = field(default_factory=_nothing)
    imputed: Mapping[str, Values] = field(default_factory=_nothing)
    translated: Mapping[Route, Values] = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        for kind in ("modality_latents", "corrected", "imputed"):
            object.__setattr__(self, kind, MappingProxyType(dict(getattr(self, kind))))
        routes = {(tuple(sorted(sources)), target): values for (sources, target), values in self.translated.items()}
        object.__setattr__(self, "translated", MappingProxyType(routes))
        for key, values in _counts(self):
            if values.features is None:
                msg = f"Expected names of features with {key}, found none."
                raise ResultError(msg)

    def save(self, path: str | Path) -> None:
        """Write the file described in the notes, atomically."""
        cells = self.embedding.cells
        arrays: dict[str, NDArray[Any]] = {"cells": _text(cells), "embedding": _float32(self.embedding.array)}
        if self.technical is not None:
            arrays["technical"] = _float32(self.technical.get(cells))
        for name, values in self.modality_latents.items():
            arrays[f"latent/{name}"] = _float32(values.array)
            arrays |= _rows(f"latent/{name}", values, cells)
        for key, values in _counts(self):
            name = key.rsplit("/", 1)[1]
            features = _text(values.features)
            known = arrays.setdefault(f"features/{name}", features)
            array = values.array
            if not np.array_equal(known, features):
                at = pd.Index(features).get_indexer(pd.Index(known))
                if len(features) != len(known) or (at < 0).any():
                    msg = f"Expected the same features in all arrays of modality {name!r}, found others in {key}."
                    raise ResultError(msg)
                array = array[:, at]
            arrays[key] = _small(array)
            arrays |= _rows(key, values, cells)
        with replacing(Path(path)) as scratch, scratch.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # keys are names of arrays

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file written by :meth:`save` or by numpy.

        Raises
        ------
        ResultError
            If the file is not a result, or its arrays do not fit each other.
        """
        try:
            arrays = _arrays(path)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            msg = f"{path}: expected an .npz file without pickled objects, found none that can be read ({error})."
            raise ResultError(msg) from error
        return cls._of(arrays, str(path))

    @classmethod
    def _of(cls, arrays: Mapping[str, NDArray[Any]], label: str) -> Self:
        for key in ("cells", "embedding"):
            if key not in arrays:
                msg = f"{label}: expected the array {key!r}, found {', '.join(sorted(arrays)) or 'none'}."
                raise ResultError(msg)
        cells = arrays["cells"]
        found: dict[str, dict[str, Values]] = {"latent": {}, "corrected": {}, "imputed": {}, "translated": {}}
        for key, array in arrays.items():
            kind, _, rest = key.partition("/")
            if kind in found:
                found[kind][rest] = _values(arrays, key, array, cells, label)
            elif kind.removesuffix("_cells") not in found and kind not in {
                "cells",
                "embedding",
                "technical",
                "features",
            }:
                msg = f"{label}: expected the keys that the documentation of Result names, found {key!r}."
                raise ResultError(msg)
        return cls(
            embedding=Values(pd.Index(cells), arrays["embedding"]),
            technical=Values(pd.Index(cells), arrays["technical"]) if "technical" in arrays else None,
            modality_latents=found["latent"],
            corrected=found["corrected"],
            imputed=found["imputed"],
            translated={_route(key, label): values for key, values in found["translated"].items()},
        )


def _arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file."""
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        raise ValueError("it is a single array, as np.save writes it; use np.savez")
    with file:
        return {key: file[key] for key in file.files}


def _counts(result: Result) -> Iterator[tuple[str, Values]]:
    """Yield the arrays of counts with their keys in the file."""
    for name, values in result.corrected.items():
        yield f"corrected/{name}", values
    for name, values in result.imputed.items():
        yield f"imputed/{name}", values
    for (sources, target), values in result.translated.items():
        yield f"translated/{'+'.join(sources)}/{target}", values


def _values(
    arrays: Mapping[str, NDArray[Any]], key: str, array: NDArray[Any], cells: NDArray[Any], label: str
) -> Values:
    kind, _, rest = key.partition("/")
    rows = pd.Index(arrays.get(f"{kind}_cells/{rest}", cells))
    if kind == "latent":
        return Values(rows, array)
    name = f"features/{rest.rsplit('/', 1)[-1]}"
    if name not in arrays:
        msg = f"{label}: expected the array {name!r} that names the columns of {key!r}, found none."
        raise ResultError(msg)
    return Values(rows, array, pd.Index(arrays[name]))


def _route(key: str, label: str) -> Route:
    sources, slash, target = key.partition("/")
    if not slash:
        msg = f"{label}: expected translated/<sources joined by +>/<target>, found 'translated/{key}'."
        raise ResultError(msg)
    return tuple(sorted(sources.split("+"))), target


def _rows(key: str, values: Values, cells: pd.Index) -> dict[str, NDArray[np.str_]]:
    kind, _, rest = key.partition("/")
    return {} if values.cells.equals(cells) else {f"{kind}_cells/{rest}": _text(values.cells)}


def _text(names: pd.Index | None) -> NDArray[np.str_]:
    return np.asarray([] if names is None else names).astype(str)


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    return array.astype(np.float32)


def _small(array: NDArray[Any]) -> NDArray[Any]:
    largest = np.abs(array).max(initial=0, where=np.isfinite(array))
    return array.astype(np.float16 if largest < _FLOAT16_MAX else np.float32)
