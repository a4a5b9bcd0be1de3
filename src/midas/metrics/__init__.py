"""Quality of embeddings and imputations: pure functions of arrays."""

from midas.metrics.counts import feature_correlation
from midas.metrics.embedding import foscttm, label_agreement, label_transfer_f1, mixing
from midas.metrics.result import Result, ResultError, Values

__all__ = [
    "Result",
    "ResultError",
    "Values",
    "feature_correlation",
    "foscttm",
    "label_agreement",
    "label_transfer_f1",
    "mixing",
]
