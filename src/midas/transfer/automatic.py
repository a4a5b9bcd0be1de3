"""Mapping and label transfer in one call each, with the best mode that the reference supports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from midas.transfer.config import Mode
from midas.transfer.mapping import Mapped, Query, encode, query_to_reference, reciprocal, reference_to_query
from midas.transfer.voting import LabelConfig, check_columns, label_cells

if TYPE_CHECKING:
    import pandas as pd

    from midas.data import MosaicData
    from midas.model import MIDAS

_MODES: Mapping[Mode, Callable[[MIDAS, Query | MosaicData], Mapped]] = MappingProxyType(
    {
        "reciprocal": reciprocal,
        "query_to_reference": query_to_reference,
        "reference_to_query": reference_to_query,
        "encode": encode,
    }
)


def map_query(reference: MIDAS, query: Query | MosaicData, *, mode: Mode | None = None) -> Mapped:
    """Map a query to a reference.

    Parameters
    ----------
    reference
        A trained model, or one that was loaded.
    query
        Data, or a :class:`midas.transfer.Query` if it needs more than the defaults.
    mode
        Mapping function to use: ``reciprocal``, ``query_to_reference``, ``reference_to_query`` or ``encode``. None picks the best
        one that the reference supports: ``reciprocal`` if it has counts, ``query_to_reference`` otherwise.

    Examples
    --------
    >>> import midas
    >>> mdata = midas.simulate.mosaic(midas.simulate.SimulationConfig(n_cells=300, n_genes=60, n_peaks=80, n_proteins=10))
    >>> config = midas.Config.from_dict({"training": {"epochs": 2}})
    >>> reference = midas.MIDAS(mdata, config=config).fit(progress=False)
    >>> mapped = midas.transfer.map_query(reference, mdata, mode="encode")
    >>> mapped.query.obsm["X_midas"].shape
    (300, 32)
    """
    return _MODES[check_mode(reference, mode)](reference, query)


def check_mode(reference: MIDAS, mode: str | None) -> Mode:
    """Resolve the mapping mode: the one named, else the best one that the reference supports.

    Raises
    ------
    ValueError, NotFittedError
        If there is no such mode, or the reference lacks what it needs. Raised before any work is done.
    """
    best: Mode = "reciprocal" if reference.has_counts else "query_to_reference"
    for name in _MODES:
        if (mode or best) == name:
            if name in {"reciprocal", "reference_to_query"}:
                reference.counts()
            return name
    msg = f"Expected a mode out of {', '.join(_MODES)}, found {mode!r}."
    raise ValueError(msg)


def labels(
    reference: MIDAS,
    query: Query | MosaicData,
    columns: str | Sequence[str],
    *,
    mode: Mode | None = None,
    config: LabelConfig | None = None,
) -> pd.DataFrame:
    """Transfer the reference's labels to a query, with a confidence, and detect cells of unknown types.

    Parameters
    ----------
    reference, query, mode
        As in :func:`map_query`. The seed of a :class:`midas.transfer.Query` is also used for the labels.
    columns
        Label columns of the reference's obs.
    config
        Settings for neighbours and unknown cells.

    Returns
    -------
    One row per query cell; for each column ``<column>_transferred``, ``<column>_confidence``, ``<column>_unknown_score``.

    Examples
    --------
    >>> query = midas.transfer.Query(mdata)
    >>> found = midas.transfer.labels(model, query, ["cell_type"], mode="encode")
    >>> len(found) == mdata.n_obs, "cell_type_transferred" in found
    (True, True)
    """
    seed = query.seed if isinstance(query, Query) else 0
    check_columns(reference.cells, [columns] if isinstance(columns, str) else columns, config)
    return label_cells(map_query(reference, query, mode=mode), columns, config=config, seed=seed).table
