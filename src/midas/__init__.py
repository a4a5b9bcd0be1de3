"""MIDAS: mosaic integration of single-cell multimodal data.

One model turns batches that measured different combinations of RNA, protein and chromatin accessibility into one batch-free
embedding, imputed and batch-corrected counts of every modality. Method: He et al., Nature Biotechnology 42, 1594-1605 (2024).
"""

from importlib.metadata import version

from midas import datasets, pl, simulate, tl, transfer
from midas.config import Config, NetworkConfig, ObjectiveConfig, TrainingConfig
from midas.data import CountsError, Mosaic, read_mosaic
from midas.inference import Encoded
from midas.modality import ADT, ATAC, RNA, Modality
from midas.model import MIDAS, NotFittedError
from midas.reporting import report
from midas.storage import ModelFileError
from midas.training.step import NotFiniteError

__version__ = version("midas-mosaic")

__all__ = [
    "ADT",
    "ATAC",
    "MIDAS",
    "RNA",
    "Config",
    "CountsError",
    "Encoded",
    "Modality",
    "ModelFileError",
    "Mosaic",
    "NetworkConfig",
    "NotFiniteError",
    "NotFittedError",
    "ObjectiveConfig",
    "TrainingConfig",
    "datasets",
    "pl",
    "read_mosaic",
    "report",
    "simulate",
    "tl",
    "transfer",
]
