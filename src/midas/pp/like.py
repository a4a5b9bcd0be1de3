"""Match a query's features to those of a trained model, and keep only these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from midas.antibodies import ProteinTable
from midas.data.features import letters_of
from midas.data.schema import MosaicSchema
from midas.pp.fragments import check_batches_of, count_in_batches
from midas.pp.names import ANY_SPELLING, match_genes
from midas.pp.peaks import without_odd
from midas.pp.proteins import harmonise_proteins
from midas.pp.regions import natural_order, regions, spelled_like
from midas.pp.samples import Batches, Step, csr, listed, members, summed
from midas.text import counted

_FEW = 0.1  # if a smaller share of the features matches, they may be something else
_MODEL = "the model"  # key among the batches, so that names are also matched with the model's own


def named_as_model(
    kept: Mapping[str, Batches],
    schema: MosaicSchema,
    *,
    table: ProteinTable,
    symbols: Mapping[str, str] | None = None,
    fragments: Mapping[str, str | Path] | None = None,
) -> tuple[dict[str, Batches], list[str]]:
    """Map every modality to the model's features and names; features that the model lacks are left out.

    Genes are matched by ID, symbol, and case-insensitive symbol; proteins by the table, regardless of product. Counts of each
    peak are added to the model's peak that it overlaps most.

    Parameters
    ----------
    kept
        Batches by modality.
    schema
        Schema of the model.
    table
        Table of protein names.
    symbols
        Symbol of each Ensembl ID.
    fragments
        Fragment file by batch, to be counted on the model's peaks instead.

    Returns
    -------
    The batches, and notes.

    Raises
    ------
    ValueError
        If no feature of any modality is one of the model's.
    """
    check_batches_of(fragments or {}, kept)
    ways: dict[str, Callable[[Batches, pd.Index], Step]] = {
        "rna": lambda batches, own: _genes(batches, own, symbols),
        "adt": lambda batches, own: _by_name(batches, own, lambda both: harmonise_proteins(both, table=table)),
        "atac": lambda batches, own: _by_place(batches, own, kept, fragments or {}),
    }
    found: dict[str, Batches] = {}
    notes: list[str] = []
    for name, batches in kept.items():
        if name not in schema.modalities:
            notes.append(f"The model knows no {name}; it was left out.")
            continue
        own = schema.modalities[name].features
        step = ways[name](batches, own)
        notes += step.notes
        some = {batch: adata for batch, adata in step.batches.items() if adata.n_vars}
        if not some:
            notes.append(f"Features of {name}: left out, as none is in the data.")
            continue
        found[name] = some
        without = [batch for batch in step.batches if batch not in some]
        notes += [f"Batch {batch!r}: its {name} was left out, as no feature is the model's." for batch in without]
        n = len({feature for adata in some.values() for feature in adata.var_names})
        few = (
            " So few: is it a model of other data, or of another genome?"
            if n < _FEW * min(len(own), _most(batches))
            else ""
        )
        notes.append(f"Features of {name}: {n:,} of the model's {len(own):,} are in the data.{few}")
    if not found:
        expected = "; ".join(f"{name}: {listed(list(part.features), 3)}" for name, part in schema.modalities.items())
        msg = f"Expected features of the model ({expected}), found none. Is it a model of other data, or of another genome?"
        raise ValueError(msg)
    return found, notes


def _most(batches: Batches) -> int:
    """Features of the batch with the most features."""
    return max((adata.n_vars for adata in batches.values()), default=0)


def _genes(batches: Batches, own: pd.Index, symbols: Mapping[str, str] | None) -> Step:
    """Name genes as in the model, and report how many differ from its names only in case or punctuation."""
    step = _by_name(batches, own, lambda both: match_genes(both, symbols=symbols))
    notes = [note for note in step.notes if ANY_SPELLING not in note]  # that note compares the batches with each other
    for batch, adata in step.batches.items():
        names, was = adata.var_names, pd.Index(adata.var["original_name"].astype(str))
        n = int(((names != was) & (letters_of(names) == letters_of(was))).sum())
        if n:
            also = " Most of its genes: is it another species?" if n > adata.n_vars / 2 else ""
            count = counted(n, "gene was", "genes were")
            notes.append(f"Batch {batch!r}: {count} matched with the model's {ANY_SPELLING}.{also}")
    return Step(step.batches, tuple(notes))


def _by_name(batches: Batches, own: pd.Index, match: Callable[[Batches], Step]) -> Step:
    """Match names among batches and with the model's, and spell them as in the model."""
    model = AnnData(np.empty((0, len(own)), dtype=np.float32), var=pd.DataFrame(index=own.astype(str)))
    step = match({**batches, _MODEL: model})
    model_names = step.batches[_MODEL].var["original_name"].astype(str).to_dict()
    exact = set(own.astype(str))
    out = {}
    for batch, adata in step.batches.items():
        if batch == _MODEL:
            continue
        # An exact match with one of the model's names is unambiguous.
        was = adata.var["original_name"].astype(str)
        names = [old if old in exact else model_names.get(name) for name, old in zip(adata.var_names, was, strict=True)]
        known = np.array([name is not None for name in names])
        out[batch] = summed(
            adata[:, known].copy(), pd.Index([name for name in names if name is not None], dtype=object)
        )
    return Step(out, tuple(note for note in step.notes if not note.startswith(f"Batch {_MODEL!r}")))


def _by_place(
    batches: Batches, own: pd.Index, kept: Mapping[str, Batches], fragments: Mapping[str, str | Path]
) -> Step:
    """Sum counts of peaks onto the model's peaks, or count fragments there."""
    union = regions(own, "the model's peaks")
    order = natural_order(union)
    union, names = union.iloc[order].reset_index(drop=True), own[order]
    batches, notes = without_odd(batches)
    out: dict[str, AnnData] = {}
    for batch, adata in batches.items():
        table = regions(pd.Index(adata.var_names.astype(str)), f"batch {batch!r}")
        table["chrom"] = spelled_like(table["chrom"], set(union["chrom"]))
        code = _most_overlapped(table, union)
        there = np.unique(code[code >= 0])
        counts = csr(csr(adata.X) @ members(code, len(union)))[:, there]
        var = pd.DataFrame(index=pd.Index(names[there].astype(str)))
        out[batch] = AnnData(counts, obs=adata.obs.copy(), var=var, obsm=dict(adata.obsm))
    counted = count_in_batches(fragments, names, kept)
    note = f"fragments were counted on all {len(names):,} of the model's peaks."
    return Step({**out, **counted}, (*notes, *(f"Batch {batch!r}: {note}" for batch in counted)))


def _most_overlapped(table: pd.DataFrame, union: pd.DataFrame) -> NDArray[np.int64]:
    """For each region, find the region of the union (sorted) that it overlaps most; -1 for none."""
    best, code = np.zeros(len(table), dtype=np.int64), np.full(len(table), -1, dtype=np.int64)
    for chrom, rows in table.groupby("chrom", sort=False).indices.items():
        on_chromosome = np.flatnonzero((union["chrom"] == chrom).to_numpy())
        if not len(on_chromosome):
            continue
        start, end = (union[column].to_numpy()[on_chromosome] for column in ("start", "end"))
        a, b = (table[column].to_numpy()[rows] for column in ("start", "end"))
        first = np.maximum(np.searchsorted(start, a, side="right") - 1, 0)
        last = np.searchsorted(start, b, side="left")
        for further in range(int((last - first).max(initial=0))):
            at = np.minimum(first + further, len(on_chromosome) - 1)
            shared = np.minimum(b, end[at]) - np.maximum(a, start[at])
            better = (first + further < last) & (shared > best[rows])
            best[rows[better]], code[rows[better]] = shared[better], on_chromosome[at[better]]
    return code
