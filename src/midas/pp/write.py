"""Files as Cell Ranger writes them: to hand counts on to tools that read these, and to try the preparation on known data."""

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

from midas.files import replacing
from midas.pp.samples import csr

_TYPES = {"rna": "Gene Expression", "adt": "Antibody Capture", "atac": "Peaks"}


def write_10x(path: str | Path, parts: Mapping[str, AnnData]) -> None:
    """Write counts of the same cells as a 10x Genomics ``.h5`` file, or as a folder of matrix.mtx.gz and its companions.

    Parameters
    ----------
    path
        A name that ends in ``.h5``, or else a folder.
    parts
        AnnData by modality (``rna``, ``adt``, ``atac``), with the same cells in the same order. ``var["gene_ids"]`` is
        written where it is there.

    Raises
    ------
    ValueError
        When the cells differ.

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
    counts = sp.hstack([csr(adata.X) for adata in parts.values()], format="csr")
    features = pd.concat([_features(name, adata) for name, adata in parts.items()], ignore_index=True)
    with replacing(Path(path)) as scratch:
        write = _write_h5 if Path(path).suffix == ".h5" else _write_mtx
        write(scratch, csr(counts), cells, features)


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
    with gzip.open(target / "matrix.mtx.gz", "wb") as file:
        mmwrite(file, sp.coo_matrix(counts.T.astype(np.int32)))  # type: ignore[arg-type]
    pd.Series(cells).to_csv(target / "barcodes.tsv.gz", index=False, header=False)
    features.to_csv(target / "features.tsv.gz", sep="\t", index=False, header=False)
