"""Which genes the features of a modality stand for: what the data say, or else what their names mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midas.antibodies import own_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic


def genes_of(mosaic: Mosaic, modality: str) -> list[tuple[str, ...]]:
    """Symbols of each feature's genes in capitals, the main one first.

    Where the data do not say (``var["gene"]``): a gene is its own, a protein's are in the package's table, and a peak has none.
    """
    schema = mosaic.schema.modalities[modality]
    said = mosaic.genes.get(modality, ((),) * schema.n_features)
    if schema.modality.blocks == "chromosome":
        return list(said)
    if not schema.modality.zero_means_unmeasured:
        return [given or (str(name).upper(),) for given, name in zip(said, schema.features, strict=True)]
    table = own_table()
    meant = [tuple(gene.upper() for gene in table.find(str(name)).genes) for name in schema.features]
    return [
        given or of_table or (str(name).upper(),)
        for given, of_table, name in zip(said, meant, schema.features, strict=True)
    ]


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
