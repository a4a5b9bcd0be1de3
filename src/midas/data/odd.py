"""Notes on suspicious data: names, barcodes and columns that may not be what they seem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from midas import keys
from midas.antibodies import protein_arrays, tagged_antibodies
from midas.barcodes import bases
from midas.data.blocks import read_peaks
from midas.data.cells import Cells
from midas.data.features import letters_of
from midas.data.mosaic import ModalityRows
from midas.data.opened import Opened
from midas.data.parts import Part
from midas.text import counted, describe_names

_SMALL_PANEL = 1_000  # features; in smaller sets, names of antibodies and genes are easily confused
_SEVERAL = 5  # antibodies among genes; fewer may be genes with unusual names
_MANY_BATCHES, _TINY = 20, 5  # more batches, with fewer cells on average, are probably a mistake
_HARDLY = 0.1  # a smaller fraction of shared features is suspicious


def odd_parts(parts: list[Part], opened: list[Opened]) -> list[str]:
    """Notes on the content of each object: how it was interpreted, and what was ignored."""
    found = [*_finer_notes(parts), *_guessed_notes(parts), *_beside_notes(parts), *_among_notes(parts)]
    return [*found, *_apart_notes(opened), *_spelling_notes(opened)]


def odd_rows(rows: Mapping[str, ModalityRows], cells: Cells) -> list[str]:
    """Notes on cells: modalities without shared cells that should have some, and cells without any modality."""
    return [*_batch_notes(cells), *_pairing_notes(rows, cells), *_lonely_notes(rows, cells)]


def _finer_notes(parts: list[Part]) -> list[str]:
    """Note batch columns with several values within one batch of a dict."""
    finer = {str(part.batch.iloc[0]): part.finer for part in parts if part.finer is not None and len(part.batch)}
    return [
        f"Batch {batch!r}: the key in the dict is the batch of all of its cells, though their column {column!r} names {n:,}. If "
        "these are the batches, give them as keys, or one object with all cells."
        for batch, (column, n) in finer.items()
    ]


def _among_notes(parts: list[Part]) -> list[str]:
    """Note antibodies among the genes of an object without feature types."""
    notes = []
    for part in parts:
        found = tagged_antibodies(part.adata.var_names) if part.name == "rna" and part.batch.size else []
        if len(found) >= _SEVERAL:
            notes.append(
                f"{part.label}: {len(found):,} features look like antibodies, and are read as genes: "
                f"{describe_names(pd.Index(found), 3)}. Say what is what in var['feature_types'] ('Gene Expression', "
                "'Antibody Capture'), or give {'rna': ..., 'adt': ...}."
            )
    return notes


def _guessed_notes(parts: list[Part]) -> list[str]:
    """Note the guessed modality of a small panel, as its names may be ambiguous."""
    return [
        f"{part.label}: told from the names of its {part.adata.n_vars:,} features. If it is another, say so: "
        "{'adt': adata} in place of adata."
        for part in parts
        if part.guessed and part.adata.n_vars <= _SMALL_PANEL
    ]


def _beside_notes(parts: list[Part]) -> list[str]:
    """Note proteins in obsm of another modality, which are not read."""
    panels = [part.adata.obs_names for part in parts if part.name == "adt"]
    notes = []
    for part in parts:
        arrays = [] if part.name == "adt" else protein_arrays(part.adata)
        if arrays and not any(part.adata.obs_names.isin(names).any() for names in panels):
            notes.append(
                f"{part.label}: obsm[{arrays[0]!r}] looks like proteins, which are not read from there. midas.pp.prepare() makes "
                "a modality of them; or give {'rna': adata, 'adt': ...}."
            )
    return notes


def _apart_notes(opened: list[Opened]) -> list[str]:
    """Note objects that share almost no features with others of their modality: other naming, or another modality."""
    notes = []
    for each in opened:
        others = [other.features for other in opened if other.part.name == each.part.name and other is not each]
        if not others or not len(each.features):
            continue
        n = int(each.features.isin(others[0].append(others[1:])).sum())
        if n < _HARDLY * min(len(each.features), max(len(other) for other in others)):
            notes.append(
                f"{each.part.label}: {n:,} of {len(each.features):,} features are in other batches, too. Are they of the same "
                "modality, and their names of the same kind?"
            )
    return notes


def _spelling_notes(opened: list[Opened]) -> list[str]:
    """Note features that differ from another object's only in case or punctuation, and are treated as different."""
    first: dict[tuple[str, str], str] = {}  # by modality and letters, the first spelling
    notes = []
    for each in opened:
        known = [(name, first.setdefault((each.part.name, key), name)) for name, key in _with_letters(each)]
        mine = set(each.features)
        other = [(name, spelt) for name, spelt in known if spelt != name and spelt not in mine]
        if other:
            name, spelt = other[0]
            are = counted(len(other), "feature is", "features are")
            notes.append(
                f"{each.part.label}: {are} in other batches but for case or punctuation, as {name!r} is {spelt!r}: read as two. "
                "If they are one, midas.pp.prepare() names them alike."
            )
    return notes


def _with_letters(each: Opened) -> Iterator[tuple[str, str]]:
    names = each.features
    if read_peaks(names) is not None:  # peaks are matched by position
        return iter(())
    return zip(names.astype(str), letters_of(names.astype(str)), strict=True)


def _batch_notes(cells: Cells) -> list[str]:
    """Note batch names that may be duplicates or missing values, and columns that seem to contain cell names."""
    notes = []
    plain = pd.Series(cells.batches, index=[name.strip().lower() for name in cells.batches])
    for _, same in plain[plain.index.duplicated(keep=False)].groupby(level=0):
        notes.append(
            f"The batches {' and '.join(map(repr, same))} differ in case or blanks alone: read as different ones."
        )
    missing = [name for name in cells.batches if name.strip().lower() in keys.NO_LABEL]
    if missing:
        notes.append(
            f"A batch is called {missing[0]!r}, as a missing value written as text: its cells are read as one batch."
        )
    if len(cells.batches) > max(_MANY_BATCHES, len(cells.names) / _TINY):
        n = counted(len(cells.batches), "batch", "batches")
        notes.append(f"{len(cells.names):,} cells are in {n}: does the column name cells rather than batches?")
    return notes


def _pairing_notes(rows: Mapping[str, ModalityRows], cells: Cells) -> list[str]:
    """Note batches whose modalities share few cell names, but have equal numbers of cells or the same barcodes."""
    notes = []
    for (name, part), (other, peer) in combinations(rows.items(), 2):
        mine, theirs, both = (cells.count(m) for m in (part.present, peer.present, part.present & peer.present))
        spelt: dict[str, str] = {}  # by batch
        apart: dict[str, str] = {}
        for b in np.flatnonzero((mine > 0) & (theirs > 0) & (both <= np.minimum(mine, theirs) / 2)):
            batch = cells.batch == b
            said = f"{counted(mine[b], 'cell has', 'cells have')} {name} and {theirs[b]:,} {other}"
            n, a, z = _alike(cells.names[part.present & batch], cells.names[peer.present & batch])
            if n > min(mine[b], theirs[b]) / 2:
                spelt[cells.batches[b]] = (
                    f"{said}, with {both[b] or 'no'} names in common, but {n:,} by their bases alone, as {a} and {z}. Give them "
                    "the same obs_names, as midas.pp.prepare() does, or they are taken as different cells."
                )
            elif mine[b] == theirs[b] and not both[b]:
                apart[cells.batches[b]] = (
                    f"{said}, but no name in common. If they are the same cells, give them the same obs_names."
                )
        notes += [*_one_for_all(spelt), *_one_for_all(apart)]
    return notes


def _one_for_all(notes: Mapping[str, str]) -> Iterator[str]:
    """Merge equal notes: that of the first batch, and the names of the others."""
    if notes:
        batch, *others = notes
        alike = f" Likewise {describe_names(pd.Index(others), 3)}." if others else ""
        yield f"Batch {batch!r}: {notes[batch]}{alike}"


def _alike(names: pd.Index, others: pd.Index) -> tuple[int, str, str]:
    """Number of barcodes with the same bases, and an example in both spellings."""
    a, b = bases(names), bases(others)
    shared = a.intersection(b) if a is not None and b is not None else pd.Index([])
    if a is None or b is None or not len(shared):
        return 0, "", ""
    example = next((key for key in shared if names[a.get_loc(key)] != others[b.get_loc(key)]), None)
    if example is None:
        return 0, "", ""
    return len(shared), str(names[a.get_loc(example)]), str(others[b.get_loc(example)])


def _lonely_notes(rows: Mapping[str, ModalityRows], cells: Cells) -> list[str]:
    lonely = cells.names[~np.any([part.present for part in rows.values()], axis=0)]
    if not len(lonely):
        return []
    return [f"{len(lonely):,} cells have none of the modalities and get no result: {describe_names(lonely)}."]
