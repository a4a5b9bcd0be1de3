"""What a task is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import mudata as md
import pandas as pd

from midas import keys
from midas.data.measured import flags_in


@dataclass(frozen=True)
class Task:
    """What a method may see of a task, and the truth.

    Attributes
    ----------
    name
        Of the task.
    mdata
        What a method may see: counts, the batch of each cell in obs, the features' own table, and the features that each batch
        measured in ``var["measured_<batch>"]``. No labels.
    truth
        The same cells under the same names in the same order, with all counts, labels and obsm of the data.
    batch_key
        Column of obs with the batch.
    label_key
        Column of the truth's obs with the labels; None if there are none.
    origin
        Name in the data of each cell of the task. Cells with the same origin are measurements of one cell.
    """

    name: str
    mdata: md.MuData
    truth: md.MuData
    batch_key: str
    label_key: str | None
    origin: pd.Series

    @property
    def batch(self) -> pd.Series:
        """Each cell's batch."""
        return obs_column(self.truth, self.batch_key)

    @property
    def labels(self) -> pd.Series | None:
        """Each cell's label, ``unknown`` where it is missing; None if there are none."""
        return None if self.label_key is None else obs_column(self.truth, self.label_key).fillna(UNLABELLED)

    def measured(self, modality: str) -> pd.DataFrame:
        """Which features each batch measured in truth: batches x features."""
        var: pd.DataFrame = self.truth[modality].var
        flags = [c for c in var.columns if str(c).startswith(keys.MEASURED_PREFIX)]
        read = {str(c).removeprefix(keys.MEASURED_PREFIX): flags_in(var[c], f"{modality}: var[{c!r}]") for c in flags}
        return pd.DataFrame(read, index=var.index, dtype=bool).T

    def __repr__(self) -> str:
        seen = ", ".join(f"{name} {mod.n_obs:,}" for name, mod in self.mdata.mod.items())
        return f"Task {self.name!r}: {self.mdata.n_obs:,} cells, {self.batch.nunique()} batches; {seen}"


UNLABELLED: Final = "unknown"
"""Label of cells without one."""


def obs_column(mdata: md.MuData, column: str) -> pd.Series:
    """A column of obs of the MuData, or else of its modalities, as text; NaN where it is missing."""
    if column in mdata.obs.columns:
        return _text(mdata.obs[column])
    having = [_text(mod.obs[column]) for mod in mdata.mod.values() if column in mod.obs.columns]
    if not having:
        there = ", ".join(map(str, mdata.obs.columns)) or "none"
        msg = f"Expected a column {column!r} of obs, found the columns: {there}. Name it with batch_key= or label_key=."
        raise KeyError(msg)
    joined: pd.Series = pd.concat(having)
    return joined[~joined.index.duplicated()].reindex(mdata.obs_names)


def _text(values: pd.Series) -> pd.Series:
    text: pd.Series = values.astype(object).where(values.notna(), None)
    return text.map(str, na_action="ignore")
