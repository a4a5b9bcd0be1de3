"""Quality of embeddings and imputations: pure functions of arrays."""

from midas.metrics.counts import feature_correlation
from midas.metrics.embedding import foscttm, label_agreement, label_transfer_f1, mixing

__all__ = ["feature_correlation", "foscttm", "label_agreement", "label_transfer_f1", "mixing"]
