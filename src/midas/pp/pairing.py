"""Barcodes of one cell that are spelled differently in its files, and batches that are the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pandas as pd

from midas.pp.samples import Sample

_BASES = r"([ACGT]{10,})"
_HARDLY, _MOST = 0.1, 0.5  # shares of the smaller set of barcodes


def paired(samples: Sequence[Sample]) -> list[Sample]:
    """Match the cells of a batch that several files hold.

    Where their barcodes hardly meet as they are, but do without what stands before and behind the bases (``-1``, ``donor1#``),
    they get the names of the first file. Where they do not meet at all, a note says so, and where two batches without a
    modality in common hold the same barcodes.
    """
    found = list(samples)
    for at, sample in enumerate(found):
        same = (s for s in found[:at] if s.batch == sample.batch and s.source != sample.source)
        first = next(same, None)
        if first is not None:
            found[at] = _like(sample, first)
    if found:
        found[0] = replace(found[0], notes=(*found[0].notes, *_same_cells(found)))
    return found


def _like(sample: Sample, first: Sample) -> Sample:
    own, theirs = sample.adata.obs_names.astype(str), first.adata.obs_names.astype(str)
    if _shared(own, theirs) >= _HARDLY:
        return sample
    said = f"Batch {sample.batch!r}: barcodes of {first.source} and {sample.source}"
    bare, other = _bare(own), _bare(theirs)
    usable = bare.notna().all() and bare.is_unique and other.notna().all() and other.is_unique
    if not usable or _shared(pd.Index(bare), pd.Index(other)) < _MOST:
        n = len(own.intersection(theirs))
        note = f"{said} have {n:,} of {min(len(own), len(theirs)):,} in common, so their cells are taken as different ones."
        return replace(sample, notes=(*sample.notes, note))
    name = dict(zip(other, theirs, strict=True))
    adata = sample.adata.copy()
    adata.obs_names = pd.Index([name.get(bases, old) for bases, old in zip(bare, own, strict=True)])
    note = f"{said} were matched by their bases alone, as in {theirs[0]} and {own[0]}."
    return replace(sample, adata=adata, notes=(*sample.notes, note))


def _same_cells(samples: Sequence[Sample]) -> list[str]:
    """Batches that share no modality, but most barcodes."""
    batches: dict[str, list[Sample]] = {}
    for sample in samples:
        batches.setdefault(sample.batch, []).append(sample)
    cells = {batch: _cells(mine) for batch, mine in batches.items()}
    notes = []
    for a, b in combinations(batches, 2):
        kinds = [{sample.modality for sample in batches[batch]} for batch in (a, b)]
        if kinds[0] & kinds[1] or _shared(cells[a], cells[b]) < _MOST:
            continue
        n, least = len(cells[a].intersection(cells[b])), min(len(cells[a]), len(cells[b]))
        notes.append(
            f"The batches {a!r} and {b!r} share {n:,} of {least:,} barcodes and no modality. If they are the same cells, give "
            f"both files one name: {a}={batches[a][0].source} {a}={batches[b][0].source}"
        )
    return notes


def _cells(samples: Sequence[Sample]) -> pd.Index:
    names = [sample.adata.obs_names.astype(str) for sample in samples]
    found: pd.Index = names[0].append(names[1:]).unique()
    return found


def _bare(names: pd.Index) -> pd.Series:
    """The bases of barcodes, NaN where there are none."""
    found: pd.Series = pd.Series(names.astype(str)).str.extract(_BASES, expand=False)
    return found


def _shared(a: pd.Index, b: pd.Index) -> float:
    return len(a.intersection(b)) / max(1, min(len(a), len(b)))
