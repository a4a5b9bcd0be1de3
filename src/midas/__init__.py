"""MIDAS: mosaic integration of single-cell multimodal data.

One model turns batches that measured different combinations of RNA, protein and chromatin accessibility into one batch-free
embedding, imputed and batch-corrected counts of every modality. Method: He et al., Nature Biotechnology 42, 1594-1605 (2024).
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from midas.config import Config, InferenceConfig, NetworkConfig, ObjectiveConfig, TrainingConfig
from midas.data import CountsError, Mosaic, read_mosaic
from midas.inference import Posterior
from midas.modality import ADT, ATAC, RNA, Modality
from midas.model import MIDAS, NotFittedError
from midas.reporting import diagnose, report
from midas.storage import ModelFileError
from midas.training.step import NotFiniteError

if TYPE_CHECKING:
    from midas import convert, datasets, io, metrics, pl, pp, simulate, tl, transfer

__version__ = version("midas-mosaic")

__all__ = [
    "ADT",
    "ATAC",
    "MIDAS",
    "RNA",
    "Config",
    "CountsError",
    "InferenceConfig",
    "Modality",
    "ModelFileError",
    "Mosaic",
    "NetworkConfig",
    "NotFiniteError",
    "NotFittedError",
    "ObjectiveConfig",
    "Posterior",
    "TrainingConfig",
    "convert",
    "datasets",
    "diagnose",
    "io",
    "metrics",
    "pl",
    "pp",
    "read_mosaic",
    "report",
    "simulate",
    "tl",
    "transfer",
]

# Loaded when first used: each brings libraries that a training run does not need.
_PARTS = frozenset({"convert", "datasets", "io", "metrics", "pl", "pp", "simulate", "tl", "transfer"})


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module
    if name in _PARTS:
        return import_module(f"midas.{name}")
    msg = f"module 'midas' has no attribute {name!r}"
    raise AttributeError(msg)
