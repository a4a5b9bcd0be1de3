"""From raw files to a mosaic: all steps in order, with one report."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from midas.antibodies import ProteinTable
from midas.data.parts import Layer
from midas.data.schema import MosaicSchema
from midas.keys import LINKS, PREPARATION
from midas.pp.cutoffs import Cutoffs
from midas.pp.fragments import check_batches_of, count_in_batches
from midas.pp.genes import select_genes
from midas.pp.inputs import BATCH_KEY, PrepareInput, collect
from midas.pp.join import join_batches
from midas.pp.like import named_as_model
from midas.pp.links import link_peaks, nearest_gene, read_genes
from midas.pp.names import match_genes
from midas.pp.peaks import merge_peaks, select_peaks
from midas.pp.proteins import harmonise_proteins, protein_table
from midas.pp.quality import Quality, check_cells
from midas.pp.report import PartReport, PrepareReport
from midas.pp.samples import Sample, csr, repeats_are_summed
from midas.pp.tables import read_table

logger = logging.getLogger(__name__)
_MODALITIES = ("rna", "adt", "atac")
_OF_BATCH = re.compile(r"^Batch (?P<batch>'[^']*'): (?P<text>.*)$", re.DOTALL)


@dataclass(frozen=True)
class Genome:
    """Genome annotation; every part is optional.

    Parameters
    ----------
    gtf
        Genes: GTF file, or a frame from :func:`read_genes`. Used to link peaks to genes, and for symbols of Ensembl IDs.
    links
        Links of peaks to genes, used instead of links by distance: frame or CSV file with the columns `peak` and `gene`.
    blacklist
        BED file of regions to exclude.
    chromosomes
        Chromosomes whose peaks are kept, instead of the autosomes.
    """

    gtf: str | Path | pd.DataFrame | None = None
    links: str | Path | pd.DataFrame | None = None
    blacklist: str | Path | pd.DataFrame | None = None
    chromosomes: Collection[str] | None = None


@repeats_are_summed()
def prepare(
    sources: Mapping[str, PrepareInput] | Iterable[PrepareInput],
    *,
    cutoffs: Cutoffs | None = None,
    batch_key: str | None = BATCH_KEY,
    layer: Layer = None,
    proteins: ProteinTable | str | Path | pd.DataFrame | Mapping[str, str] | None = None,
    fragments: Mapping[str, str | Path] | None = None,
    genome: Genome | None = None,
    schema: MosaicSchema | None = None,
) -> MuData:
    """Make a mosaic from raw files: check cells and features, unify names over batches, and select features.

    Parameters
    ----------
    sources
        Files of 10x Genomics (``.h5``, mtx folders), ``.h5ad``, ``.h5mu``, folders of these, AnnData and MuData. Each is a batch,
        named by the file, by its key in a dict (unless all keys are modalities), or by ``"name=path"``; a column `batch_key` in
        AnnData and MuData names several. Using the same name twice joins modalities of the same cells.
    cutoffs
        All numbers that decide what is kept; the defaults if None.
    batch_key
        Column of obs that names batches in the input; None if each file or object is one batch. In the result the batches are in
        ``obs["batch"]``, and in this column as well.
    layer
        Layer of AnnData and MuData with the counts, or a dict of layers by modality (X for modalities left out).
    proteins
        Additional protein names, as for :func:`protein_table`.
    fragments
        Fragment file by batch, to be counted on the joint peaks in place of the counts of the batch's own peaks. The batch need
        not have peaks of its own; its barcodes are those of its other modalities.
    genome
        Genes, links, blacklist and chromosomes.
    schema
        Schema of a trained model (``model.schema``) to which the mosaic is a query: features get the model's names, and only
        these are kept, in place of feature selection; counts of peaks are summed onto the model's peaks.

    Returns
    -------
    A mosaic of raw counts, ready for :class:`midas.MIDAS`. ``uns["midas_prepare"]`` records what was done; :func:`report_of`
    reads it.

    Raises
    ------
    DataFileError, CountsError, TypeError, ValueError
        If something cannot be read, is not raw counts, or leaves nothing to keep.

    Examples
    --------
    >>> import midas
    >>> raw = midas.simulate.mosaic()
    >>> mdata = midas.pp.prepare([raw], cutoffs=midas.pp.Cutoffs(n_genes=500))
    >>> sorted(mdata.mod), 500 <= mdata["rna"].n_vars < 550  # and genes of proteins
    (['adt', 'atac', 'rna'], True)
    """
    cutoffs, genome = cutoffs or Cutoffs(), genome or Genome()
    table = proteins if isinstance(proteins, ProteinTable) else protein_table(proteins)
    genes = read_genes(genome.gtf) if isinstance(genome.gtf, str | Path) else genome.gtf
    links = genome.links
    if isinstance(links, str | Path):
        links = read_table(links, "links with the columns peak and gene")
    samples = collect(sources, batch_key=batch_key, layer=layer)
    samples, quality = _clean(samples, cutoffs)
    notes = [note for sample in samples for note in sample.notes]
    notes += [
        f"Batch {s.batch!r}: no cell of its {s.modality} passed the cut-offs." for s in samples if not s.adata.n_obs
    ]
    kept = {name: {s.batch: s.adata for s in samples if s.modality == name and s.adata.n_obs} for name in _MODALITIES}
    kept = {name: batches for name, batches in kept.items() if batches or (name == "atac" and fragments)}
    has_ids = genes is not None and "gene_id" in genes
    symbols = dict(zip(genes["gene_id"], genes["gene"], strict=True)) if genes is not None and has_ids else None
    chosen: dict[str, pd.Index] = {}
    if schema is None:
        chosen, more = _choose(kept, cutoffs, table, symbols, fragments or {}, genome)
    else:
        found, more = named_as_model(kept, schema, table=table, symbols=symbols, fragments=fragments)
        kept = {name: dict(batches) for name, batches in found.items()}
    notes += more
    if cutoffs.binarize:
        _binarize(kept.get("atac", {}))
    mdata = join_batches(kept, features=chosen, batch_key=BATCH_KEY)
    told = genes if links is None else links
    if "atac" in kept and told is not None:
        _write_links(mdata, told)
    parts = _parts(samples, quality, kept, chosen)
    notes = _gathered(notes)
    report = PrepareReport(tuple(parts), tuple(notes), cutoffs)
    mdata.uns[PREPARATION] = _record(report)
    for note in notes:
        logger.warning(note)
    return mdata


def report_of(mdata: MuData) -> PrepareReport:
    """Return the report of a prepared mosaic, also after it was written to a file and read back.

    Raises
    ------
    KeyError
        If the data were not prepared by :func:`prepare`.

    Examples
    --------
    >>> import midas
    >>> raw = midas.simulate.mosaic(midas.simulate.SimulationConfig(mosaic=("rna+adt",), n_cells=100, n_genes=100))
    >>> report = midas.pp.report_of(midas.pp.prepare([raw]))
    >>> [(part.batch, part.modality, part.cells_kept) for part in report.parts]
    [('batch1', 'rna', 100), ('batch1', 'adt', 100)]
    """
    if PREPARATION not in mdata.uns:
        msg = (
            f"Expected uns[{PREPARATION!r}], which midas.pp.prepare writes, found: {', '.join(mdata.uns) or 'nothing'}."
        )
        raise KeyError(msg)
    record = json.loads(str(mdata.uns[PREPARATION]["report"]))
    return PrepareReport(
        tuple(PartReport(**part) for part in record["parts"]), tuple(record["notes"]), Cutoffs(**record["cutoffs"])
    )


def _clean(samples: list[Sample], cutoffs: Cutoffs) -> tuple[list[Sample], list[Quality]]:
    """Apply the cut-offs to cells: a cell that fails in RNA is dropped entirely, else only the failing modality."""
    quality = [check_cells(sample.adata, sample.modality, cutoffs) for sample in samples]
    bad = {
        sample.batch: set(sample.adata.obs_names[~q.keep])
        for sample, q in zip(samples, quality, strict=True)
        if sample.modality == "rna"
    }
    cleaned, verdicts = [], []
    for sample, q in zip(samples, quality, strict=True):
        dropped, keep = dict(q.dropped), q.keep
        if sample.modality != "rna":
            with_rna = keep & sample.adata.obs_names.isin(bad.get(sample.batch, ()))
            if with_rna.any():
                dropped["with poor RNA"] = int(with_rna.sum())
                keep = keep & ~with_rna
        adata = sample.adata[keep].copy()
        for column in q.metrics.columns:
            adata.obs[column] = q.metrics.loc[keep, column].to_numpy()
        notes = (*sample.notes, *(f"Batch {sample.batch!r}: {note}" for note in q.notes))
        cleaned.append(replace(sample, adata=adata, notes=notes))
        verdicts.append(replace(q, keep=keep, dropped=dropped))
    if not any(sample.adata.n_obs for sample in cleaned):
        found = "; ".join(f"{n:,} {reason}" for q in verdicts for reason, n in q.dropped.items())
        msg = (
            f"Expected cells that pass the cut-offs, found none: {found}. Lower min_genes, min_protein_counts or min_peaks, or "
            "raise max_mito."
        )
        raise ValueError(msg)
    return cleaned, verdicts


def _choose(
    kept: dict[str, dict[str, AnnData]],
    cutoffs: Cutoffs,
    table: ProteinTable,
    symbols: Mapping[str, str] | None,
    fragments: Mapping[str, str | Path],
    genome: Genome,
) -> tuple[dict[str, pd.Index], list[str]]:
    """Unify feature names over batches and select features, in place."""
    chosen: dict[str, pd.Index] = {}
    notes: list[str] = []
    if "rna" in kept:
        step = match_genes(kept["rna"], symbols=symbols)
        kept["rna"], notes = dict(step.batches), [*notes, *step.notes]
    every = _names(kept.get("rna", {}))
    if "adt" in kept:
        step = harmonise_proteins(kept["adt"], table=table, genes=every)
        kept["adt"], notes = _not_empty(dict(step.batches), "proteins"), [*notes, *step.notes]
    if "rna" in kept:
        wanted = {g for a in kept.get("adt", {}).values() for t in a.var["genes"] for g in str(t).split(";") if g}
        selection = select_genes(kept["rna"], keep=wanted, cutoffs=cutoffs)
        chosen["rna"], notes = selection.genes, [*notes, *selection.notes]
    if "atac" in kept:
        kept["atac"], chosen["atac"], more = _peaks(kept, cutoffs, fragments, genome)
        notes += more
    return chosen, notes


def _peaks(
    kept: Mapping[str, Mapping[str, AnnData]], cutoffs: Cutoffs, fragments: Mapping[str, str | Path], genome: Genome
) -> tuple[dict[str, AnnData], pd.Index, list[str]]:
    """Join peaks, count fragments on them if given, and select; batches without cells are left unchanged."""
    own = kept["atac"]
    check_batches_of(fragments, kept)
    if not own:
        raise ValueError("Expected peaks in one batch at least, to count fragments on, found none. Add a peak matrix.")
    step = merge_peaks(own, cutoffs=cutoffs, blacklist=genome.blacklist, chromosomes=genome.chromosomes)
    union = _names(step.batches)
    counted = count_in_batches(fragments, union, kept)
    batches = {**step.batches, **counted}
    notes = [f"Batch {batch!r}: fragments were counted on all {len(union):,} joint peaks." for batch in counted]
    selection = select_peaks(batches, cutoffs=cutoffs)
    return batches, selection.peaks, [*step.notes, *notes, *selection.notes]


def _binarize(batches: Mapping[str, AnnData]) -> None:
    """Write counts as 0 and 1, in place."""
    for adata in batches.values():
        counts = csr(adata.X)
        adata.X = sp.csr_matrix(((counts.data > 0).astype(np.float32), counts.indices, counts.indptr), counts.shape)


def _write_links(mdata: MuData, genes: pd.DataFrame) -> None:
    atac = mdata["atac"]
    only = mdata["rna"].var_names if "rna" in mdata.mod else None
    links = link_peaks(pd.Index(atac.var_names), genes, only=only)
    atac.uns[LINKS] = links
    atac.var["gene"] = nearest_gene(pd.Index(atac.var_names), links)


def _parts(
    samples: list[Sample],
    quality: list[Quality],
    kept: Mapping[str, Mapping[str, AnnData]],
    chosen: Mapping[str, pd.Index],
) -> list[PartReport]:
    found = []
    for sample, q in zip(samples, quality, strict=True):
        adata, wanted = kept.get(sample.modality, {}).get(sample.batch), chosen.get(sample.modality)
        features = pd.Index([]) if adata is None else adata.var_names
        found.append(
            PartReport(
                source=sample.source,
                kind=sample.kind,
                batch=sample.batch,
                modality=sample.modality,
                cells_found=len(q.keep),
                features_found=sample.adata.n_vars,
                cells_kept=0 if adata is None else int(q.keep.sum()),
                features_kept=len(features) if wanted is None else int(features.isin(wanted).sum()),
                dropped=q.dropped,
            )
        )
    return found


def _record(report: PrepareReport) -> dict[str, str]:
    """Provenance as text, which any file format can store."""
    whole = {
        "parts": [{**part.__dict__, "dropped": dict(part.dropped)} for part in report.parts],
        "notes": list(report.notes),
        "cutoffs": report.cutoffs.to_dict(),
    }
    return {
        "version": importlib.metadata.version("midas-mosaic"),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "report": json.dumps(whole),
    }


def _gathered(notes: list[str]) -> list[str]:
    """Merge notes that are the same for several batches."""
    of: dict[str, list[str]] = {}
    for note in notes:
        match = _OF_BATCH.match(note)
        of.setdefault(note if match is None else match["text"], []).extend([] if match is None else [match["batch"]])
    return [
        (f"Batch {b[0]}: {text}" if len(b) == 1 else f"Batches {', '.join(b)}: {text}") if b else text
        for text, b in of.items()
    ]


def _names(batches: Mapping[str, AnnData]) -> pd.Index:
    return pd.Index(dict.fromkeys(str(name) for adata in batches.values() for name in adata.var_names), dtype=object)


def _not_empty(batches: dict[str, AnnData], what: str) -> dict[str, AnnData]:
    if not any(adata.n_vars for adata in batches.values()):
        msg = f"Expected {what} in some batch, found only controls."
        raise ValueError(msg)
    return batches
