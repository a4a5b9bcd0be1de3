"""Record of what a preparation found, kept and did, with a readable printout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import pandas as pd

from midas.pp.cutoffs import Cutoffs


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """One modality of one batch, from the file to the mosaic.

    Attributes
    ----------
    source, kind
        The file and what it is.
    batch, modality
        Batch and modality that it became.
    cells_found, features_found
        In the file.
    cells_kept, features_kept
        In the mosaic; for features, those that the batch measured.
    dropped
        Number of dropped cells by reason.
    """

    source: str
    kind: str
    batch: str
    modality: str
    cells_found: int
    features_found: int
    cells_kept: int
    features_kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PrepareReport:
    """Report of a whole preparation.

    Attributes
    ----------
    parts
        One for each modality of each batch.
    notes
        Noteworthy points, one sentence each.
    cutoffs
        All cut-offs used.
    """

    parts: tuple[PartReport, ...]
    notes: tuple[str, ...]
    cutoffs: Cutoffs

    def frame(self) -> pd.DataFrame:
        """One row per part; reasons and numbers of dropped cells as text.

        Examples
        --------
        >>> report = midas.pp.report_of(midas.pp.prepare([mdata]))
        >>> report.frame().shape[0] == len(report.parts)
        True
        """
        rows: list[dict[str, Any]] = []
        for part in self.parts:
            row = {name: getattr(part, name) for name in PartReport.__dataclass_fields__ if name != "dropped"}
            dropped = ", ".join(f"{n:,} {reason}" for reason, n in part.dropped.items())
            rows.append({**row, "dropped": dropped})
        return pd.DataFrame(rows)

    def rows(self) -> list[tuple[str, ...]]:
        """Batch, modality, cells, features, file and cells left out of each part, as text.

        Examples
        --------
        >>> len(midas.pp.report_of(midas.pp.prepare([mdata])).rows()) > 0
        True
        """
        return [
            (
                part.batch,
                part.modality,
                f"{part.cells_kept:,} of {part.cells_found:,}",
                f"{part.features_kept:,} of {part.features_found:,}",
                PurePath(part.source).name,
                ", ".join(f"{n:,} {reason}" for reason, n in part.dropped.items()),
            )
            for part in self.parts
        ]

    def __str__(self) -> str:
        columns = ["batch", "modality", "cells", "features", "file", "cells left out"]
        table = pd.DataFrame(self.rows(), columns=columns).to_string(index=False)
        return "\n".join([table, *(f"! {note}" for note in self.notes)])
