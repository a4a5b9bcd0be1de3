"""What a model's networks give, past its verbs."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from midas import MIDAS


def values(adata: ad.AnnData) -> NDArray[np.float32]:
    found = adata.X
    return np.asarray(found[:] if not isinstance(found, np.ndarray) else found)


def decoded(
    model: MIDAS,
    z: NDArray[np.float32],
    modality: str,
    depths: NDArray[np.float32] | None = None,
) -> pd.DataFrame:
    """Expected values by the names of the schema, straight from the network."""
    at = None if depths is None else torch.from_numpy(depths)
    with torch.no_grad():
        eta = model.vae.decode(torch.from_numpy(z), modality, at)
    mean = torch.sigmoid(eta) if modality == "atac" else eta.exp()
    return pd.DataFrame(mean.numpy(), columns=model.schema.modalities[modality].features)
