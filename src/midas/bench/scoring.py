"""Scoring of results with :func:`midas.metrics.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from midas.bench.data import BenchmarkDataset
from midas.bench.grid import Instrument, Settings
from midas.bench.registry import Shape
from midas.bench.tasks import read_task, write_task
from midas.metrics import Result, Values, evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

OVERALL: Final = "overall"
# Score and heading, in the order of the table; every other score is in the CSV.
TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        OVERALL: "scIB overall",
        "batch": "batch",
        "bio": "bio",
        "scmib_overall": "scMIB overall",
        "scmib_modality": "modality alignment",
        "split_foscttm": "FOSCTTM (split)",
        "split_label_f1": "label F1 (split)",
        "imputed_rna_r_log1p_feature": "r imputed RNA",
        "imputed_adt_r_log1p_feature": "r imputed ADT",
        "imputed_atac_auroc": "AUROC imputed ATAC",
        "state_r2": "state R2",
    }
)
COLUMNS: Final = tuple(TITLES)


def instrument(data: Path | None) -> Instrument:
    """Tasks from the files in a folder, and the scores of this module."""

    def make(source: BenchmarkDataset, task: str, settings: Settings, folder: Path) -> Shape:
        return write_task(source.load(data), task, settings.cells, folder)

    return Instrument(make, score)


def score(_: BenchmarkDataset, task: str, folder: Path, file: Path) -> dict[str, float]:
    """Score one result.

    Parameters
    ----------
    task
        Name of the task.
    folder
        Folder with ``task.h5mu`` and ``truth.h5mu``.
    file
        File written by a method.

    Returns
    -------
    Scores by name, without those that are not available. For a result without an embedding, only its counts are scored.
    """
    whole = read_task(folder, task)
    result, embedded = read_result(file)
    found = {str(name): float(value) for name, value in evaluate(whole, result).items()}
    if not embedded:
        found = {name: value for name, value in found.items() if name.startswith("imputed_")}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def read_result(file: Path) -> tuple[Result, bool]:
    """Read a result, and whether it has an embedding (if not, noise is used as a placeholder)."""
    with np.load(file) as arrays:
        embedded = "embedding" in arrays
        content = {key: arrays[key] for key in arrays.files}
    if embedded:
        return Result.load(file), True
    content["embedding"] = np.random.default_rng(0).normal(size=(len(content["cells"]), 2))
    return _loaded(content), False


def _loaded(content: Mapping[str, NDArray[Any]]) -> Result:
    imputed = {
        key.removeprefix("imputed/"): Values(
            pd.Index(content["cells"]), values, pd.Index(content[key.replace("imputed/", "features/")])
        )
        for key, values in content.items()
        if key.startswith("imputed/")
    }
    return Result(embedding=Values(pd.Index(content["cells"]), content["embedding"]), imputed=imputed)
