"""Keys written to data objects."""

from __future__ import annotations

from typing import Final

LATENT: Final = "X_midas"  # obsm: biological state c, as the published package names it
TECHNICAL: Final = "X_midas_u"  # obsm: technical noise u
LAYOUT: Final = "_umap"  # ends the obsm key of an embedding laid out in two dimensions
IMPUTED: Final = "imputed"  # layers: decoded from (c, u)
CORRECTED: Final = "corrected"  # layers: decoded from (c, standard noise)
MEASURED_PREFIX: Final = "measured_"  # var: measured_<batch>, True where the batch measured the feature
PROVENANCE: Final = "midas"  # uns: versions, configuration, seed
BATCH: Final = "midas_batch"  # obs of a model's own table of cells: batch
MODALITIES: Final = "midas_modalities"  # obs of the same table: modalities of each cell, joined by +
ORIGIN: Final = "midas_origin"  # obs of mapped cells: reference or query
NOVELTY: Final = "midas_novelty"  # obs of mapped cells: how new a query cell is to the reference
# obs of mapped cells: fraction of the reference's own cells that are at least as far from its others
NEARNESS: Final = "midas_nearness"
PREPARATION: Final = "midas_prepare"  # uns: what was prepared, from which files, with which cut-offs
LINKS: Final = "peak_gene_links"  # uns of prepared peaks: table of peak, gene, distance
INPUT_BATCH: Final = (
    "batch_of_input"  # obs of prepared cells: the input's own column of batches, if it says something else
)
PSEUDOTIME: Final = "midas_pseudotime"  # obs
DIFFUSION: Final = "X_midas_diffmap"  # obsm: diffusion map that pseudotime was found on
LAYOUT_RECORDS: Final = "midas_layouts"  # uns: of which rows, with which seed, each two-dimensional layout was made
SAMPLED_ROW: Final = "midas_row"  # obs of counts kept beside a model: the row of each cell in the model's own table
READINGS: Final = "midas_readings"  # uns of a model's own table of cells: how some of them are read by fewer modalities
TRUTH: Final = "X_truth"  # obsm of simulated cells: the biological state z

NO_LABEL: Final = ("", "na", "nan", "none", "unknown", "unassigned", "unlabelled", "unlabeled")
"""Labels, in lower case, that stand for a missing label."""


def all_cells(modality: str, layer: str) -> str:
    """Name of the extra modality with decoded values for *every* cell, measured in `modality` or not."""
    return f"{modality}_{layer}"


def transferred(label: str, what: str) -> str:
    """Column of obs for transferred labels: `what` is ``transferred``, ``confidence`` or ``unknown_score``."""
    return f"{label}_{what}"
