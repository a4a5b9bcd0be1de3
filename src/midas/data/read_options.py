"""User options for reading data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from midas.data.parts import Layer
from midas.modality import Modality


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadOptions:
    """Options for reading data; see :func:`midas.read_mosaic` for the first four.

    Attributes
    ----------
    renamed
        Names in the model of batches with other names in the data: those of a query whose names occur in the reference.
    """

    batch_key: str | None = "batch"
    layer: Layer = None
    measured: Mapping[str, pd.DataFrame] | None = None
    modalities: Mapping[str, Modality] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)

    def knowing(self, other: ReadOptions) -> ReadOptions:
        """Add the `measured` tables of `other` for batches without an entry here."""
        if not other.measured:
            return self
        measured = dict(self.measured or {})
        for name, theirs in other.measured.items():
            mine = measured.get(name)
            if mine is None:
                measured[name] = theirs
                continue
            more = theirs[~theirs.index.astype(str).isin(mine.index.astype(str))]
            measured[name] = pd.concat([mine, more]).astype("boolean").fillna(value=True).astype(bool)
        return replace(self, measured=measured)

    def unless_said_otherwise(self, said: ReadOptions) -> ReadOptions:
        """Return self, if the options `said` for data that were already read do not contradict it.

        Raises
        ------
        ValueError
            When an option differs.
        """
        usual = ReadOptions()
        for name in ("batch_key", "layer", "measured", "modalities"):
            now, before = getattr(said, name), getattr(self, name)
            same = now is before or (name != "measured" and now == before)
            if not same and now != getattr(usual, name):
                msg = (
                    f"Expected {name} to be left out, as the Mosaic was read with {name}={before!r}, found {now!r}. Give it to "
                    "read_mosaic()."
                )
                raise ValueError(msg)
        return self
