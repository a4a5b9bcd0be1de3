"""All cut-offs of the preparation, in one validated, frozen record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from midas.expect import expect


@dataclass(frozen=True)
class Cutoffs:
    """Criteria for keeping cells and features. Defaults for features are those of the paper; those for cells are lenient.

    Parameters
    ----------
    min_genes
        Minimum number of genes detected in a cell; None for 200, or 1% of the measured genes if that is fewer.
    min_counts
        Minimum number of RNA counts of a cell.
    max_mito
        Maximum share of a cell's RNA counts from mitochondrial genes (names that start with ``MT-``). None for 0.3 if more than
        10,000 genes were measured, and no limit for a selection of genes, for which the share means little. Lower values are
        usual for nuclei and blood, higher ones for heart and muscle.
    min_protein_counts
        Minimum number of protein counts of a cell, without isotype controls.
    min_peaks
        Minimum number of accessible peaks of a cell; None for 200, or 0.1% of the peaks if that is fewer.
    min_gene_cells
        A batch votes for a gene only if the gene is detected in at least this share of its cells.
    min_gene_counts
        ... and if it has at least this many counts per cell of that share.
    min_measured
        A gene is kept if the batches that vote for it contain more than this share of all cells with RNA ...
    min_measured_cells
        ... or more than this number of cells.
    variable_per_batch
        Number of most variable genes per batch that enter the ranking.
    n_genes
        Number of genes to keep, best ranked over the batches; genes that encode measured proteins are kept in addition.
    min_width, max_width
        Peaks must be wider, respectively narrower, than this, in base pairs.
    min_accessibility
        A peak is kept if it is accessible in more than this share of the cells of at least one batch.
    binarize
        Whether to write peaks as 0 and 1. The model does that itself, so counts may be kept.
    """

    min_genes: int | None = None
    min_counts: int = 0
    max_mito: float | None = None
    min_protein_counts: int = 1
    min_peaks: int | None = None
    min_gene_cells: float = 0.01
    min_gene_counts: float = 2.0
    min_measured: float = 0.5
    min_measured_cells: int = 5000
    variable_per_batch: int = 5000
    n_genes: int = 4000
    min_width: int = 20
    max_width: int = 10_000
    min_accessibility: float = 0.04
    binarize: bool = False

    def __post_init__(self) -> None:
        for name in ("max_mito", "min_gene_cells", "min_measured", "min_accessibility"):
            value = getattr(self, name)
            expect(self, name, (value is None and name == "max_mito") or 0 <= value <= 1, "a share from 0 to 1")
        for name in ("min_genes", "min_peaks"):
            value = getattr(self, name)
            expect(self, name, value is None or value >= 0, "0 or more, or None")
        for name in ("min_counts", "min_protein_counts", "min_gene_counts", "min_measured_cells", "min_width"):
            expect(self, name, getattr(self, name) >= 0, "0 or more")
        for name in ("variable_per_batch", "n_genes"):
            expect(self, name, getattr(self, name) >= 1, "1 or more")
        expect(self, "max_width", self.max_width > self.min_width + 1, "more than min_width + 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name.

        Examples
        --------
        >>> midas.pp.Cutoffs(min_genes=5).to_dict()["min_genes"]
        5
        """
        return dataclasses.asdict(self)
