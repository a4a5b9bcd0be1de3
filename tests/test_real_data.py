"""Real data, a few cells and a few steps of each set: from the file to every kind of result."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pytest

import midas
from helpers import real_folder, tiny
from midas.data.summary import summarise
from midas.io import read_file, write_result

FOLDER = real_folder()
FILES = {
    "pbmc_wnn_mosaic_1600.h5mu": ("adt", "rna"),
    "pbmc_citeseq_10x_2batch.h5mu": ("adt", "rna"),
    "pbmc_standin_trimodal_4batch.h5mu": ("adt", "atac", "rna"),
    "mouse_cortex_snareseq.h5mu": ("atac", "rna"),
    "bmmc_cite_neurips_1draw.h5mu": ("adt", "rna"),
    "bmmc_multiome_neurips_1draw.h5mu": ("atac", "rna"),
    "pbmc_asap_cite_adt_only_4batch.h5ad": ("adt",),
}


def some_cells(data: md.MuData | ad.AnnData, n: int = 300) -> md.MuData | ad.AnnData:
    """Cells of every batch."""
    order = np.random.default_rng(0).permutation(data.n_obs)
    cells = data.obs_names[np.sort(order[:n])]
    with md.set_options(pull_on_update=False):
        part = data[cells]
        return part.to_memory() if isinstance(part, ad.AnnData) else part.copy()


def opened(name: str) -> Path:
    if FOLDER is None or not (FOLDER / name).is_file():
        pytest.skip(f"{name} is not here")
    return FOLDER / name


@pytest.mark.parametrize("name", FILES)
def test_a_short_run_from_file_to_results(name: str, tmp_path: Path) -> None:
    data = some_cells(read_file(opened(name)))
    kinds = {"adt": midas.ADT} if name.startswith("pbmc_asap") else None
    model = midas.MIDAS(data, modalities=kinds, config=tiny(batch_size=100, epochs=4)).fit(progress=False)
    assert model.mosaic is not None
    assert model.modalities == FILES[name]
    summary = summarise(model.mosaic)
    assert summary.cells["all"].sum() == 300
    for modality in model.modalities:
        terms = model.history[f"reconstruction_{modality}"]
        assert terms.iloc[-1] < terms.iloc[0]
    z = model.latent(part="z")
    assert np.isfinite(z).all()
    for modality in model.modalities:
        found = model.impute(modality)
        assert found.shape == (300, model.schema.modalities[modality].n_features)
        assert np.isfinite(found.X).all()
        assert found.X.min() >= 0
    write_result(tmp_path / "out.h5mu", data, model, correct=True)
    result = read_file(tmp_path / "out.h5mu")
    assert result.obs_names.tolist() == data.obs_names.tolist()
    np.testing.assert_array_equal(result.obsm["X_midas"], model.latent())
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(midas.MIDAS.load(tmp_path / "model").latent(data, part="z"), z)


def test_the_mosaic_of_the_published_package_is_read_as_it_is() -> None:
    mosaic = midas.read_mosaic(read_file(opened("pbmc_wnn_mosaic_1600.h5mu"), backed=True))
    counts = mosaic.combinations().groupby(np.asarray(mosaic.batches)[mosaic.batch]).value_counts()
    assert {key: int(n) for key, n in counts.items()} == {
        ("p1_0", "rna"): 400,
        ("p2_0", "adt"): 400,
        ("p3_0", "adt+rna"): 400,
        ("p4_0", "adt+rna"): 400,
    }


def test_the_panel_of_each_batch_is_known_from_the_file_and_from_the_counts() -> None:
    data = read_file(opened("pbmc_citeseq_10x_2batch.h5mu"))
    told = midas.read_mosaic(data).modalities["adt"].measured
    assert told.sum(1).tolist() == [14, 29]
    adt = data["adt"]
    adt.var = adt.var.drop(columns=[c for c in adt.var.columns if c.startswith("measured_")])
    np.testing.assert_array_equal(midas.read_mosaic(data).modalities["adt"].measured, told)


def test_chromosomes_of_a_mouse() -> None:
    data = read_file(opened("mouse_cortex_snareseq.h5mu"), backed=True)
    atac = midas.read_mosaic({"atac": data["atac"]}).schema.modalities["atac"]
    assert sum(atac.blocks) == 25_734
    assert 19 <= len(atac.blocks) <= 22
