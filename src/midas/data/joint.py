"""Join modalities in a MuData with a given order of cells, without pulling obs columns or warning of duplicate names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd
from mudata import MuData, set_options

if TYPE_CHECKING:
    from anndata import AnnData


@contextmanager
def joining() -> Iterator[None]:
    """Context for reading or creating a MuData.

    Pulling columns of obs may reorder the cells. Duplicate feature names between modalities, as of a gene and its
    protein, or of a modality and its imputation, are fine: features are looked up per modality.
    """
    with set_options(pull_on_update=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        yield


def joint(parts: Mapping[str, AnnData], cells: pd.Index | None = None) -> MuData:
    """Join modalities, without obs columns, with the cells in the order `cells`; None for the modalities' own order."""
    with joining():
        # An index without columns fixes the order of the cells and leaves dtypes alone.
        return MuData(dict(parts)) if cells is None else MuData(dict(parts), obs=pd.DataFrame(index=cells))
