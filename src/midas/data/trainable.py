"""Whether a model can be trained on a mosaic."""

from __future__ import annotations

import numpy as np

from midas.data.mosaic import Mosaic


def check_trainable(mosaic: Mosaic) -> None:
    """Raise an error for batches, or modalities in them, unknown to the networks, which data given to load() may have."""
    schema = mosaic.schema
    strangers = [name for name, at in zip(mosaic.batches, mosaic.known_batch, strict=True) if at < 0]
    found = ", ".join(strangers)
    if not strangers:
        found = ", ".join(
            f"{modality} in {mosaic.batches[b]}, where the model knows none"
            for modality, rows in mosaic.modalities.items()
            for b in np.unique(mosaic.batch[rows.present]).tolist()
            if not schema.batches_with[modality][mosaic.known_batch[b]]
        )
    if found:
        msg = (
            f"Expected data of the batches that the model knows ({', '.join(schema.batches)}), found {found}. Make a new "
            "model with MIDAS(data)."
        )
        raise ValueError(msg)
