"""Unify gene names over batches: match symbols and Ensembl IDs, handling versions, case and repeats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
from anndata import AnnData

from midas.data.features import letters_of
from midas.pp.samples import Batches, Step, check_batches, listed, summed
from midas.text import counted

_ENSEMBL = re.compile(r"^(?P<id>ENS(?P<species>[A-Z]*)G\d{6,})(?:\.\d+)?(?P<par>_PAR_Y)?$")
ANY_SPELLING = "without regard to case and punctuation"
_SYMBOL_COLUMNS = (
    "gene_symbols",
    "gene_symbol",
    "gene_name",
    "gene_names",
    "feature_name",
    "symbol",
    "gene_short_name",
)
_ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "feature_id", "ensembl")


def match_genes(batches: Batches, *, symbols: Mapping[str, str] | None = None) -> Step:
    """Give each gene the same name in all batches.

    Names may be symbols or Ensembl IDs, with or without version (``ENSG00000156738.18``); a batch may have both, one as names and
    the other in a column of var. Genes are matched by ID if available, else by symbol, else by symbol ignoring case and
    punctuation (R writes ``HLA.DRA``). IDs are replaced by symbols if any batch, or `symbols`, provides them. Counts of names
    that occur more than once in a batch are summed.

    Parameters
    ----------
    batches
        AnnData of RNA by batch.
    symbols
        Symbol of each Ensembl ID (without version), for data that have only IDs.

    Returns
    -------
    The batches with the new names; the original ones are in ``var["original_name"]``.

    Raises
    ------
    ValueError
        If the batches are from different species.

    Examples
    --------
    >>> import anndata, numpy, midas
    >>> a = anndata.AnnData(numpy.ones((2, 2)), var={"gene_ids": ["ENSG00000156738", "ENSG00000153563"]})
    >>> a.var_names = ["MS4A1", "CD8A"]
    >>> b = anndata.AnnData(numpy.ones((2, 2)))
    >>> b.var_names = ["ENSG00000153563.16", "Ms4a1"]
    >>> midas.pp.match_genes({"a": a, "b": b}).batches["b"].var_names.tolist()
    ['CD8A', 'MS4A1']
    """
    check_batches(batches)
    tables = {batch: _table(adata) for batch, adata in batches.items()}
    _check_species(tables)
    notes: list[str] = []
    symbol_of = _symbols(tables, symbols or {})
    renamed = _renamed(tables, symbol_of)
    names = {batch: _first_names(table, symbol_of, renamed) for batch, table in tables.items()}
    spelling = _spelling(names)
    out: dict[str, AnnData] = {}
    for batch, adata in batches.items():
        final = names[batch].map(lambda name: spelling.get(name, name))
        folded = int((final != names[batch]).sum())
        if folded:
            also = " Most of its genes: is it another species?" if folded > len(final) / 2 else ""
            count = counted(folded, "gene was", "genes were")
            notes.append(f"Batch {batch!r}: {count} matched {ANY_SPELLING}.{also}")
        unnamed = int(final.str.match(_ENSEMBL).sum())
        if unnamed:
            count = counted(unnamed, "Ensembl ID has", "Ensembl IDs have")
            notes.append(f"Batch {batch!r}: {count} no known symbol: left as found.")
        repeated = final[final.duplicated()].unique().tolist()
        if repeated:
            count = counted(len(repeated), "repeated gene name", "repeated gene names")
            notes.append(f"Batch {batch!r}: counts of {count} were summed: {listed(repeated)}.")
        made = adata.copy()
        made.var["original_name"] = adata.var_names.astype(str)
        out[batch] = summed(made, final)
    return Step(out, tuple(notes))


def _table(adata: AnnData) -> pd.DataFrame:
    """Columns `symbol` and `id` (without version), None if unknown."""
    names = pd.Series(adata.var_names.astype(str)).str.strip()
    ids = names.str.extract(_ENSEMBL)["id"]
    symbol = names.where(ids.isna())
    for column in _ID_COLUMNS:
        if column in adata.var.columns:
            found = pd.Series(adata.var[column].astype(str).to_numpy()).str.strip().str.extract(_ENSEMBL)["id"]
            ids = ids.where(ids.notna(), found)
    for column in _SYMBOL_COLUMNS:
        if column in adata.var.columns:
            told = pd.Series(adata.var[column].astype(object).to_numpy())
            told = told.where(told.notna() & (told.astype(str).str.strip() != ""))
            told = told.where(~told.astype(str).str.match(_ENSEMBL.pattern))
            symbol = symbol.fillna(told.astype(object).where(told.notna()))
    return pd.DataFrame({"symbol": symbol.to_numpy(dtype=object), "id": ids.to_numpy(dtype=object)})


def _check_species(tables: Mapping[str, pd.DataFrame]) -> None:
    of: dict[str, str] = {}
    for batch, table in tables.items():
        ids = table["id"].dropna().astype(str)
        if len(ids):
            of[batch] = str(ids.str.extract(_ENSEMBL)["species"].mode().iloc[0])
    if len(set(of.values())) > 1:
        found = ", ".join(f"{batch} ENS{species}G" for batch, species in of.items())
        msg = f"Expected genes of one species in all batches, found Ensembl IDs of several: {found}. Leave one out."
        raise ValueError(msg)


def _symbols(tables: Mapping[str, pd.DataFrame], given: Mapping[str, str]) -> dict[str, str]:
    """Symbol of each ID: that of most batches, or the first in a tie."""
    votes: dict[str, Counter[str]] = {}
    for table in tables.values():
        both = table.dropna()
        for gene, symbol in zip(both["id"], both["symbol"], strict=True):
            votes.setdefault(str(gene), Counter())[str(symbol)] += 1
    found = {str(gene).split(".")[0]: str(symbol) for gene, symbol in given.items() if symbol}
    return found | {gene: counter.most_common(1)[0][0] for gene, counter in votes.items()}


def _renamed(tables: Mapping[str, pd.DataFrame], symbol_of: Mapping[str, str]) -> dict[str, str]:
    """Outdated symbols in some batch for an ID that now has another symbol, if unambiguous."""
    chosen = set(symbol_of.values())
    targets: dict[str, set[str]] = {}
    for table in tables.values():
        both = table.dropna()
        for gene, symbol in zip(both["id"], both["symbol"], strict=True):
            if symbol not in chosen:
                targets.setdefault(str(symbol), set()).add(symbol_of[str(gene)])
    return {old: next(iter(new)) for old, new in targets.items() if len(new) == 1}


def _first_names(table: pd.DataFrame, symbol_of: Mapping[str, str], renamed: Mapping[str, str]) -> pd.Index:
    by_id = table["id"].map(symbol_of)
    by_symbol = table["symbol"].map(lambda s: renamed.get(s, s) if isinstance(s, str) else np.nan)
    return pd.Index(by_id.fillna(by_symbol).fillna(table["id"]).fillna("").astype(str))


def _spelling(names: Mapping[str, pd.Index]) -> dict[str, str]:
    """Spelling of names that differ only in case or punctuation: that of most batches, hyphens preferred to dots.

    If one batch has a name in two spellings, they are different genes and are left unchanged.
    """
    forms: dict[str, Counter[str]] = {}
    apart: set[str] = set()
    for index in names.values():
        unique = index.unique()
        plain = letters_of(unique)
        apart.update(plain[plain.duplicated()])
        for name, key in zip(unique, plain, strict=True):
            forms.setdefault(key, Counter())[str(name)] += 1
    found: dict[str, str] = {}
    for key, counter in forms.items():
        if len(counter) > 1 and key not in apart:
            best = max(counter, key=lambda name: (counter[name], -name.count(".")))
            found |= {name: best for name in counter if name != best}
    return found
