"""The paper's myeloid analysis on bone marrow: ``python benchmarks/myeloid.py cite.h5mu multiome.h5mu folder/``.

Two .h5mu files of one tissue, RNA with proteins and RNA with chromatin, with ``obs["batch"]`` and ``obs["cell_type"]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anndata as ad
import mudata
import pandas as pd

import midas
from midas import pl, tl
from midas.io import read_file

MYELOID = ["HSPC", "Erythroid", "CD14 Mono", "CD16 Mono", "cDC", "pDC"]


def joined(files: dict[str, Path]) -> mudata.MuData:
    """Put the files' cells into one mosaic; a batch is a donor in a file, a gene that a file lacks was not measured."""
    parts: dict[str, list[ad.AnnData]] = {}
    for assay, file in files.items():
        data = read_file(file)
        for name, adata in data.mod.items():
            part = adata.copy()
            part.var_names_make_unique()
            part.obs["batch"] = [f"{batch}_{assay}" for batch in part.obs["batch"].astype(str)]
            part.obs_names = [f"{cell}_{assay}" for cell in part.obs_names]
            parts.setdefault(name, []).append(part)
    mods = {}
    for name, found in parts.items():
        whole = ad.concat(found, join="outer", fill_value=0)
        for part in found:
            for batch in part.obs["batch"].unique():
                whole.var[f"measured_{batch}"] = whole.var_names.isin(part.var_names)
        mods[name] = whole
    obs = pd.concat([m.obs[["batch", "cell_type"]] for m in mods.values()])
    obs = obs[~obs.index.duplicated()]
    with mudata.set_options(pull_on_update=False):
        mdata = mudata.MuData(mods, obs=pd.DataFrame(index=obs.index))
    mdata.obs = obs.loc[mdata.obs_names].copy()
    return mdata


def main(cite: Path, multiome: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mdata = joined({"cite": cite, "multiome": multiome})
    model = midas.MIDAS(mdata).fit(progress=False)
    model.annotate(mdata)
    pl.mosaic(model.mosaic, save=folder / "mosaic.png")
    pl.umap(mdata, ["cell_type", "batch", "modalities"], save=folder / "umap.png")
    part = mdata.obs["cell_type"].isin(MYELOID)
    time = tl.pseudotime(mdata, "HSPC", groupby="cell_type", cells=part)
    print(time.groupby(mdata.obs["cell_type"].astype(str)).median().dropna().sort_values().round(2).to_string())
    pl.along_pseudotime(mdata, color="cell_type", save=folder / "pseudotime.png")
    r = tl.latent_correlation(mdata, "rna")
    pl.correlation(r, save=folder / "correlation.png")
    mono = mdata.obs["cell_type"].isin(["CD14 Mono", "Erythroid", "HSPC"])
    groups = mdata.obs["cell_type"].astype(str).where(mono)
    found = tl.differential_features(model, "rna", groups)
    print(found.groupby("group").head(8)[["group", "feature", "lfc", "low", "high", "probability"]].to_string())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("Expected two .h5mu files and a folder: myeloid.py cite.h5mu multiome.h5mu folder/")
    main(*(Path(argument) for argument in sys.argv[1:]))
