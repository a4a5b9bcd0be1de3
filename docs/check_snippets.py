"""Run every Python snippet of the documentation: ``python docs/check_snippets.py [page ...]``.

The snippets of a page share one namespace and run in order in a folder of their own, which holds two small simulated files:
``mosaic.h5mu``, and ``query.h5mu`` with cells of a batch that the mosaic lacks. Pages that speak of ``donor1.h5`` also find raw
files of three donors, as 10x Genomics writes them. ``datasets.load("pbmc_wnn_mosaic_1600")`` gives a small simulated mosaic
of its shape, so that nothing is fetched. Training is cut to two epochs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import mudata

import midas
from midas.io import write_mudata
from midas.training import loop

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 2
_BLOCK = re.compile(r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


def snippets(page: Path) -> Iterator[str]:
    """Code blocks of a page, each moved down to its own line, so that errors name the line of the page."""
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        indent = len(block["indent"])
        code = "\n".join(line[indent:] for line in block["code"].split("\n"))
        yield "\n" * text.count("\n", 0, block.start("code")) + code


def write_data(folder: Path) -> None:
    """Put the two example files into a folder."""
    size = {"n_genes": 60, "n_proteins": 12, "n_peaks": 80, "n_chromosomes": 3}
    mosaic = midas.simulate.SimulationConfig(mosaic=("rna+adt+atac", "rna+adt", "rna+atac", "adt"), n_cells=240, **size)
    write_mudata(folder / "mosaic.h5mu", midas.simulate.mosaic(mosaic))
    # The last batch is new to a model of the mosaic, and comes with RNA alone.
    five = dataclasses.replace(mosaic, mosaic=(*mosaic.mosaic, "rna"), n_cells=300)
    rna = midas.simulate.mosaic(five)["rna"]
    with mudata.set_options(pull_on_update=False):
        query = mudata.MuData({"rna": rna[rna.obs["batch"] == "batch5"].copy()})
    query.obs[["batch", "cell_type"]] = query["rna"].obs[["batch", "cell_type"]]
    write_mudata(folder / "query.h5mu", query)


def write_raw(folder: Path) -> None:
    """Put the raw files of three donors into a folder, their proteins spelled differently and their peaks shifted."""
    genes = ["CD3E", "CD4", "CD8A", "CD19", "NCAM1", "PTPRC", "CD14", "FCGR3A", "IL7R", "IL2RA", "MS4A1", "PDCD1"]
    panels = {
        "batch1": ["CD3", "CD4", "CD8", "CD19", "CD56", "CD45RA", "CD14", "CD16", "CD127", "CD25", "CD20", "CD279"],
        "batch3": [
            "cd3.1",
            "cd4",
            "CD8a",
            "CD19",
            "CD56(NCAM)",
            "CD45-RA",
            "CD14",
            "CD16",
            "CD127",
            "CD25",
            "CD20",
            "PD-1",
        ],
    }
    size = {"n_genes": 300, "n_proteins": 12, "n_peaks": 300, "n_chromosomes": 3, "peak_density": 0.2}
    config = midas.simulate.SimulationConfig(mosaic=("rna+adt", "rna+atac", "rna+adt+atac"), n_cells=240, **size)
    mdata = midas.simulate.mosaic(config)
    real = dict(zip(mdata["adt"].var["gene"], genes, strict=True))
    for batch, name in (("batch1", "donor1.h5"), ("batch2", "donor2"), ("batch3", "donor3.h5")):
        parts = {m: a[a.obs["batch"] == batch].copy() for m, a in mdata.mod.items() if (a.obs["batch"] == batch).any()}
        parts["rna"].var_names = [real.get(gene, gene) for gene in parts["rna"].var_names]
        if "adt" in parts:
            parts["adt"].var_names = [f"{p}_TotalSeqB" if batch == "batch1" else p for p in panels[batch]]
        if "atac" in parts and batch == "batch3":
            chrom, start = parts["atac"].var["chrom"], parts["atac"].var_names.str.extract(r":(\d+)-")[0].astype(int)
            parts["atac"].var_names = [f"{c}-{s + 50}-{s + 550}" for c, s in zip(chrom, start, strict=True)]
        for part in parts.values():
            part.obs_names = [f"CELL{i:04d}-1" for i in range(part.n_obs)]  # the same in every run, as barcodes may be
        midas.pp.write_10x(folder / name, parts)


def small_pbmc() -> mudata.MuData:
    """Make a mosaic that looks like the data set pbmc_wnn_mosaic_1600: its batches, column of types, and some of its proteins."""
    size = {"n_genes": 60, "n_proteins": 12, "n_peaks": 30, "n_chromosomes": 3}
    mdata = midas.simulate.mosaic(
        midas.simulate.SimulationConfig(mosaic=("rna", "adt", "rna+adt", "rna+adt"), n_cells=240, **size)
    )
    markers = ["cd3.1", "cd4.1", "cd8a", "cd19", "cd14", "cd16"]
    mdata["adt"].var_names = [*markers, *mdata["adt"].var_names[len(markers) :]]
    parts = dict(mdata.mod)
    for part in parts.values():
        part.obs["batch"] = [f"p{name[-1]}_0" for name in part.obs["batch"]]
        part.obs = part.obs[["batch", "cell_type"]].rename(columns={"cell_type": "celltype"})
    with mudata.set_options(pull_on_update=False):
        made = mudata.MuData(parts)
    first, second = (part.obs for part in parts.values())
    made.obs[["batch", "celltype"]] = first.combine_first(second).loc[made.obs_names]
    return made


def run_page(page: Path) -> tuple[int, str]:
    """Run a page; the number of its snippets, and what went wrong, if anything."""
    codes = list(snippets(page))
    if not codes:
        return 0, ""
    printed, namespace = io.StringIO(), {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as name:
        write_data(Path(name))
        if "donor1.h5" in page.read_text(encoding="utf-8"):
            write_raw(Path(name))
        logging.getLogger("midas").setLevel(logging.ERROR)  # a page may show how to change it
        with contextlib.chdir(name), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            for code in codes:
                try:
                    exec(compile(code, str(page), "exec"), namespace)  # our own pages
                except Exception:  # noqa: BLE001 - whatever a snippet raises is what we look for
                    return len(codes), f"{printed.getvalue()}{traceback.format_exc()}"
    return len(codes), ""


def main(names: list[str]) -> int:
    """Run the pages named, or all."""
    cut = loop.plan_training
    loop.plan_training = lambda *given: dataclasses.replace(cut(*given), epochs=EPOCHS)
    load = midas.datasets.load
    midas.datasets.load = lambda name: small_pbmc() if name == "pbmc_wnn_mosaic_1600" else load(name)
    warnings.filterwarnings("ignore", module="mudata")
    pages = [Path(name) for name in names] or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    failed = 0
    for page in pages:
        if "_build" in page.parts:
            continue
        started = time.monotonic()
        number, error = run_page(page.resolve())
        if number:
            verdict = "FAILED" if error else "fine"
            sys.stdout.write(f"{page.name}: {number} snippets, {time.monotonic() - started:.1f} s, {verdict}\n")
        if error:
            failed += 1
            sys.stderr.write(error)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
