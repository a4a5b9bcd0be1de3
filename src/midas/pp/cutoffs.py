"""Every cut-off of the preparation, in one frozen and checked record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from midas.expect import expect


@dataclass(frozen=True)
class Cutoffs:
    """What is kept. The defaults for features are those of the paper; those for cells are gentle.

    Parameters
    ----------
    min_genes
        Least number of genes found in a cell; None for 200, or 1% of the measured genes where that is fewer.
    min_counts
        Least number of RNA counts of a cell.
    max_mito
        Largest share of a cell's RNA counts that may come from mitochondrial genes (names that begin with ``MT-``). None for
        0.3 where over 10,000 genes were measured, and no limit in a selection of genes, where the share means little. For nuclei
        and blood less is usual, for heart and muscle more.
    min_protein_counts
        Least number of protein counts of a cell, those of isotype controls left out.
    min_peaks
        Least number of accessible peaks of a cell; None for 200, or 0.1% of the peaks where that is fewer.
    min_gene_cells
        A batch votes for a gene only if at least this share of its cells have it.
    min_gene_counts
        ... and if it has at least this many counts for each cell of that share.
    min_measured
        A gene stays when the batches that vote for it hold more than this share of all cells with RNA ...
    min_measured_cells
        ... or more cells than this.
    variable_per_batch
        Number of most variable genes of a batch that enter the ranking.
    n_genes
        Number of genes that are kept, best ranked over the batches; genes of proteins come on top.
    min_width, max_width
        Peaks must be wider, and narrower, in base pairs.
    min_accessibility
        A peak stays when it is accessible in more than this share of the cells of some batch.
    binarize
        Write peaks as 0 and 1. The model does that itself, so that counts can be kept.
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
