"""Match barcodes of one cell that are spelled differently in its files, and detect batches with the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pandas as pd

from midas.barcodes import bases, mostly_shared
from midas.pp.samples import Sample


def paired(samples: Sequence[Sample]) -> list[Sample]:
    """Match the cells of a batch over several files, or over several modalities of one file.

    If most of their barcodes do not match as they are, but do without the parts before and after the bases (``-1``, ``donor1#``),
    they get the names of the first file. A note is added if few match at all, or if two batches without a common modality have
    the same barcodes.
    """
    found = list(samples)
    for at, sample in enumerate(found):
        same = (s for s in found[:at] if s.batch == sample.batch and s.modality != sample.modality)
        first = next(same, None)
        if first is not None:
            found[at] = _like(sample, first)
    if found:
        found[0] = replace(found[0], notes=(*found[0].notes, *_same_cells(found)))
    return found


def _like(sample: Sample, first: Sample) -> Sample:
    own, theirs = sample.adata.obs_names.astype(str), first.adata.obs_names.astype(str)
    if mostly_shared(own, theirs):
        return sample
    apart = sample.source != first.source
    places = (first.source, sample.source) if apart else (first.modality, sample.modality)
    said = f"Batch {sample.batch!r}: barcodes of {places[0]} and {places[1]}"
    bare, other = bases(own), bases(theirs)
    if bare is None or other is None or not mostly_shared(bare, other):
        if not apart:  # a single object already states which cells have which modalities
            return sample
        n = len(own.intersection(theirs))
        others = "the others" if n else "their cells"
        note = (
            f"{said} have {n:,} of {min(len(own), len(theirs)):,} in common, so {others} are taken as different ones."
        )
        return replace(sample, notes=(*sample.notes, note))
    name = dict(zip(other, theirs, strict=True))
    adata = sample.adata.copy()
    adata.obs_names = pd.Index([name.get(key, old) for key, old in zip(bare, own, strict=True)])
    a, b = next((name[key], old) for key, old in zip(bare, own, strict=True) if name.get(key, old) != old)
    note = f"{said} were matched by their bases alone, as in {a} and {b}."
    return replace(sample, adata=adata, notes=(*sample.notes, note))


def _same_cells(samples: Sequence[Sample]) -> list[str]:
    """Pairs of batches that share no modality, but most barcodes."""
    batches: dict[str, list[Sample]] = {}
    for sample in samples:
        batches.setdefault(sample.batch, []).append(sample)
    if len({sample.modality for sample in samples}) == 1:
        return []
    cells = {batch: _cells(mine) for batch, mine in batches.items()}
    bare = {batch: bases(names) for batch, names in cells.items()}
    notes = []
    for one, two in combinations(batches, 2):
        if {s.modality for s in batches[one]} & {s.modality for s in batches[two]}:
            continue
        a, b, bare_a, bare_b = cells[one], cells[two], bare[one], bare[two]
        if not mostly_shared(a, b) and bare_a is not None and bare_b is not None:
            a, b = bare_a, bare_b
        if mostly_shared(a, b):
            notes.append(
                f"The batches {one!r} and {two!r} share {len(a.intersection(b)):,} of {min(len(a), len(b)):,} barcodes and no "
                f"modality. If they are the same cells, {_advice(one, two, samples)}"
            )
    return notes


def _advice(one: str, two: str, samples: Sequence[Sample]) -> str:
    """Advice on merging two batches into one: by name, if each is a file of its own."""
    sources = [list(dict.fromkeys(s.source for s in samples if s.batch == batch)) for batch in (one, two)]
    others = {s.source for s in samples if s.batch not in {one, two}}
    objects = any(s.kind in {"AnnData", "MuData"} for s in samples if s.batch in {one, two})
    if objects or set(sources[0]) & set(sources[1]) or others & {*sources[0], *sources[1]}:
        return "give them the same batch in obs, or put their modalities into one MuData."
    return f"give the files one name: {' '.join(f'{one}={source}' for source in (*sources[0], *sources[1]))}"


def _cells(samples: Sequence[Sample]) -> pd.Index:
    names = [sample.adata.obs_names.astype(str) for sample in samples]
    found: pd.Index = names[0].append(names[1:]).unique()
    return found
