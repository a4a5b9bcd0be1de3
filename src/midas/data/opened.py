"""Parts with opened counts, unique feature names and numbered cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.data.blocks import peak_keys, read_peaks
from midas.data.cells import Cells
from midas.data.parts import Layer, Part, counts_of, layer_in
from midas.data.sources import BackedSource, ColumnsSource, Source, open_source
from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Opened:
    """A part, ready to be combined with others.

    Attributes
    ----------
    part
        The original part.
    source
        Its counts.
    features
        Unique feature names.
    positions
        Each row's position among the cells of the mosaic.
    """

    part: Part
    source: Source
    features: pd.Index
    positions: NDArray[np.int64]


def open_parts(parts: list[Part], cells: Cells, layer: Layer, notes: list[str]) -> list[Opened]:
    """Open the counts of all parts."""
    sources = [_source_of(part, layer_in(layer, part.name)) for part in parts]
    return [
        Opened(part, source, _told_apart(part, notes), at)
        for part, source, at in zip(parts, sources, cells.positions, strict=True)
    ]


def _source_of(part: Part, layer: str | None) -> Source:
    if part.within is None or layer is not None:
        return open_source(counts_of(part, layer))
    adata, mine = part.within
    whole = open_source(counts_of(replace(part, adata=adata), layer))
    # A CSC file has already been loaded into memory.
    columns = np.flatnonzero(mine)
    return ColumnsSource(whole, columns) if isinstance(whole, BackedSource) else open_source(part.adata.X)


def _told_apart(part: Part, notes: list[str]) -> pd.Index:
    """Names of the features; duplicates get numeric suffixes."""
    given = pd.Index(part.adata.var_names.astype(str))
    peaks, names = read_peaks(given), peak_keys(given)
    odd = np.zeros(0, dtype=bool) if peaks is None else (peaks["start"] < 0).to_numpy()
    if odd.any():
        notes.append(
            f"{part.label}: {int(odd.sum()):,} of {len(given):,} names are no peaks as chr1:1-2 ({describe_names(given[odd])}); "
            "they are matched as they are written."
        )
    if names.is_unique:
        return names
    repeated = names[names.duplicated()].unique()
    notes.append(
        f"{part.label}: {len(repeated):,} feature names occur more than once ({describe_names(repeated)}); the later ones were "
        "given the suffixes -1, -2, ... If they are one feature, midas.pp.prepare() sums them."
    )
    number = names.to_series().groupby(names.to_numpy()).cumcount().to_numpy()
    taken, unique = set(names), []
    for name, n in zip(names, number, strict=True):
        candidate, k = str(name), int(n)
        while n and (candidate := f"{name}-{k}") in taken:
            k += 1
        taken.add(candidate)
        unique.append(candidate)
    return pd.Index(unique)
