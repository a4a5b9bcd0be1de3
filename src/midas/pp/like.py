"""A query named as a trained model names its features, and only these kept."""

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

_FEW = 0.1  # share of the features that could be the model's, under which they may be something else
_MODEL = "the model"  # stands among the batches, so that names are matched with its own, too


def named_as_model(
    kept: Mapping[str, Batches],
    schema: MosaicSchema,
    *,
    table: ProteinTable,
    symbols: Mapping[str, str] | None = None,
    fragments: Mapping[str, str | Path] | None = None,
) -> tuple[dict[str, Batches], list[str]]:
    """Give every modality the model's features, by its names; what the model lacks is left out.

    Genes are matched by ID, symbol, and symbol without regard to case, proteins by the table, whatever product they are of.
    Counts of peaks are summed onto the model's peaks that they overlap most.

    Parameters
    ----------
    kept
        Batches by modality.
    schema
        Of the model.
    table
        Names of proteins.
    symbols
        Of Ensembl IDs.
    fragments
        By batch, the file of fragments to count on the model's peaks instead.

    Returns
    -------
    The batches, and notes.

    Raises
    ------
    ValueError
        When no feature of any modality is the model's.
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
        theirs = "; ".join(f"{name}: {listed(list(part.features), 3)}" for name, part in schema.modalities.items())
        msg = (
            f"Expected features of the model ({theirs}), found none. Is it a model of other data, or of another genome?"
        )
        raise ValueError(msg)
    return found, notes


def _most(batches: Batches) -> int:
    """Features of the batch that has most."""
    return max((adata.n_vars for adata in batches.values()), default=0)


def _genes(batches: Batches, own: pd.Index, symbols: Mapping[str, str] | None) -> Step:
    """Name genes as the model does, and say how many differ from its names in case or punctuation alone."""
    step = _by_name(batches, own, lambda both: match_genes(both, symbols=symbols))
    notes = [note for note in step.notes if ANY_SPELLING not in note]  # of batches among each other
    for batch, adata in step.batches.items():
        names, was = adata.var_names, pd.Index(adata.var["original_name"].astype(str))
        n = int(((names != was) & (letters_of(names) == letters_of(was))).sum())
        if n:
            also = " Most of its genes: is it another species?" if n > adata.n_vars / 2 else ""
            said = counted(n, "gene was", "genes were")
            notes.append(f"Batch {batch!r}: {said} matched with the model's {ANY_SPELLING}.{also}")
    return Step(step.batches, tuple(notes))


def _by_name(batches: Batches, own: pd.Index, match: Callable[[Batches], Step]) -> Step:
    """Match names among batches and with the model's, and write them as the model does."""
    model = AnnData(np.empty((0, len(own)), dtype=np.float32), var=pd.DataFrame(index=own.astype(str)))
    step = match({**batches, _MODEL: model})
    theirs = step.batches[_MODEL].var["original_name"].astype(str).to_dict()
    exact = set(own.astype(str))
    out = {}
    for batch, adata in step.batches.items():
        if batch == _MODEL:
            continue
        # A name that is the model's own, letter for letter, is beyond doubt.
        was = adata.var["original_name"].astype(str)
        names = [old if old in exact else theirs.get(name) for name, old in zip(adata.var_names, was, strict=True)]
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
    said = f"fragments were counted on all {len(names):,} of the model's peaks."
    return Step({**out, **counted}, (*notes, *(f"Batch {batch!r}: {said}" for batch in counted)))


def _most_overlapped(table: pd.DataFrame, union: pd.DataFrame) -> NDArray[np.int64]:
    """Find the region of the union (sorted) that each region shares most with; -1 where it meets none."""
    best, code = np.zeros(len(table), dtype=np.int64), np.full(len(table), -1, dtype=np.int64)
    for chrom, rows in table.groupby("chrom", sort=False).indices.items():
        mine = np.flatnonzero((union["chrom"] == chrom).to_numpy())
        if not len(mine):
            continue
        start, end = (union[column].to_numpy()[mine] for column in ("start", "end"))
        a, b = (table[column].to_numpy()[rows] for column in ("start", "end"))
        first = np.maximum(np.searchsorted(start, a, side="right") - 1, 0)
        last = np.searchsorted(start, b, side="left")
        for further in range(int((last - first).max(initial=0))):
            at = np.minimum(first + further, len(mine) - 1)
            shared = np.minimum(b, end[at]) - np.maximum(a, start[at])
            better = (first + further < last) & (shared > best[rows])
            best[rows[better]], code[rows[better]] = shared[better], mine[at[better]]
    return code
