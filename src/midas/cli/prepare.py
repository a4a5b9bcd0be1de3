"""``midas prepare``: from 10x files to a mosaic."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from midas.cli.common import Layer, Quiet, errors, escape, key_of, layer_of, names_of
from midas.cli.options import grouped

if TYPE_CHECKING:
    from midas.data import MosaicSchema
    from midas.pp import Cutoffs, Genome, PrepareReport

_RNA, _PROTEINS, _PEAKS = "RNA", "Proteins", "Peaks"


@dataclass(frozen=True)
class Input:
    """How the input is read, and what it is to be alike."""

    batch_key: Annotated[
        str,
        typer.Option(
            help="Column of obs that names batches, in .h5ad and .h5mu files; 'none' when each file is one batch."
        ),
    ] = "batch"
    layer: Layer = None
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Model that the cells are a query of: its features are taken, by its names, and its peaks.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class Rna:
    """Cells and genes that are kept."""

    min_genes: Annotated[
        int | None,
        typer.Option(
            help="Least genes of a cell; by default 200, or 1% of the genes if that is fewer.", rich_help_panel=_RNA
        ),
    ] = None
    min_counts: Annotated[int, typer.Option(help="Least RNA counts of a cell.", rich_help_panel=_RNA)] = 0
    max_mito: Annotated[
        float | None,
        typer.Option(
            help="Largest mitochondrial share; by default 0.3, none for a selection of genes.", rich_help_panel=_RNA
        ),
    ] = None
    genes: Annotated[int, typer.Option(help="Number of variable genes to keep.", min=1, rich_help_panel=_RNA)] = 4000
    min_measured: Annotated[
        float,
        typer.Option(
            help="Keep genes that batches with over this share of the cells, or with over 5,000 cells, found often.",
            rich_help_panel=_RNA,
        ),
    ] = 0.5


@dataclass(frozen=True)
class Proteins:
    """Cells that are kept, and names of proteins."""

    min_protein_counts: Annotated[
        int,
        typer.Option(help="Least protein counts of a cell, isotype controls left out.", rich_help_panel=_PROTEINS),
    ] = 1
    proteins: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of more names of proteins: columns protein, genes, aliases.", rich_help_panel=_PROTEINS
        ),
    ] = None


@dataclass(frozen=True)
class Peaks:
    """Cells and peaks that are kept, and what the genome says of the peaks."""

    min_peaks: Annotated[
        int | None,
        typer.Option(
            help="Least peaks of a cell; by default 200, or 0.1% of the peaks if that is fewer.", rich_help_panel=_PEAKS
        ),
    ] = None
    min_accessibility: Annotated[
        float, typer.Option(help="Keep peaks accessible in more than this share of a batch.", rich_help_panel=_PEAKS)
    ] = 0.04
    fragments: Annotated[
        list[str] | None,
        typer.Option(
            help="`batch=fragments.tsv.gz`, to be counted on the joint peaks; repeatable.", rich_help_panel=_PEAKS
        ),
    ] = None
    blacklist: Annotated[
        Path | None, typer.Option(help="BED file of regions to leave out.", rich_help_panel=_PEAKS)
    ] = None
    chromosomes: Annotated[
        str | None,
        typer.Option(
            help="Chromosomes to keep, separated by commas, instead of the autosomes.", rich_help_panel=_PEAKS
        ),
    ] = None
    gtf: Annotated[
        Path | None, typer.Option(help="Genes, to link peaks to and to name Ensembl IDs by.", rich_help_panel=_PEAKS)
    ] = None
    links: Annotated[
        Path | None, typer.Option(help="CSV file of links instead: columns peak, gene.", rich_help_panel=_PEAKS)
    ] = None
    binarize: Annotated[bool, typer.Option("--binarize", help="Write peaks as 0 and 1.", rich_help_panel=_PEAKS)] = (
        False
    )

    def genome(self) -> Genome:
        """Files on the genome."""
        from midas.pp import Genome  # noqa: PLC0415 - keep --help fast

        chromosomes = None if self.chromosomes is None else names_of(self.chromosomes)
        return Genome(gtf=self.gtf, links=self.links, blacklist=self.blacklist, chromosomes=chromosomes)


@grouped
def prepare(
    *,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="10x .h5 files, mtx folders, .h5ad, .h5mu, or folders of these; each is a batch. `name=path` names it.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mosaic, an .h5mu file.", show_default=False)],
    given: Input,
    rna: Rna,
    adt: Proteins,
    peaks: Peaks,
    quiet: Quiet = False,
) -> None:
    """Make a mosaic of raw files: names matched, poor cells and sparse features left out, peaks joined.

    The same name given twice (`d1=rna.h5 d1=adt.h5`) joins modalities of the same cells. The input of `midas integrate`.

    Example: `midas prepare donor1.h5 donor2.h5 d3=folder/ -o mosaic.h5mu`
    """
    console = Console(quiet=quiet)
    with errors(console):
        from midas import pp  # noqa: PLC0415
        from midas.io import write_mudata  # noqa: PLC0415

        _check_targets(output, sources)
        cutoffs = _cutoffs(rna, adt, peaks)
        logging.getLogger("midas").setLevel(logging.ERROR)  # the notes are printed below
        mdata = pp.prepare(
            sources,
            cutoffs=cutoffs,
            batch_key=key_of(given.batch_key),
            layer=layer_of(given.layer),
            proteins=adt.proteins,
            fragments=_pairs(peaks.fragments or []),
            genome=peaks.genome(),
            schema=None if given.reference is None else _schema(given.reference),
        )
        write_mudata(output, mdata)
        _print(console, pp.report_of(mdata))
        sizes = ", ".join(f"{name} {adata.n_obs:,} x {adata.n_vars:,}" for name, adata in mdata.mod.items())
        console.print(f"Mosaic: {output} ({mdata.n_obs:,} cells; {sizes})", highlight=False)


def _schema(reference: Path) -> MosaicSchema:
    """Features of a saved model, without its weights."""
    from midas.data import MosaicSchema  # noqa: PLC0415
    from midas.storage import read_card  # noqa: PLC0415

    return MosaicSchema.from_dict(read_card(reference)["schema"])


def _check_targets(output: Path, sources: list[str]) -> None:
    """Refuse a file that cannot be written, or that is one of those read."""
    from midas.io.files import check_target  # noqa: PLC0415
    from midas.pp.inputs import named  # noqa: PLC0415

    check_target(output)
    for source in sources:
        path = Path(str(named(source)[1]))
        if path.is_file():
            check_target(output, path)


def _cutoffs(rna: Rna, adt: Proteins, peaks: Peaks) -> Cutoffs:
    from midas.pp import Cutoffs  # noqa: PLC0415

    return Cutoffs(
        min_genes=rna.min_genes,
        min_counts=rna.min_counts,
        max_mito=rna.max_mito,
        n_genes=rna.genes,
        min_measured=rna.min_measured,
        min_protein_counts=adt.min_protein_counts,
        min_peaks=peaks.min_peaks,
        min_accessibility=peaks.min_accessibility,
        binarize=peaks.binarize,
    )


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in texts if "=" in text)
    if len(pairs) < len(texts):
        msg = f"--fragments: expected batch=path, once for each batch, found {', '.join(texts)}."
        raise ValueError(msg)
    return pairs


def _print(console: Console, report: PrepareReport) -> None:
    table = Table(title="Found and kept", title_justify="left")
    for name in ("batch", "modality", "cells", "features", "file", "cells left out"):
        table.add_column(name, justify="right" if name in {"cells", "features"} else "left")
    for row in report.rows():
        table.add_row(*map(escape, row))
    console.print(table)
    for note in report.notes:
        console.print(f"[yellow]![/] {escape(note)}", highlight=False)
