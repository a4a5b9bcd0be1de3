"""Downstream analysis: what the embedding and the decoded counts say about the cells."""

from midas.tl.accessibility import Accessibility, low_accessibility
from midas.tl.contributions import Contributions, modality_contributions
from midas.tl.correlation import latent_correlation
from midas.tl.differential import Comparison, differential_features
from midas.tl.enrichment import gene_set_enrichment, read_gmt
from midas.tl.fold_change import FoldChanges, fold_change_consistency
from midas.tl.latents import latents
from midas.tl.pseudotime import pseudotime

__all__ = [
    "Accessibility",
    "Comparison",
    "Contributions",
    "FoldChanges",
    "differential_features",
    "fold_change_consistency",
    "gene_set_enrichment",
    "latent_correlation",
    "latents",
    "low_accessibility",
    "modality_contributions",
    "pseudotime",
    "read_gmt",
]
