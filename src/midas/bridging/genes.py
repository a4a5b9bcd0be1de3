"""Genes of the features of a modality, from the data or else from the feature names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midas.antibodies import own_table
from midas.data.blocks import read_peaks
from midas.modality import PRESETS, canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.data.schema import MosaicSchema


def genes_of(mosaic: Mosaic, modality: str) -> list[tuple[str, ...]]:
    """Gene symbols of each feature in upper case, the main one first.

    Defaults without ``var["gene"]``: the feature name for genes, the package's table for proteins, none for peaks.
    """
    schema, kind = mosaic.schema.modalities[modality], _kind(mosaic.schema, modality)
    said = mosaic.genes.get(modality, ((),) * schema.n_features)
    if kind == "atac":
        return list(said)
    if kind != "adt":
        return [given or (str(name).upper(),) for given, name in zip(said, schema.features, strict=True)]
    table = own_table()
    meant = [tuple(gene.upper() for gene in table.find(str(name)).genes) for name in schema.features]
    return [
        given or of_table or (str(name).upper(),)
        for given, of_table, name in zip(said, meant, schema.features, strict=True)
    ]


def _kind(schema: MosaicSchema, modality: str) -> str:
    """Kind of a modality (``rna``, ``adt``, ``atac``) by its name, or else by its definition or its features."""
    named, own = canonical(modality), schema.modalities[modality]
    if named in PRESETS:
        return named
    said = next((key for key, known in PRESETS.items() if known == own.modality), named)
    return "atac" if said not in PRESETS and read_peaks(own.features) is not None else said


def in_common(
    first: list[tuple[str, ...]], second: list[tuple[str, ...]]
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """For each feature of two modalities, its first gene that both have; empty where there is none."""
    shared = {gene for genes in first for gene in genes} & {gene for genes in second for gene in genes}
    picked = [
        np.array([next((gene for gene in genes if gene in shared), "") for genes in side], dtype=object)
        for side in (first, second)
    ]
    return picked[0], picked[1]
