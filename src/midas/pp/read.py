"""Read sequencing output by modality: 10x .h5, mtx folders, .h5ad and .h5mu."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from midas.antibodies import looks_like_proteins
from midas.data.blocks import read_peaks
from midas.data.parts import types_in
from midas.extras import needs
from midas.io import DataFileError, read_file
from midas.modality import canonical
from midas.pp.mtx import find_mtx, read_mtx
from midas.pp.samples import repeats_are_summed

if TYPE_CHECKING:
    from numpy.typing import NDArray


@repeats_are_summed()
def read_10x(path: str | Path) -> dict[str, AnnData]:
    """Read the output of 10x Genomics: an ``.h5`` file, or a folder with matrix.mtx, barcodes.tsv and features.tsv.

    Supports Cell Ranger 2 (genes.tsv) and later (features.tsv), compressed or not, with RNA, proteins, peaks or all of them.

    Parameters
    ----------
    path
        The file or folder.

    Returns
    -------
    Raw counts by modality: ``rna``, ``adt``, ``atac``. Other feature types keep their own names.

    Raises
    ------
    DataFileError
        If there is no such file, it is damaged, or of another type.

    Examples
    --------
    >>> import midas
    >>> parts = midas.pp.read_10x("filtered_feature_bc_matrix.h5")  # doctest: +SKIP
    >>> parts["rna"], parts["adt"]  # doctest: +SKIP
    """
    file = Path(path)
    if file.is_dir():
        found = find_mtx(file)
        if len(found) != 1:
            names = ", ".join(f.matrix.name for f in found) or ", ".join(sorted(p.name for p in file.iterdir())[:8])
            msg = f"{file}: expected one matrix.mtx (or .mtx.gz), found {names or 'an empty folder'}."
            raise DataFileError(msg)
        return by_modality(read_mtx(found[0]))
    return by_modality(read_10x_h5(file))


def read_10x_h5(file: Path) -> AnnData:
    """Read an ``.h5`` file of 10x Genomics with all its features.

    Raises
    ------
    DataFileError
        As :func:`read_10x`.
    """
    if not file.is_file():
        msg = f"{file}: expected a file or folder, found none."
        raise DataFileError(msg)
    with needs("scanpy", "prepare"):
        import scanpy as sc  # noqa: PLC0415 - optional, and slow to import
    try:
        with repeats_are_summed():
            adata: AnnData = sc.read_10x_h5(file, gex_only=False)
    except Exception as error:  # a broken file may fail anywhere in the libraries that read it
        msg = (
            f"{file}: expected an .h5 file of 10x Genomics (filtered_feature_bc_matrix.h5), found a damaged or foreign file "
            f"({type(error).__name__}: {error})."
        )
        raise DataFileError(msg) from error
    return adata


def by_modality(data: AnnData | MuData) -> dict[str, AnnData]:
    """Split an object by modality; recognised names become ``rna``, ``adt`` and ``atac``.

    An AnnData without ``var["feature_types"]`` is taken to hold peaks if its feature names are peaks, proteins if most of them
    are proteins, and RNA otherwise.

    Raises
    ------
    ValueError
        If two modalities of a MuData have names for the same one.
    """
    if isinstance(data, MuData):
        names = {name: canonical(str(name)) for name in data.mod}
        same = [name for name in names if list(names.values()).count(names[name]) > 1]
        if same:
            msg = f"Expected one name for one modality, found {' and '.join(same)}. Give it the same name everywhere."
            raise ValueError(msg)
        return {names[name]: adata for name, adata in data.mod.items()}
    return {
        name: data if mine.all() else data[:, mine].copy() for name, mine in _columns(data).items() if mine.any()
    } or {"rna": data}


def _columns(adata: AnnData) -> dict[str, NDArray[np.bool_]]:
    types = types_in(adata)
    if types is not None:
        kinds = types.map(canonical)
        return {str(kind): (kinds == kind).to_numpy() for kind in kinds.unique()}
    whole = np.ones(adata.n_vars, dtype=bool)
    names = pd.Index(adata.var_names.astype(str))
    if adata.n_vars and read_peaks(names) is not None:
        return {"atac": whole}
    return {"adt" if looks_like_proteins(names) else "rna": whole}


def read_any(path: Path) -> tuple[AnnData | MuData, str]:
    """Read a file of any supported type, and return its type as well.

    Raises
    ------
    DataFileError
        If the type is not supported.
    """
    if path.suffix == ".h5":
        return read_10x_h5(path), "10x h5"
    if path.suffix in {".h5ad", ".h5mu"}:
        return read_file(path), path.suffix[1:]
    msg = (
        f"{path}: expected an .h5 file of 10x Genomics, a folder with matrix.mtx, an .h5ad or an .h5mu file, found "
        f"{'no such file or folder' if not path.exists() else repr(path.suffix or 'no ending')}."
    )
    raise DataFileError(msg)
