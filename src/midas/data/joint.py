"""Modalities in one MuData: cells in a given order, columns of obs where they are, and no warning of names that are the same."""

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
    """Let mudata read or put together modalities.

    Pulling columns of obs may reorder the cells. A gene and its protein, a modality and what was imputed of it have features of
    the same names, which are no concern here: features are looked up per modality.
    """
    with set_options(pull_on_update=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        yield


def joint(parts: Mapping[str, AnnData], cells: pd.Index | None = None) -> MuData:
    """Join modalities under `cells`, in that order, without columns of obs; None for the order that the modalities have."""
    with joining():
        # An index without columns fixes the order of the cells and leaves dtypes alone.
        return MuData(dict(parts)) if cells is None else MuData(dict(parts), obs=pd.DataFrame(index=cells))
