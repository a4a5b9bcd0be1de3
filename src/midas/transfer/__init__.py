"""Knowledge transfer: models and labels, from a reference to new data."""

from midas.transfer.automatic import labels, map_query
from midas.transfer.config import TransferConfig
from midas.transfer.mapping import (
    Mapped,
    Query,
    encode,
    query_to_reference,
    reciprocal,
    reference_to_query,
    transfer_model,
)
from midas.transfer.settings import read_settings
from midas.transfer.unknown import Cut, cut, share_of_query
from midas.transfer.voting import UNKNOWN, LabelConfig, Labels, label_cells

__all__ = [
    "UNKNOWN",
    "Cut",
    "LabelConfig",
    "Labels",
    "Mapped",
    "Query",
    "TransferConfig",
    "cut",
    "encode",
    "label_cells",
    "labels",
    "map_query",
    "query_to_reference",
    "read_settings",
    "reciprocal",
    "reference_to_query",
    "share_of_query",
    "transfer_model",
]
