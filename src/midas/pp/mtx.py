"""Folders with matrix.mtx, barcodes.tsv and features.tsv, in all common variants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from anndata import AnnData
from scipy.io import mmread

from midas.io import DataFileError
from midas.pp.samples import csr

_MATRIX = re.compile(r"^(?P<prefix>.*?)matrix\.mtx(\.gz)?$")
_FEATURES = ("features.tsv", "genes.tsv", "peaks.bed")


@dataclass(frozen=True)
class MtxFiles:
    """The three files of one matrix; `prefix` is the part before their usual names."""

    folder: Path
    prefix: str
    matrix: Path
    barcodes: Path
    features: Path


def find_mtx(folder: Path) -> list[MtxFiles]:
    """List the matrices directly in a folder: one, or several with prefixes.

    Raises
    ------
    DataFileError
        If barcodes or features of a matrix are missing.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _MATRIX.match(path.name)
        if match:
            found.setdefault(match["prefix"], path)  # the uncompressed file takes precedence over its .gz
    return [_beside(folder, prefix, matrix) for prefix, matrix in found.items()]


def _beside(folder: Path, prefix: str, matrix: Path) -> MtxFiles:
    def one_of(names: tuple[str, ...]) -> Path:
        for name in names:
            for ending in ("", ".gz"):
                path = folder / f"{prefix}{name}{ending}"
                if path.is_file():
                    return path
        there = ", ".join(p.name for p in sorted(folder.iterdir()) if p.name.startswith(prefix))
        wanted = " or ".join(f"{prefix}{name}" for name in names)
        msg = f"{folder}: expected {wanted} (or .gz) beside {matrix.name}, found {there}. Put the three files together."
        raise DataFileError(msg)

    return MtxFiles(folder, prefix, matrix, one_of(("barcodes.tsv",)), one_of(_FEATURES))


def read_mtx(files: MtxFiles) -> AnnData:
    """Read one matrix; ``var`` has `gene_ids` and `feature_types`, as in files of 10x Genomics.

    Raises
    ------
    DataFileError
        If the files are damaged, or their numbers of rows and columns do not match.
    """
    try:
        counts = csr(mmread(files.matrix).T)
        barcodes = pd.read_csv(files.barcodes, header=None, sep="\t", dtype=str)[0]
        features = pd.read_csv(files.features, header=None, sep="\t", dtype=str, keep_default_na=False)
    except (ValueError, OSError, EOFError) as error:
        msg = f"{files.matrix}: expected a matrix of 10x Genomics, found a damaged or foreign file ({error})."
        raise DataFileError(msg) from error
    if counts.shape != (len(barcodes), len(features)):
        msg = (
            f"{files.matrix}: expected {len(features):,} features x {len(barcodes):,} barcodes, as {files.features.name} and "
            f"{files.barcodes.name} list them, found {counts.shape[1]:,} x {counts.shape[0]:,}. Are the files of one sample?"
        )
        raise DataFileError(msg)
    return AnnData(counts, obs=pd.DataFrame(index=barcodes.to_numpy().astype(str)), var=_var(files, features))


def _var(files: MtxFiles, features: pd.DataFrame) -> pd.DataFrame:
    if ".bed" in files.features.name:
        names = features[0] + ":" + features[1] + "-" + features[2]
        return pd.DataFrame({"feature_types": "Peaks"}, index=names.to_numpy())
    names = features[1 if features.shape[1] > 1 else 0]
    var = pd.DataFrame({"gene_ids": features[0].to_numpy()}, index=names.to_numpy())
    if features.shape[1] > 2:
        var["feature_types"] = features[2].to_numpy()
    return var
