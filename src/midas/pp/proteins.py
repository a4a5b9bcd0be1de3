"""Unify protein names: match antibody panels by a table that users can extend, without isotype controls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from anndata import AnnData

from midas.antibodies import ProteinTable, is_control, own_table, split_names, squeeze
from midas.pp.samples import Batches, Step, as_texts, check_batches, listed, summed
from midas.pp.tables import read_table
from midas.text import counted

_COLUMNS = ("protein", "genes", "aliases")


def protein_table(extra: str | Path | pd.DataFrame | Mapping[str, str] | None = None) -> ProteinTable:
    """Return the package's table of proteins, extended by the user's own.

    Parameters
    ----------
    extra
        A CSV file or a frame with the columns `protein`, `genes` and `aliases`, the latter two separated by ``;`` and possibly
        empty; or a dict from other names to protein names. Its rows take precedence over those of the package.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> import midas
    >>> table = midas.pp.protein_table({"CD8": "CD8a"})
    >>> table.find("cd8_TotalSeqB").name, table.find("CD56(NCAM)").name, table.find("PD-1").genes
    ('CD8a', 'CD56', ('PDCD1',))
    """
    own = own_table()
    if extra is None:
        return own
    if isinstance(extra, Mapping):
        rows = []
        for alias, name in extra.items():
            known = own.find(str(name))
            rows.append((known.name if known.known else str(name), ";".join(known.genes), str(alias)))
        extra = pd.DataFrame(rows, columns=list(_COLUMNS))
    if isinstance(extra, str | Path):
        what = f"a table of proteins with the columns {', '.join(_COLUMNS)}"
        extra = read_table(extra, what, text=True)
    missing = [name for name in _COLUMNS if name not in extra.columns]
    if "protein" in missing:
        msg = f"Expected a table of proteins with the columns {', '.join(_COLUMNS)}, found {', '.join(map(str, extra.columns))}."
        raise ValueError(msg)
    extra = extra.assign(**dict.fromkeys(missing, "")).fillna("").astype(str)
    return ProteinTable(pd.concat([own.frame, extra[list(_COLUMNS)]], ignore_index=True))


def harmonise_proteins(
    batches: Batches, *, table: ProteinTable | None = None, genes: pd.Index | None = None, drop_controls: bool = True
) -> Step:
    """Give each protein the same name in all panels, drop isotype controls, and add the gene that encodes it.

    Case, separators, product names (``_TotalSeqB``), barcode sequences, clones (``CD4-RPA-T4``, ``CD4-2``), ``Recombinant`` and
    aliases (``CD56(NCAM)``) are handled. Counts of several antibodies against one protein are summed within a panel. Names not in
    the table are matched ignoring case and separators. Nothing is merged by guessing: CD45RA and CD45RO, CD3 and CD3e, CD8 and
    CD8a stay separate; use :func:`protein_table` to merge them.

    Parameters
    ----------
    batches
        AnnData of proteins by batch.
    table
        Table from :func:`protein_table`; the package's own if None.
    genes
        Names of the measured genes, which define the spelling of ``var["gene"]``.
    drop_controls
        Whether to drop isotype controls.

    Returns
    -------
    The batches; var has ``gene`` (the main one, ``""`` if unknown), ``genes`` (all, separated by ``;``) and ``original_name``.

    Examples
    --------
    >>> import anndata, numpy, midas
    >>> a, b = anndata.AnnData(numpy.ones((2, 3))), anndata.AnnData(numpy.ones((2, 3)))
    >>> a.var_names = ["cd3.1", "cd3.2", "ncam"]
    >>> b.var_names = ["CD3_TotalSeqB", "CD56(NCAM)Recombinant", "IgG2a_control_TotalSeqB"]
    >>> step = midas.pp.harmonise_proteins({"a": a, "b": b})
    >>> step.batches["a"].var_names.tolist(), step.batches["b"].var_names.tolist()
    (['CD3', 'CD56'], ['CD3', 'CD56'])
    """
    check_batches(batches)
    table = table or own_table()
    notes: list[str] = []
    out: dict[str, AnnData] = {}
    unknown: dict[str, str] = {}  # first spelling of each name that the table lacks
    for batch, adata in batches.items():
        original = adata.var_names.astype(str)
        control = [drop_controls and is_control(name) for name in original]
        if any(control):
            dropped = [name for name, yes in zip(original, control, strict=True) if yes]
            count = counted(len(dropped), "isotype control was", "isotype controls were")
            notes.append(f"Batch {batch!r}: {count} dropped: {listed(dropped)}.")
        kept = adata[:, [not yes for yes in control]].copy()
        kept.var["original_name"] = kept.var_names.astype(str)
        proteins = [table.find(name) for name in kept.var_names]
        names = [p.name if p.known else unknown.setdefault(squeeze(p.name), p.name) for p in proteins]
        told = as_texts(kept.var["gene"]) if "gene" in kept.var.columns else [""] * kept.n_vars
        kept.var["genes"] = [";".join(p.genes) if p.known else t for p, t in zip(proteins, told, strict=True)]
        joined = pd.Series(kept.var_names.astype(str)).groupby(names, sort=False).agg("+".join)
        several = [f"{name} ({joined[name]})" for name in joined.index if "+" in joined[name] and names.count(name) > 1]
        if several:
            notes.append(f"Batch {batch!r}: antibodies against one protein were summed: {listed(several)}.")
        out[batch] = summed(kept, pd.Index(names, dtype=object))
    _link(out, genes)
    strangers = sorted({n for a in out.values() for n in a.var_names[a.var["gene"] == ""]})
    if strangers:
        count = counted(len(strangers), "protein has", "proteins have")
        notes.append(f"{count} no known gene: {listed(strangers)}. Extend the table of proteins.")
    return Step(out, (*notes, *_lookalikes(out)))


def _link(batches: Mapping[str, AnnData], genes: pd.Index | None) -> None:
    """Write ``var["gene"]``: the main gene, spelled as in the RNA; a protein may have the name of its gene."""
    spelled = {} if genes is None else {str(gene).upper(): str(gene) for gene in reversed(genes)}
    for adata in batches.values():
        links, alls = [], []
        for name, text in zip(adata.var_names, adata.var["genes"], strict=True):
            own = split_names(text) or ((str(name),) if str(name).upper() in spelled else ())
            here = [spelled.get(gene.upper(), gene) for gene in own]
            measured = [gene for gene in here if gene.upper() in spelled]
            links.append((measured or here or [""])[0])
            alls.append(";".join(here))
        adata.var["gene"], adata.var["genes"] = links, alls


def _lookalikes(batches: Mapping[str, AnnData]) -> list[str]:
    """Proteins of one gene that never share a panel, which may be one protein under two names."""
    panels: dict[str, set[str]] = {}
    gene: dict[str, str] = {}
    for batch, adata in batches.items():
        for name, text in zip(adata.var_names, adata.var["genes"], strict=True):
            panels.setdefault(str(name), set()).add(batch)
            gene[str(name)] = str(text)
    pairs = [
        f"{a} and {b}"
        for a in sorted(panels)
        for b in sorted(panels)
        if a < b and gene[a] and gene[a] == gene[b] and not panels[a] & panels[b]
    ]
    if not pairs:
        return []
    return [
        f"Kept apart, though of one gene and never in one panel: {listed(pairs, 8)}. If they are one, give them an alias."
    ]
