"""Inputs of the functions in this package: cells by name, a modality of a data object, measured features by batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from mudata import MuData

from midas import keys
from midas.columns import all_columns, as_text
from midas.data.measured import flags_in
from midas.text import describe_names

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from midas.data import Mosaic

logger = logging.getLogger(__name__)


def by_cell(values: pd.Series | ArrayLike, cells: pd.Index, what: str) -> pd.Series:
    """Return one value per cell, in the order of `cells`.

    A Series is matched by name, and cells missing from it get NaN; anything else must be in the order of `cells`.
    """
    if isinstance(values, pd.Series) and not isinstance(values.index, pd.RangeIndex):
        named = values.set_axis(values.index.astype(str))
        if not named.index.is_unique:
            msg = f"Expected {what} with one value per cell, found cell names that occur twice."
            raise ValueError(msg)
        if not cells.isin(named.index).any():
            msg = (
                f"Expected {what} by cell name, found none of the cells' names ({describe_names(cells)}) in its index."
            )
            raise KeyError(msg)
        # With missing cells, integers would become floats such as 1.0, which is not the name of a group.
        whole = pd.api.types.is_integer_dtype(named.dtype)
        return (named.astype(object) if whole else named).reindex(cells)
    array = np.asarray(values)
    if array.ndim != 1 or len(array) != len(cells):
        msg = f"Expected {what} with one value for each of {len(cells):,} cells, found shape {array.shape}."
        raise ValueError(msg)
    return pd.Series(array, index=cells)


def same_cells(
    latents: Mapping[str, pd.DataFrame | ArrayLike], first: str
) -> tuple[dict[str, NDArray[np.float64]], pd.Index | None]:
    """Return embeddings of the same cells in one order, each `(n_cells, dim)`, and the cells' names (None without tables).

    Tables are matched by row name to `first`, or to the first table if `first` is not one; anything else must be in its order.
    """
    names = {name: z.index.astype(str) for name, z in latents.items() if isinstance(z, pd.DataFrame)}
    main = first if first in names else next(iter(names), "")
    cells, found = names.get(main), {}
    for name, z in latents.items():
        array = np.asarray(z, dtype=np.float64)
        found[name] = array if cells is None or name not in names else array[_matched(name, names[name], main, cells)]
    if len({len(z) for z in found.values()}) > 1:
        sizes = ", ".join(f"{name} {len(z):,}" for name, z in found.items())
        msg = f"Expected latents of the same cells, found numbers of cells {sizes}."
        raise ValueError(msg)
    return found, cells


def _matched(name: str, own: pd.Index, main: str, cells: pd.Index) -> slice | NDArray[np.int64]:
    """Rows of the table `name`, with cells `own`, in the order of `cells`, those of the table `main`."""
    if own.equals(cells):
        return slice(None)
    if not own.is_unique:
        twice = describe_names(own[own.duplicated()])
        msg = f"Expected latents of {name!r} with one row per cell, found names that occur twice: {twice}."
        raise ValueError(msg)
    at: NDArray[np.int64] = own.get_indexer(cells)
    if (at < 0).any():
        msg = (
            f"Expected latents of {name!r} with all {len(cells):,} cells of those of {main!r}, found no row for "
            f"{int((at < 0).sum()):,}: {describe_names(cells[at < 0])}. Add rows of NaN for cells without a place."
        )
        raise KeyError(msg)
    return at


def modality_of(data: MuData | AnnData, modality: str | None) -> AnnData:
    """Return one modality of a MuData; an AnnData is returned as it is."""
    if not isinstance(data, MuData):
        return data
    if modality not in data.mod:
        msg = f"Expected modality= to be one of {', '.join(data.mod)}, found {modality!r}."
        raise ValueError(msg)
    return data.mod[modality]


def is_sparse(values: Any) -> bool:  # noqa: ANN401 - sparse or dense
    """Whether values are a sparse matrix."""
    return bool(sp.issparse(values))


def values_of(adata: AnnData, layer: str | None) -> Any:  # noqa: ANN401 - sparse or dense, as it comes
    """Values of a layer, or of X, as CSR or a dense array; also for backed objects."""
    if isinstance(adata, MuData):
        first = next(iter(adata.mod), "rna")
        msg = f"Expected an AnnData of one modality, found a MuData. Give one of its modalities, such as mdata[{first!r}]."
        raise TypeError(msg)
    if layer is not None and layer not in adata.layers:
        msg = f"Expected a layer {layer!r}, found: {', '.join(adata.layers) or 'none'}. model.annotate() writes layers."
        raise KeyError(msg)
    values = adata.X if layer is None else adata.layers[layer]
    if hasattr(values, "to_memory"):
        values = values.to_memory()
    return sp.csr_matrix(values) if is_sparse(values) else np.asarray(values)


def embedding_of(data: MuData | AnnData, basis: str) -> NDArray[np.float64]:
    """Read an embedding from obsm, `(n_cells, dim)`."""
    if basis not in data.obsm:
        msg = f"Expected an embedding {basis!r} in obsm, found: {', '.join(data.obsm) or 'none'}. model.annotate() writes it."
        raise KeyError(msg)
    found: NDArray[np.float64] = np.asarray(data.obsm[basis], dtype=np.float64)
    return found


def column_of(data: MuData | AnnData | Mosaic, name: str) -> pd.Series:
    """Read a column of obs, or of the modalities' obs."""
    obs = data.obs
    if name not in obs.columns and isinstance(data, MuData):
        obs = all_columns(data).set_axis(data.obs_names)
    if name not in obs.columns:
        there = ", ".join(map(str, obs.columns))
        msg = f"Expected a column {name!r} in obs, found: {there or 'none'}."
        raise KeyError(msg)
    column: pd.Series = obs[name]
    return column


@dataclass(frozen=True)
class Panels:
    """Which features each batch measured.

    Attributes
    ----------
    batch
        Batch of each cell, an index into `measured`, `(n_cells,)`.
    measured
        `(n_batches, n_features)`.
    """

    batch: NDArray[np.int64]
    measured: NDArray[np.bool_]


def panels_of(adata: AnnData, batch_key: str | None, otherwise: pd.DataFrame | None = None) -> Panels:
    """Read ``var["measured_<batch>"]``. A batch without such a column measured all features; a column without a batch is logged.

    Parameters
    ----------
    adata
        A modality.
    batch_key
        Column of its obs with the batches; None when all cells are one batch.
    otherwise
        The batch of all cells, for a modality whose own obs lacks the column.
    """
    obs = adata.obs
    if batch_key not in obs.columns and otherwise is not None and batch_key in otherwise.columns:
        obs = otherwise.reindex(adata.obs_names)
    if batch_key is None or batch_key not in obs.columns:
        flags = [str(c) for c in adata.var.columns if _is_flag(c)]
        if flags and batch_key is not None:
            msg = f"Expected a column {batch_key!r} in obs, as var has {flags[0]!r}; found: {', '.join(adata.obs.columns)}."
            raise KeyError(msg)
        return Panels(np.zeros(adata.n_obs, dtype=np.int64), np.ones((1, adata.n_vars), dtype=bool))
    codes, names = pd.factorize(pd.Series(as_text(obs[batch_key])).fillna("nan"))
    measured = np.ones((len(names), adata.n_vars), dtype=bool)
    for b, name in enumerate(names):
        flag = f"{keys.MEASURED_PREFIX}{name}"
        if flag in adata.var.columns:
            measured[b] = flags_in(adata.var[flag], f"var[{flag!r}]")
    flagged = [str(c).removeprefix(keys.MEASURED_PREFIX) for c in adata.var.columns if _is_flag(c)]
    note_strangers(flagged, names, batch_key)
    return Panels(codes.astype(np.int64), measured)


def note_strangers(flagged: list[str], batches: pd.Index, batch_key: str) -> None:
    """Log batches named in ``var["measured_<batch>"]`` that are not in `batches`, as they have no effect."""
    strangers = [f"{keys.MEASURED_PREFIX}{name}" for name in flagged if name not in batches]
    if strangers:
        logger.warning(
            "Columns of var that name no batch in obs[%r] (%s) were not used: %s. Name the column of obs with those batches.",
            batch_key,
            describe_names(batches),
            describe_names(pd.Index(strangers)),
        )


def _is_flag(column: object) -> bool:
    return str(column).startswith(keys.MEASURED_PREFIX)


def known_names(names: Mapping[str, object] | pd.Index, wanted: list[str], what: str) -> None:
    """Refuse names that are not there."""
    unknown = [name for name in wanted if name not in names]
    if unknown:
        msg = f"Expected {what} out of {describe_names(pd.Index(list(names)))}, found {', '.join(unknown)}."
        raise KeyError(msg)
