"""Count fragments on given peaks, from fragment files such as those of Cell Ranger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from midas.io import DataFileError
from midas.pp.regions import names_of, natural_order, regions, spelled_like
from midas.pp.samples import Batches, csr, listed, members
from midas.pp.tables import unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LINES = 2_000_000


def check_batches_of(fragments: Mapping[str, str | Path], kept: Mapping[str, Batches]) -> None:
    """Refuse fragments of batches that do not exist.

    Raises
    ------
    ValueError
        Naming these batches.
    """
    known = {batch for batches in kept.values() for batch in batches}
    strangers = sorted(set(fragments) - known)
    if strangers:
        msg = f"Expected fragments of the batches {listed(sorted(known))}, found {listed(strangers)}. Write batch=path."
        raise ValueError(msg)


def count_in_batches(
    fragments: Mapping[str, str | Path], peaks: pd.Index, kept: Mapping[str, Batches]
) -> dict[str, AnnData]:
    """Count the fragments of batches in peaks, for the cells already known for each batch.

    Parameters
    ----------
    fragments
        Fragment file of each batch.
    peaks
        As in :func:`count_fragments`.
    kept
        Batches by modality: their cells come from the peaks if present, else from RNA or proteins.
    """
    found = {}
    for batch, path in fragments.items():
        cells = next(kept[name][batch] for name in ("atac", "rna", "adt") if batch in kept.get(name, {}))
        found[batch] = count_fragments(path, peaks, cells.obs_names)
        own = kept.get("atac", {}).get(batch)
        found[batch].obsm.update({} if own is None else own.obsm)
        found[batch].obs = cells.obs.drop(columns=["n_counts", "n_features", "mito"], errors="ignore")
    return found


def count_fragments(path: str | Path, peaks: pd.Index, barcodes: pd.Index) -> AnnData:
    r"""Count cut sites of fragments in peaks, so that a batch can be measured on peaks called elsewhere.

    Both ends of a fragment are cut sites, as in Cell Ranger. The file is read once, in blocks.

    Parameters
    ----------
    path
        ``fragments.tsv.gz`` with chromosome, start, end, barcode; no index is needed.
    peaks
        Names of non-overlapping peaks (:func:`merge_peaks`).
    barcodes
        Cells to count; other barcodes are ignored.

    Returns
    -------
    Counts of `barcodes` x `peaks`, in that order.

    Raises
    ------
    DataFileError
        If the file is missing or damaged, or contains none of the barcodes or chromosomes.

    Examples
    --------
    >>> import pandas, midas
    >>> lines = "chr1\t110\t190\tAAA-1\t1\nchr1\t120\t900\tCCC-1\t2\n"
    >>> _ = open("fragments.tsv", "w").write(lines)
    >>> found = midas.pp.count_fragments("fragments.tsv", pandas.Index(["chr1:100-200"]), pandas.Index(["AAA-1", "CCC-1"]))
    >>> found.X.toarray().tolist()
    [[2.0], [1.0]]
    """
    table = regions(peaks)
    order = natural_order(table)
    place = table.iloc[order].reset_index(drop=True)
    chrom, start, end = (place[column].to_numpy() for column in ("chrom", "start", "end"))
    if ((chrom[1:] == chrom[:-1]) & (start[1:] < end[:-1])).any():
        raise ValueError(
            "Expected peaks that do not overlap each other, found some that do. Join them with merge_peaks."
        )
    shape, chroms = (len(barcodes), len(peaks)), set(table["chrom"])
    total = members(np.full(len(barcodes), -1, dtype=np.int64), len(peaks))  # nothing yet
    seen: tuple[set[str], int] = (set(), 0)
    for block in _blocks(Path(path)):
        cell = barcodes.get_indexer(pd.Index(block["barcode"]))
        block["chrom"] = spelled_like(block["chrom"], chroms)
        seen = (seen[0] | set(block["chrom"].unique()), seen[1] + int((cell >= 0).sum()))
        matched = block[cell >= 0]
        for column, shift in (("start", 0), ("end", -1)):
            at = _within(matched["chrom"], matched[column].to_numpy() + shift, place)
            hit = at >= 0
            ones = np.ones(int(hit.sum()), dtype=np.float32)
            total = csr(total + sp.csr_matrix((ones, (cell[cell >= 0][hit], order[at[hit]])), shape=shape))
    _check_seen(Path(path), seen, barcodes, chroms)
    var = table.set_index(names_of(table))
    var.index = pd.Index(peaks.astype(str))
    return AnnData(csr(total), obs=pd.DataFrame(index=barcodes.astype(str)), var=var)


def _blocks(path: Path) -> Iterator[pd.DataFrame]:
    names = ["chrom", "start", "end", "barcode"]
    kinds = {"chrom": str, "start": np.int64, "end": np.int64, "barcode": str}
    try:
        yield from pd.read_csv(
            path,
            sep="\t",
            comment="#",
            header=None,
            names=names,
            usecols=range(4),
            dtype=kinds,
            chunksize=_LINES,
            compression="gzip" if path.suffix in {".gz", ".bgz"} else None,
        )
    except (ValueError, OSError, EOFError) as error:
        raise unreadable(path, "a file of fragments (chromosome, start, end, barcode)", error) from error


def _within(chroms: pd.Series, sites: NDArray[np.int64], place: pd.DataFrame) -> NDArray[np.int64]:
    """Index of the peak that contains each site, -1 for none."""
    found = np.full(len(sites), -1, dtype=np.int64)
    first = place.groupby("chrom", sort=False).indices
    for chrom, rows in chroms.reset_index(drop=True).groupby(chroms.to_numpy(), sort=False).indices.items():
        if chrom in first:
            on_chromosome = first[chrom]
            at = np.searchsorted(place["start"].to_numpy()[on_chromosome], sites[rows], side="right") - 1
            fits = (at >= 0) & (sites[rows] < place["end"].to_numpy()[on_chromosome][at])
            found[rows[fits]] = on_chromosome[at[fits]]
    return found


def _check_seen(path: Path, seen: tuple[set[str], int], barcodes: pd.Index, chroms: set[str]) -> None:
    if not seen[1]:
        msg = f"{path}: expected fragments of the cells, such as {barcodes[0]!r}, found none. Are the barcodes written alike?"
        raise DataFileError(msg)
    if not seen[0] & chroms:
        there, wanted = ", ".join(sorted(seen[0])[:3]), ", ".join(sorted(chroms)[:3])
        msg = f"{path}: expected fragments on the chromosomes of the peaks ({wanted}), found {there}."
        raise DataFileError(msg)
