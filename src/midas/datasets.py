"""Real data sets, loaded from a local folder or downloaded, with SHA-256 verification.

Data sets derived from public data without a public URL must be placed in a folder manually. Original sources without a
known hash are only listed.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import anndata as ad
import mudata as md
import pooch

from midas.data.joint import joining

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DATASETS", "FOLDER_VARIABLE", "Dataset", "available", "load", "path"]

FOLDER_VARIABLE: Final = "MIDAS_DATA"  # environment variable that names the default local folder


@dataclass(frozen=True)
class Dataset:
    """A real data set.

    Attributes
    ----------
    name
        What :func:`load` takes.
    description
        Cells, features and peculiarities.
    source
        URL of the publication, the archive entry or the original file.
    filename
        Name of the file in a local folder; None for a source that is only listed.
    sha256
        Hash of that file.
    url
        URL of that file; None if there is none.
    batch_key, label_key
        Columns of ``obs`` with the batch and the cell type.
    """

    name: str
    description: str
    source: str
    filename: str | None = None
    sha256: str | None = None
    url: str | None = None
    batch_key: str = "batch"
    label_key: str = "cell_type"

    def __post_init__(self) -> None:
        if (self.filename is None) != (self.sha256 is None):
            msg = (
                f"Dataset {self.name!r}: expected a sha256 for every file and for nothing else, found {self.sha256!r}."
            )
            raise ValueError(msg)

    @property
    def loadable(self) -> bool:
        """Whether :func:`load` can read it; otherwise it is a source to prepare data from."""
        return self.filename is not None


def _registry(*entries: Dataset) -> Mapping[str, Dataset]:
    return MappingProxyType({entry.name: entry for entry in entries})


DATASETS: Final = _registry(
    Dataset(
        "pbmc_wnn_mosaic_1600",
        "PBMC CITE-seq mosaic, 1,600 cells in 4 batches (RNA only, ADT only, two with both): RNA 1,200 x 500, "
        "ADT 1,200 x 224; 8 cell types. The example of the package scmidas (MIT).",
        "https://doi.org/10.1016/j.cell.2021.04.048",
        filename="pbmc_wnn_mosaic_1600.h5mu",
        sha256="ba7e65819b77dca7cae0473043893a471920e25a07ee08bc91b3eb9fcc2e1cdd",
        url="https://raw.githubusercontent.com/labomics/midas/f10c652368a3702b915d7406fa6fda2e624b8791/"
        "src/scmidas/data/quickstart_pbmc_mosaic.h5mu",
        label_key="celltype",
    ),
    Dataset(
        "pbmc_citeseq_10x_2batch",
        "PBMC CITE-seq, 10,775 cells in 2 batches (10k, 5k): RNA x 4,000, ADT x 29, of which 15 only in pbmc5k "
        "(var['measured_<batch>']); 7 cell types and 'unknown'.",
        "https://www.10xgenomics.com/datasets",
        filename="pbmc_citeseq_10x_2batch.h5mu",
        sha256="4171992d7627e2d8f85d883aa132a3dcc970be21f6ccb61b0e5894f2c01defb4",
    ),
    Dataset(
        "pbmc_standin_trimodal_4batch",
        "A stand-in for trimodal data, made from pbmc_citeseq_10x_2batch: 10,775 cells in 4 batches, RNA x 2,000, "
        "ADT x 29, and 2,000 binarised genes on made-up chromosomes as ATAC, which are easier than real ATAC.",
        "https://www.10xgenomics.com/datasets",
        filename="pbmc_standin_trimodal_4batch.h5mu",
        sha256="bd1e6f8dc302d3d8ba2fa703b1fd146d90c098cd457cf294452f34d01efd64ca",
    ),
    Dataset(
        "mouse_cortex_snareseq",
        "SNARE-seq of adult mouse cortex (Chen 2019): 10,309 cells in 12 batches with a weak effect, RNA x 1,677, "
        "ATAC x 25,734, very sparse; 15 cell types from the RNA.",
        "https://doi.org/10.1038/s41587-019-0290-0",
        filename="mouse_cortex_snareseq.h5mu",
        sha256="5ed95455661fdbe009d4c31c71bcf6e3835110a9dd66fea6370e5adddd849c5f",
    ),
    Dataset(
        "bmmc_cite_neurips_1draw",
        "Bone marrow CITE-seq (Luecken 2021), a sample of 600 cells of 2 donors: RNA x 1,000, ADT x 134; "
        "14 cell types, with progenitors.",
        "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE194122",
        filename="bmmc_cite_neurips_1draw.h5mu",
        sha256="8e09625cccb050dd2f7b43e2e100c87c0837446bf99fc5a3282d85c16ab5b7e9",
    ),
    Dataset(
        "bmmc_multiome_neurips_1draw",
        "Bone marrow Multiome (Luecken 2021), a sample of 500 cells of the same 2 donors: RNA x 1,134, ATAC x 600; "
        "12 cell types.",
        "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE194122",
        filename="bmmc_multiome_neurips_1draw.h5mu",
        sha256="d5e54b58f1b413e9e905da4cfc9552590e7758402c19ed1dbe6ed5f60652c73b",
    ),
    Dataset(
        "pbmc_asap_cite_adt_only_4batch",
        "Proteins of CITE-seq and ASAP-seq PBMC (Mimitou 2021): 17,055 cells in 4 batches, ADT x 216, "
        "one AnnData; 4 cell types.",
        "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE156478",
        filename="pbmc_asap_cite_adt_only_4batch.h5ad",
        sha256="e2a1a39bb013d72c9580e9fa2bd1e4b429323efee869dfdc256aa258ad5014f9",
    ),
    Dataset(
        "10x_pbmc_5k_protein",
        "Original counts of the batch pbmc5k of pbmc_citeseq_10x_2batch (10x Genomics, CITE-seq).",
        "https://cf.10xgenomics.com/samples/cell-exp/3.0.2/5k_pbmc_protein_v3/"
        "5k_pbmc_protein_v3_filtered_feature_bc_matrix.h5",
    ),
    Dataset(
        "10x_pbmc_10k_protein",
        "Original counts of the batch pbmc10k of pbmc_citeseq_10x_2batch (10x Genomics, CITE-seq).",
        "https://cf.10xgenomics.com/samples/cell-exp/3.0.0/pbmc_10k_protein_v3/"
        "pbmc_10k_protein_v3_filtered_feature_bc_matrix.h5",
    ),
    Dataset(
        "neurips_2021_bmmc",
        "All cells of the bone marrow CITE-seq and Multiome data (Luecken 2021).",
        "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE194122",
    ),
)


def available() -> tuple[Dataset, ...]:
    """List the data sets, those that :func:`load` reads first.

    Examples
    --------
    >>> all(entry.name for entry in midas.datasets.available())
    True
    """
    return tuple(sorted(DATASETS.values(), key=lambda entry: not entry.loadable))


def load(name: str, *, folder: str | Path | None = None) -> md.MuData | ad.AnnData:
    """Read a data set; see :func:`path` for where it is looked for.

    Returns
    -------
    MuData for ``.h5mu``, AnnData for ``.h5ad``: raw counts, float32 CSR.
    """
    file = path(name, folder=folder)
    if file.suffix == ".h5ad":
        return ad.read_h5ad(file)
    with joining():
        return md.read_h5mu(file)


def path(name: str, *, folder: str | Path | None = None) -> Path:
    """Find a data set's file, download it if possible, and verify its hash.

    Parameters
    ----------
    name
        One of :func:`available` that is loadable.
    folder
        Searched first, followed by the folder in the environment variable ``MIDAS_DATA`` and the download cache, to
        which data sets with a URL are downloaded.
    """
    entry = _entry(name)
    if entry.filename is None or entry.sha256 is None:
        msg = (
            f"{name!r} is listed as a source only, without a file whose hash is known. Fetch it from {entry.source}, "
            f"then read it with muon or scanpy. Data sets that load: {_loadable()}."
        )
        raise ValueError(msg)
    cache = Path(pooch.os_cache("midas-mosaic"))
    folders = [_folder(place, said) for place, said in _places(folder)]
    for place in (*folders, cache):
        file = place / entry.filename
        if file.is_file():
            return _checked(file, entry.sha256)
    if entry.url is None:
        looked = ", ".join(str(place) for place in (*folders, cache))
        msg = (
            f"{name!r} has no public address, and {entry.filename} is not in any of: {looked}. Put the file "
            f"(sha256 {entry.sha256}) into a folder and name it by `folder` or by the environment variable "
            f"{FOLDER_VARIABLE}. The data come from {entry.source}."
        )
        raise FileNotFoundError(msg)
    try:
        return Path(pooch.retrieve(entry.url, f"sha256:{entry.sha256}", fname=entry.filename, path=cache))
    except OSError as error:
        msg = (
            f"{name!r} could not be fetched from {entry.url}. Fetch it elsewhere, save it as {entry.filename}, and "
            f"name its folder by `folder` or by the environment variable {FOLDER_VARIABLE}."
        )
        raise ConnectionError(msg) from error


def _entry(name: str) -> Dataset:
    if name not in DATASETS:
        msg = f"Unknown data set {name!r}. Data sets that load: {_loadable()}."
        raise ValueError(msg)
    return DATASETS[name]


def _loadable() -> str:
    return ", ".join(entry.name for entry in available() if entry.loadable)


def _places(folder: str | Path | None) -> list[tuple[str | Path, str]]:
    """Local folders in search order, with their origin for messages."""
    named = [(folder, "`folder`"), (os.environ.get(FOLDER_VARIABLE), f"the environment variable {FOLDER_VARIABLE}")]
    return [(place, said) for place, said in named if place]


def _folder(place: str | Path, said: str) -> Path:
    found = Path(place).expanduser()
    if not found.is_dir():
        msg = f"Expected {said} to name a folder, found {str(place)!r}. Create it, or leave it out."
        raise NotADirectoryError(msg)
    return found


def _checked(file: Path, sha256: str) -> Path:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        msg = f"{file}: expected sha256 {sha256}, found {found}. Remove the file, and get the original one."
        raise ValueError(msg)
    return file
