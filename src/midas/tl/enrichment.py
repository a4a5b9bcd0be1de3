"""Gene sets enriched among the features correlated with a dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from midas.extras import needs
from midas.text import describe_names


def read_gmt(path: str | Path) -> dict[str, list[str]]:
    r"""Read gene sets from a GMT file: per line the set's name, a description, and its genes, separated by tabs.

    Examples
    --------
    >>> import midas, pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = pathlib.Path(folder.name, "sets.gmt")
    >>> _ = file.write_text("HEME\thttps://example.org\tALAS2\tHBB\n")
    >>> midas.tl.read_gmt(file)
    {'HEME': ['ALAS2', 'HBB']}
    """
    sets = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = line.rstrip("\r").split("\t")
        genes = [gene.strip() for gene in rest[1:] if gene.strip()]
        if not genes:
            msg = f"{path}, line {number}: expected a name, a description and genes, separated by tabs, found {line[:60]!r}."
            raise ValueError(msg)
        sets[name] = genes
    if not sets:
        msg = f"{path}: expected gene sets, one on each line, found an empty file."
        raise ValueError(msg)
    return sets


def gene_set_enrichment(
    scores: pd.Series | pd.DataFrame,
    gene_sets: str | Path | Mapping[str, Sequence[str]],
    *,
    min_size: int = 10,
    max_size: int = 500,
    permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Find gene sets whose genes have jointly high or low scores: preranked GSEA with the package gseapy. Works offline.

    Gene names are compared case-insensitively. Needs the extra ``analysis``.

    Parameters
    ----------
    scores
        A score per gene, such as a row of the result of :func:`midas.tl.latent_correlation`; or a table scores x genes.
    gene_sets
        A GMT file, or a dict from set name to genes.
    min_size, max_size
        Sets with fewer or more scored genes are left out.
    permutations
        Number of gene permutations for p values.
    seed
        Seed of the permutations.

    Returns
    -------
    One row per score and set, smallest false discovery rate first: ``score``, ``gene_set``, ``es`` and ``nes`` (enrichment score,
    plain and normalised), ``p_value``, ``fdr``, ``genes`` (leading-edge genes, joined by ``;``).

    Examples
    --------
    >>> import midas, numpy as np, pandas as pd
    >>> scores = pd.Series(np.linspace(1, -1, 100), index=[f"G{i}" for i in range(100)])
    >>> sets = {"top": [f"g{i}" for i in range(12)], "spread": [f"g{i}" for i in range(0, 100, 8)]}
    >>> found = midas.tl.gene_set_enrichment(scores, sets, permutations=100)
    >>> found["gene_set"].tolist(), bool(found["fdr"][0] < 0.05), bool(found["fdr"][1] < 0.05)
    (['top', 'spread'], True, False)
    """
    with needs("gseapy", "analysis"):
        import gseapy  # noqa: PLC0415 - optional, and slow to import

    sets = gene_sets if isinstance(gene_sets, Mapping) else read_gmt(gene_sets)
    sets = {name: [str(gene).upper() for gene in genes] for name, genes in sets.items()}
    table = scores.to_frame("score").T if isinstance(scores, pd.Series) else scores
    _check_overlap(table.columns, sets, min_size, max_size)
    found = []
    for name, row in table.iterrows():
        ranked = row.dropna().astype(float)
        ranked.index = ranked.index.astype(str).str.upper()
        # A name shared by several genes is used once, with the strongest score.
        ranked = ranked.iloc[np.argsort(-ranked.abs().to_numpy(), kind="stable")]
        ranked = ranked[~ranked.index.duplicated()].sort_values(ascending=False, kind="stable")
        if not (ranked.nunique() > 1 and _overlaps(ranked.index, sets, min_size, max_size)):
            continue  # a dimension without signal, or too few genes
        result = gseapy.prerank(
            rnk=ranked,
            gene_sets=sets,
            min_size=min_size,
            max_size=max_size,
            permutation_num=permutations,
            seed=seed,
            threads=1,
            outdir=None,
            no_plot=True,
        ).res2d
        part = pd.DataFrame(
            {
                "score": str(name),
                "gene_set": result["Term"].astype(str),
                "es": result["ES"].astype(float),
                "nes": result["NES"].astype(float),
                "p_value": result["NOM p-val"].astype(float),
                "fdr": result["FDR q-val"].astype(float),
                "genes": result["Lead_genes"].astype(str),
            }
        )
        found.append(part.iloc[part["nes"].abs().argsort()[::-1]].sort_values("fdr", kind="stable"))
    if not found:
        raise ValueError("Expected scores that differ between genes, found none: all are alike or missing.")
    return pd.concat(found, ignore_index=True)


def _shared(genes: pd.Index, sets: Mapping[str, Sequence[str]]) -> dict[str, int]:
    scored = set(genes.astype(str).str.upper())
    return {name: len(scored & set(members)) for name, members in sets.items()}


def _overlaps(genes: pd.Index, sets: Mapping[str, Sequence[str]], least: int, most: int) -> bool:
    return any(least <= n <= most for n in _shared(genes, sets).values())


def _check_overlap(genes: pd.Index, sets: Mapping[str, Sequence[str]], least: int, most: int) -> None:
    if not _overlaps(genes, sets, least, most):
        shared = _shared(genes, sets)
        largest = max(shared.values(), default=0)
        msg = (
            f"Expected gene sets that share {least} to {most} genes with the scores ({describe_names(genes)}), found "
            f"{largest} shared genes at most in {len(sets)} sets. Are both gene symbols? Else lower min_size."
        )
        raise ValueError(msg)
