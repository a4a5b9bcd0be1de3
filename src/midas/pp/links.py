"""Links from peaks to the genes they may regulate: by genomic distance, or from a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from midas.extras import needs
from midas.io import DataFileError
from midas.pp.regions import regions, spelled_like
from midas.pp.samples import listed
from midas.pp.tables import unreadable

_COLUMNS = ["peak", "gene", "distance"]


def read_genes(gtf: str | Path) -> pd.DataFrame:
    r"""Read the genes of a GTF file, compressed or not.

    Returns
    -------
    Columns `chrom`, `start`, `end` (BED coordinates), `strand`, `gene` (symbol, or ID where there is none) and `gene_id`.

    Raises
    ------
    DataFileError
        If it is missing, or contains no genes.

    Examples
    --------
    >>> line = 'chr1 . gene 101 900 . + . gene_id "ENSG01.2"; gene_name "CD4";'.split(" ", 8)
    >>> _ = open("genes.gtf", "w").write("\t".join(line))
    >>> midas.pp.read_genes("genes.gtf")
      chrom  start  end strand gene gene_id
    0  chr1    100  900      +  CD4  ENSG01
    """
    names = ["chrom", "source", "feature", "start", "end", "score", "strand", "frame", "attributes"]
    try:
        table = pd.read_csv(gtf, sep="\t", comment="#", header=None, names=names, dtype=str, quoting=3)
        table = table[table["feature"] == "gene"]
        start, end = table["start"].astype(np.int64) - 1, table["end"].astype(np.int64)
    except (ValueError, OSError, EOFError) as error:
        raise unreadable(gtf, "a GTF file", error) from error
    gene_id = table["attributes"].str.extract(r'gene_id "([^"]+)"')[0]
    symbol = table["attributes"].str.extract(r'gene_name "([^"]+)"')[0].fillna(gene_id)
    if not len(table) or gene_id.isna().all():
        msg = f"{gtf}: expected genes (feature 'gene', with a gene_id), found none. Is it a GTF file of Ensembl or GENCODE?"
        raise DataFileError(msg)
    columns = {"chrom": table["chrom"], "start": start, "end": end, "strand": table["strand"]}
    return pd.DataFrame({**columns, "gene": symbol, "gene_id": gene_id.str.split(".").str[0]}).reset_index(drop=True)


def link_peaks(
    peaks: pd.Index,
    genes: str | Path | pd.DataFrame,
    *,
    upstream: int = 2000,
    downstream: int = 0,
    only: pd.Index | None = None,
) -> pd.DataFrame:
    """Link peaks to genes whose body, extended upstream and downstream, they overlap.

    Parameters
    ----------
    peaks
        Names of peaks in any notation.
    genes
        GTF file, or a frame as returned by :func:`read_genes`; or a frame with the columns `peak` and `gene` (optionally
        `distance`), whose links are used as they are.
    upstream, downstream
        Base pairs upstream of the gene's start and downstream of its end, along its strand.
    only
        Genes of interest, which also define the spelling in the result; matched case-insensitively.

    Returns
    -------
    One row per link: `peak`, `gene`, and `distance` from the peak's centre to the gene's start in base pairs; for each peak, the
    nearest gene comes first.

    Raises
    ------
    DataFileError, ValueError
        If a file is not a GTF, columns are missing, or no chromosome is shared.

    Examples
    --------
    >>> import pandas, midas
    >>> genes = pandas.DataFrame({"chrom": ["chr1"], "start": [5000], "end": [9000], "strand": ["+"], "gene": ["CD4"]})
    >>> midas.pp.link_peaks(pandas.Index(["chr1:3500-4000", "chr1:100-600"]), genes)
                 peak gene  distance
    0  chr1:3500-4000  CD4      1250
    """
    table = genes if isinstance(genes, pd.DataFrame) else read_genes(genes)
    if {"peak", "gene"} <= set(table.columns):
        links = _given(peaks, table)
    else:
        missing = [c for c in ("chrom", "start", "end", "strand", "gene") if c not in table.columns]
        if missing:
            msg = (
                f"Expected genes with the columns chrom, start, end, strand and gene, or links with peak and gene; found "
                f"{', '.join(map(str, table.columns))}."
            )
            raise ValueError(msg)
        links = _by_place(peaks, table, upstream, downstream)
    if only is not None:
        spelled = {str(gene).upper(): str(gene) for gene in only}
        links["gene"] = links["gene"].astype(str).str.upper().map(spelled)
        links = links.dropna(subset=["gene"])
    rank = pd.Series(np.arange(len(peaks)), index=peaks)
    links = links.assign(order=links["peak"].map(rank)).sort_values(["order", "distance", "gene"], kind="stable")
    return links[_COLUMNS].drop_duplicates(["peak", "gene"]).reset_index(drop=True)


def nearest_gene(peaks: pd.Index, links: pd.DataFrame) -> list[str]:
    """First gene linked to each peak, ``""`` for none."""
    first = links.drop_duplicates("peak").set_index("peak")["gene"]
    return [str(gene) for gene in first.reindex(peaks).fillna("")]


def _given(peaks: pd.Index, table: pd.DataFrame) -> pd.DataFrame:
    """Links of a table. Its peaks may be those of one batch: they are mapped to the joint peaks that they overlap."""
    with needs("bioframe", "prepare"):
        import bioframe  # noqa: PLC0415 - optional
    own = regions(pd.Index(table["peak"].astype(str)), "links")
    pairs = bioframe.overlap(regions(peaks), own, how="inner", return_index=True, suffixes=("", "_link"))
    if not len(pairs):
        found = listed(table["peak"].astype(str).tolist(), 3)
        msg = f"Expected links of the peaks, such as {listed(list(peaks), 3)}, found {found}. Is it the same genome?"
        raise ValueError(msg)
    i, j = pairs["index"].to_numpy(dtype=np.int64), pairs["index_link"].to_numpy(dtype=np.int64)
    distance = table["distance"].to_numpy() if "distance" in table.columns else np.zeros(len(table))
    return pd.DataFrame(
        {"peak": peaks.to_numpy()[i], "gene": table["gene"].astype(str).to_numpy()[j], "distance": distance[j]}
    )


def _by_place(peaks: pd.Index, genes: pd.DataFrame, upstream: int, downstream: int) -> pd.DataFrame:
    with needs("bioframe", "prepare"):
        import bioframe  # noqa: PLC0415 - optional
    place = regions(peaks)
    genes = genes.reset_index(drop=True)
    chroms = set(place["chrom"])
    genes = genes.assign(chrom=spelled_like(genes["chrom"], chroms))
    if not chroms & set(genes["chrom"]):
        found = listed(sorted(set(genes["chrom"])), 3)
        msg = f"Expected genes on the chromosomes of the peaks ({listed(sorted(chroms), 3)}), found {found}."
        raise ValueError(msg)
    forward = (genes["strand"] != "-").to_numpy()
    before, after = np.where(forward, upstream, downstream), np.where(forward, downstream, upstream)
    wide = genes.assign(start=np.maximum(0, genes["start"] - before), end=genes["end"] + after)[
        ["chrom", "start", "end"]
    ]
    pairs = bioframe.overlap(place, wide, how="inner", return_index=True, suffixes=("", "_gene"))
    i, j = pairs["index"].to_numpy(dtype=np.int64), pairs["index_gene"].to_numpy(dtype=np.int64)
    middle = ((place["start"] + place["end"]) // 2).to_numpy()[i]
    tss = np.where(forward, genes["start"], genes["end"])[j]
    return pd.DataFrame(
        {"peak": peaks.to_numpy()[i], "gene": genes["gene"].to_numpy()[j], "distance": np.abs(middle - tss)}
    )
