"""The examples in the docstrings print what they say, and every public function has one.

Besides the package, examples may speak of ``np`` and ``Path``, of ``mdata``, a small simulated mosaic, of ``model``, which was
trained on it, and of ``query``, cells of a batch that it lacks.
"""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pytest

import midas
import midas.convert
import midas.io
from midas import datasets, metrics, pl, pp, simulate, tl, transfer

mpl.use("Agg")
PACKAGES = (tl, pl, pp, metrics, transfer, simulate)
ALONE = ["model", "modality", "config", "io", "convert", "datasets", "data.read", "data.mosaic", "reporting.measures"]
MODULES = [f"{p.__name__}.{m.name}" for p in PACKAGES for m in pkgutil.iter_modules(p.__path__)]
MODULES += [f"midas.{name}" for name in ALONE]
SMALL = {"n_genes": 60, "n_peaks": 80, "n_proteins": 10}
# Their example is that of another function, which they name, or they serve the package itself.
EXEMPT = {"MIDAS.transfer", "MIDAS.finish_fit", "MIDAS.remember", "Mosaic.load", "load", "path", "Dataset.loadable"}


@pytest.fixture(scope="session")
def trained() -> tuple[midas.MIDAS, md.MuData, ad.AnnData]:
    mdata = simulate.mosaic(simulate.SimulationConfig(n_cells=300, **SMALL))
    five = simulate.SimulationConfig(mosaic=("rna+adt", "rna+atac", "adt", "rna+adt+atac", "rna"), n_cells=375, **SMALL)
    rna = simulate.mosaic(five)["rna"]
    query = rna[rna.obs["batch"] == "batch5"].copy()
    config = midas.Config.from_dict({"training": {"epochs": 2}})
    return midas.MIDAS(mdata, config=config).fit(progress=False), mdata, query


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_examples(
    name: str, trained: tuple[midas.MIDAS, md.MuData, ad.AnnData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, mdata, query = trained
    known = {
        "midas": midas,
        "np": np,
        "Path": Path,
        "model": copy.copy(model),
        "mdata": mdata.copy(),
        "query": query.copy(),
    }
    found = doctest.testmod(importlib.import_module(name), extraglobs=known)
    plt.close("all")
    assert found.failed == 0


def documented(module: types.ModuleType) -> Iterator[tuple[str, str]]:
    """Name and docstring of the public functions of a package, and of the methods of its classes."""
    for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
        thing: Any = getattr(module, name)
        if inspect.isfunction(thing) and thing.__module__.startswith("midas"):
            yield name, thing.__doc__ or ""
        elif inspect.isclass(thing) and thing.__module__.startswith("midas"):
            for member, value in vars(thing).items():
                function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                if not member.startswith("_") and inspect.isfunction(function) and not isinstance(value, property):
                    yield f"{name}.{member}", function.__doc__ or ""


@pytest.mark.parametrize("package", [midas, tl, pl, pp, transfer, simulate, datasets])
def test_every_public_function_has_an_example(package: types.ModuleType) -> None:
    assert [name for name, said in documented(package) if ">>>" not in said and name not in EXEMPT] == []
