"""Look up one feature of a data object by name, for plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mudata import MuData

from midas import keys
from midas.columns import as_text
from midas.data.measured import flags_in
from midas.tl.inputs import note_strangers

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def measured_parts(mdata: MuData) -> dict[str, AnnData]:
    """Modalities by name, without those that hold decoded counts."""
    decoded = {keys.all_cells(name, layer) for name in mdata.mod for layer in (keys.IMPUTED, keys.CORRECTED)}
    return {name: part for name, part in mdata.mod.items() if name not in decoded}


def counts_of(data: MuData | AnnData, name: str, batch_key: str | None) -> pd.Series:
    """Counts of one feature, `(n_cells,)`; NaN for cells that lack the modality, or whose batch did not measure the feature.

    Parameters
    ----------
    name
        ``modality:feature``, or a feature that exactly one modality has.
    batch_key
        Column of obs with the batches named in ``var["measured_<batch>"]``.

    Raises
    ------
    KeyError
        If there is no such feature, or more than one.
    """
    places = _places(data, name)
    if not places:
        there = f"obs has {', '.join(map(str, data.obs.columns)) or 'no columns'}"
        kinds = f", the modalities are {', '.join(data.mod)}" if isinstance(data, MuData) else ""
        msg = f"Expected a column of obs or a feature called {name!r}, found neither: {there}{kinds}."
        raise KeyError(msg)
    if len(places) > 1:
        where = ", ".join(modality or "X" for modality, _ in places)
        msg = f"Expected one feature called {name!r}, found {len(places)}: in {where}. Write modality:feature."
        raise KeyError(msg)
    modality, column = places[0]
    part = data.mod[modality] if isinstance(data, MuData) else data
    values = _column(part.X, column)
    values[~_measured(data, part, column, batch_key)] = np.nan
    return pd.Series(values, index=part.obs_names).reindex(data.obs_names)


def _places(data: MuData | AnnData, name: str) -> list[tuple[str, int]]:
    """Modalities and columns with this name."""
    parts: Mapping[str, AnnData] = {"": data}
    if isinstance(data, MuData):
        modality, _, rest = name.partition(":")  # in chr1:100-600 the first part is not a modality
        named = modality in data.mod
        parts, name = ({modality: data.mod[modality]}, rest) if named else (measured_parts(data), name)
    return [
        (modality, int(column))
        for modality, part in parts.items()
        if part.X is not None
        for column in np.flatnonzero(part.var_names.astype(str) == name)
    ]


def _column(matrix: Any, column: int) -> NDArray[np.float64]:  # noqa: ANN401 - sparse or dense, perhaps on disk
    found = matrix[:, [column]]
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=np.float64).ravel()


def _measured(data: MuData | AnnData, part: AnnData, column: int, batch_key: str | None) -> NDArray[np.bool_]:
    """Which cells of a modality are from batches that measured a feature."""
    flags = [str(c) for c in part.var.columns if str(c).startswith(keys.MEASURED_PREFIX)]
    lacking = [c.removeprefix(keys.MEASURED_PREFIX) for c in flags if not flags_in(part.var[c], c)[column]]
    if not lacking or batch_key is None:
        return np.ones(part.n_obs, dtype=bool)
    obs = part.obs if batch_key in part.obs.columns else data.obs
    if batch_key not in obs.columns:
        there = ", ".join(map(str, obs.columns)) or "none"
        msg = f"Expected batches in obs[{batch_key!r}], as some did not measure the feature; found {there}. Name batch_key=."
        raise KeyError(msg)
    batches = as_text(obs[batch_key].reindex(part.obs_names)).astype(str)
    note_strangers(lacking, pd.Index(np.unique(batches)), batch_key)
    return ~np.isin(batches, lacking)
