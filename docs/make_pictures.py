"""Make the pictures of the documentation: ``python docs/make_pictures.py guide | pbmc``.

``guide`` draws those of `guide/pictures.md` from a small simulated mosaic (two minutes). ``pbmc`` runs the snippets of
`tutorials/pbmc.md` as they stand, puts what each printed into the ``text`` block behind it, and keeps its pictures (two minutes).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from PIL import Image

import midas
from midas import pl, tl

PAGES = Path(__file__).resolve().parent
STATIC = PAGES / "_static"
_BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?P<printed>\n```text\n.*?```\n)?", re.DOTALL)
_COLOURS = 128  # of a picture's palette: a quarter of the bytes, and nobody sees it


def guide() -> None:
    """Draw a simulated mosaic, its training, and what comes out."""
    mosaic = ("rna+adt+atac", "rna+adt", "rna+atac", "adt+atac")
    size = {"n_cells": 1200, "n_genes": 400, "n_proteins": 40, "n_peaks": 800}
    mdata = midas.simulate.mosaic(midas.simulate.SimulationConfig(mosaic=mosaic, **size), seed=0)
    model = midas.MIDAS(mdata, seed=0).fit()
    model.annotate(mdata, impute=["rna", "adt"])
    latents = tl.latents(model)
    with tempfile.TemporaryDirectory() as name:
        to = Path(name)
        pl.mosaic(mdata, save=to / "pl_mosaic.png")
        pl.history(model, terms=["reconstruction_rna", "alignment", "kl_c"], save=to / "pl_history.png")
        pl.umap(mdata, ["batch", "cell_type", "modalities"], save=to / "pl_umap.png")
        pl.grid(latents, mdata.obs["batch"], mdata.obs["cell_type"], save=to / "pl_grid.png")
        pl.imputed(mdata["adt"], list(mdata["adt"].var_names[:4]), save=to / "pl_imputed.png")
        found = tl.modality_contributions(latents, mdata.obs["cell_type"])
        pl.contributions(found, save=to / "pl_contributions.png")
        _keep(to)


def pbmc() -> None:
    """Run the tutorial, and write what it printed."""
    page = PAGES / "tutorials" / "pbmc.md"
    namespace: dict[str, object] = {}

    def run(block: re.Match[str]) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], str(page), "exec"), namespace)  # our own page
        text = "\n".join(line.rstrip() for line in printed.getvalue().splitlines())
        return f"```python\n{block['code']}```\n" + (f"\n```text\n{text}\n```\n" if block["printed"] else "")

    with tempfile.TemporaryDirectory() as name:
        with contextlib.chdir(name):
            text = _BLOCK.sub(run, page.read_text(encoding="utf-8"))
        _keep(Path(name))
    page.write_text(text, encoding="utf-8")


def _keep(folder: Path) -> None:
    """Store pictures in few colours, so that they are small."""
    for file in sorted(folder.glob("*.png")):
        kept = STATIC / file.name
        Image.open(file).convert("RGB").quantize(_COLOURS).save(kept, optimize=True)
        sys.stdout.write(f"{kept.name}: {kept.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    logging.getLogger("midas").setLevel(logging.ERROR)
    pages = {"guide": guide, "pbmc": pbmc}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", choices=pages)
    pages[parser.parse_args().page]()
