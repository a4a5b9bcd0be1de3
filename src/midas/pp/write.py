"""Write files like Cell Ranger's, to pass counts to tools that read these and to test the preparation on known data."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from scipy.io import mmwrite

from midas.data.checks import scan
from midas.data.parts import Part, counts_of
from midas.data.sources import open_source
from midas.files import holds_only, replacing
from midas.pp.samples import csr

_MTX = ("matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz")
_TYPES = {"rna": "Gene Expression", "adt": "Antibody Capture", "atac": "Peaks"}


def write_10x(path: str | Path, parts: Mapping[str, AnnData]) -> None:
    """Write counts of the same cells as a 10x Genomics ``.h5`` file, or as a folder with matrix.mtx.gz and its companion files.

    Parameters
    ----------
    path
        A path ending in ``.h5``, else a folder.
    parts
        AnnData by modality (``rna``, ``adt``, ``atac``), with the same cells in the same order. ``var["gene_ids"]`` is written if
        present.

    Raises
    ------
    ValueError
        If the cells differ.
    CountsError
        If values are not raw counts, the only data that these files can hold.
    FileExistsError
        If `path` is a folder that contains any other files.

    Examples
    --------
    >>> import midas
    >>> rna = midas.simulate.mosaic()["rna"]
    >>> midas.pp.write_10x("donor1.h5", {"rna": rna})
    >>> midas.pp.read_10x("donor1.h5")["rna"].shape == rna.shape
    True
    """
    cells = next(iter(parts.values())).obs_names
    if not all(adata.obs_names.equals(cells) for adata in parts.values()):
        raise ValueError(
            "Expected the same cells in the same order in all modalities, found others. Give those in common."
        )
    counts = sp.hstack([_counts(name, adata) for name, adata in parts.items()], format="csr")
    features = pd.concat([_features(name, adata) for name, adata in parts.items()], ignore_index=True)
    is_file = Path(path).suffix == ".h5"
    with replacing(Path(path), replaceable=None if is_file else holds_only(*_MTX)) as scratch:
        (_write_h5 if is_file else _write_mtx)(scratch, csr(counts), cells, features)


def _counts(name: str, adata: AnnData) -> sp.csr_matrix:
    part = Part(name, adata, f"modality {name!r}", pd.Series("", index=adata.obs_names))
    counts = counts_of(part, None)
    scan(open_source(counts), "counts", part, np.zeros(adata.n_obs, dtype=np.int64), 1)
    return csr(counts)


def _features(name: str, adata: AnnData) -> pd.DataFrame:
    names = adata.var_names.astype(str)
    ids = adata.var["gene_ids"].astype(str) if "gene_ids" in adata.var.columns else names
    return pd.DataFrame({"id": list(ids), "name": list(names), "feature_type": _TYPES.get(name, name)})


def _write_h5(target: Path, counts: sp.csr_matrix, cells: pd.Index, features: pd.DataFrame) -> None:
    def text(values: object) -> np.ndarray:
        return np.array([str(v).encode() for v in values])  # type: ignore[attr-defined]

    with h5py.File(target, "w") as file:
        matrix = file.create_group("matrix")
        # Cells are the columns of the file's CSC matrix, hence the rows of a CSR one.
        values = {"data": counts.data.astype(np.int32), "indices": counts.indices, "indptr": counts.indptr}
        for key, array in values.items():
            packed = {"compression": "gzip", "compression_opts": 4} if len(array) else {}
            matrix.create_dataset(key, data=array if key == "data" else array.astype(np.int64), **packed)
        matrix["shape"] = np.array(counts.shape[::-1], dtype=np.int32)
        matrix["barcodes"] = text(cells)
        group = matrix.create_group("features")
        for column in features.columns:
            group[column] = text(features[column])
        group["genome"] = text([""] * len(features))


def _write_mtx(target: Path, counts: sp.csr_matrix, cells: pd.Index, features: pd.DataFrame) -> None:
    target.mkdir()
    matrix, barcodes, table = (target / name for name in _MTX)
    with gzip.open(matrix, "wb") as file:
        mmwrite(file, sp.coo_matrix(counts.T.astype(np.int32)))  # type: ignore[arg-type]
    pd.Series(cells).to_csv(barcodes, index=False, header=False)
    features.to_csv(table, sep="\t", index=False, header=False)
