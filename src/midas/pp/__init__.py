"""From sequencing output to a mosaic. Needs the extra ``prepare``: ``pip install "midas-mosaic[prepare]"``."""

from midas.antibodies import ProteinTable
from midas.pp.cutoffs import Cutoffs
from midas.pp.fragments import count_fragments
from midas.pp.genes import GeneSelection, select_genes
from midas.pp.join import join_batches
from midas.pp.links import link_peaks, read_genes
from midas.pp.names import match_genes
from midas.pp.peaks import PeakSelection, merge_peaks, select_peaks
from midas.pp.prepare import Genome, prepare, report_of
from midas.pp.proteins import harmonise_proteins, protein_table
from midas.pp.quality import Quality, check_cells
from midas.pp.read import read_10x
from midas.pp.regions import autosomes
from midas.pp.report import PartReport, PrepareReport
from midas.pp.samples import Step
from midas.pp.write import write_10x

__all__ = [
    "Cutoffs",
    "GeneSelection",
    "Genome",
    "PartReport",
    "PeakSelection",
    "PrepareReport",
    "ProteinTable",
    "Quality",
    "Step",
    "autosomes",
    "check_cells",
    "count_fragments",
    "harmonise_proteins",
    "join_batches",
    "link_peaks",
    "match_genes",
    "merge_peaks",
    "prepare",
    "protein_table",
    "read_10x",
    "read_genes",
    "report_of",
    "select_genes",
    "select_peaks",
    "write_10x",
]
