"""Reading a mosaic, and drawing minibatches from it."""

from midas.data.checks import CountsError
from midas.data.minibatch import Counts, Minibatch, gather
from midas.data.mosaic import ModalityRows, Mosaic
from midas.data.parts import MosaicData
from midas.data.read import read_mosaic
from midas.data.schema import ModalitySchema, MosaicSchema

__all__ = [
    "Counts",
    "CountsError",
    "Minibatch",
    "ModalityRows",
    "ModalitySchema",
    "Mosaic",
    "MosaicData",
    "MosaicSchema",
    "gather",
    "read_mosaic",
]
