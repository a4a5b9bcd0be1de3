"""Every key that is written to a data object."""

from __future__ import annotations

from typing import Final

LATENT: Final = "X_midas"  # obsm: biological state c, as the published package names it
TECHNICAL: Final = "X_midas_u"  # obsm: technical noise u
IMPUTED: Final = "imputed"  # layers: decoded from (c, u)
CORRECTED: Final = "corrected"  # layers: decoded from (c, standard noise)
MEASURED_PREFIX: Final = "measured_"  # var: measured_<batch>, True where the batch measured the feature
PROVENANCE: Final = "midas"  # uns: versions, configuration, seed
PREPARATION: Final = "midas_prepare"  # uns: what was prepared, from which files, with which cut-offs


def all_cells(modality: str, layer: str) -> str:
    """Name of the extra modality that holds decoded values of *every* cell, measured in `modality` or not."""
    return f"{modality}_{layer}"
