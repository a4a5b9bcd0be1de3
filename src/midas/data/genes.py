"""Genes of the features of a modality, where given in the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midas.data.opened import Opened
    from midas.data.schema import ModalitySchema

# Columns of var, in order of preference: all genes of a feature (separated by ;), its main gene, symbols from readers.
_COLUMNS: Final = ("genes", "gene", "gene_symbols", "gene_symbol", "gene_name", "feature_name")

Genes = tuple[tuple[str, ...], ...]


def genes_said(schema: ModalitySchema, opened: Sequence[Opened]) -> Genes:
    """Gene symbols of each feature of the schema, in upper case, from columns of var; empty where not given."""
    found: dict[str, tuple[str, ...]] = {}
    for each in opened:
        var = each.part.adata.var
        column = next((column for column in _COLUMNS if column in var), None)
        if column is None:
            continue
        for feature, text in zip(each.features, var[column].astype(object), strict=True):
            symbols = () if pd.isna(text) else tuple(s.strip().upper() for s in str(text).split(";") if s.strip())
            if symbols:
                found.setdefault(str(feature), symbols)
    return tuple(found.get(str(feature), ()) for feature in schema.features)
