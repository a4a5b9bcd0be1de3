"""Streaming cells through a trained model: encode, decode; block by block, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from midas.data.loader import collect
from midas.likelihoods import LIKELIHOODS
from midas.nn import product_of_experts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.nn import VAE

_CELLS_AT_ONCE = 2048


@dataclass(frozen=True)
class Encoded:
    """Posteriors of z = (c, u).

    Attributes
    ----------
    mean, variance
        `(n_cells, dim_z)` in the order of the input; NaN for cells that have none of the modalities used.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]


def device_of(vae: VAE) -> torch.device:
    """Where the model's weights are."""
    return next(vae.parameters()).device


def encode(vae: VAE, mosaic: Mosaic, modalities: tuple[str, ...], *, with_batch: bool = True) -> Encoded:
    """Posterior of z from the modalities given, and from the batch where the model knows it."""
    cells = np.flatnonzero(mosaic.measured_in(modalities)).astype(np.int64)
    mean = np.full((mosaic.n_cells, vae.dim_z), np.nan, dtype=np.float32)
    variance = np.full_like(mean, np.nan)
    device = device_of(vae)
    with torch.inference_mode():
        for minibatch in collect(mosaic, _blocks(cells), only=frozenset(modalities)):
            on_device = minibatch.to(device)
            by_modality, batch = vae.experts(on_device, None, with_batch=with_batch)
            experts = [*by_modality.values(), *([] if batch is None else [batch])]
            posterior = product_of_experts(minibatch.n_cells, experts)
            mean[minibatch.index] = posterior.mean.cpu().numpy()
            variance[minibatch.index] = torch.exp(posterior.logvar).cpu().numpy()
    return Encoded(mean, variance)


def decode(
    vae: VAE, mosaic: Mosaic, z: NDArray[np.float32], modality: str, *, sample: bool = False, seed: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Decode z into one modality, block by block.

    Parameters
    ----------
    z
        `(n, dim_z)`.
    modality
        Name in the model.
    sample
        Draw counts instead of returning expected values.
    seed
        Of the draws.

    Yields
    ------
    Consecutive rows, `(at most 2048, n_features)`, features as the input of `mosaic` orders them. Rows of NaN stay NaN.
    """
    device = device_of(vae)
    likelihood = LIKELIHOODS[mosaic.schema.modalities[modality].modality.likelihood]
    extra = vae.extras()[modality]
    columns = torch.from_numpy(mosaic.modalities[modality].input_columns).to(device)
    generator = torch.Generator(device=device).manual_seed(seed)
    for start in range(0, len(z), _CELLS_AT_ONCE):
        block = torch.from_numpy(z[start : start + _CELLS_AT_ONCE]).to(device)
        with torch.inference_mode():
            eta = vae.decode(block, None, {modality: None})[modality].float()
            if sample:
                known = torch.isfinite(block).all(1, keepdim=True)
                drawn = likelihood.sample(torch.where(known, eta, 0.0), extra, generator)
                values = torch.where(known, drawn, torch.nan)
            else:
                values = likelihood.mean(eta)
            yield values[:, columns].cpu().numpy()


def _blocks(cells: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [cells[i : i + _CELLS_AT_ONCE] for i in range(0, len(cells), _CELLS_AT_ONCE)]
