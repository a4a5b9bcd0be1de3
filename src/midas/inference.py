"""Encode cells with a trained model, block by block, in the order of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from midas.data.loader import collect
from midas.nn import product_of_experts
from midas.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.data.schema import MosaicSchema
    from midas.nn import VAE

# Dense values in memory at a time, regardless of the width: on a CPU (8 MB in float32) larger blocks are no faster.
_ENTRIES_AT_ONCE = {"cpu": 2_000_000, "cuda": 60_000_000}


@dataclass(frozen=True)
class Posterior:
    """Posteriors of z = (c, u).

    Attributes
    ----------
    mean, variance
        `(n_cells, dim_z)` in the order of the input; NaN for cells that have none of the modalities used.
    depths
        Log sequencing depths in the modalities used, `(n_cells, n_depths)`; see :meth:`midas.nn.VAE.depths`.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    depths: NDArray[np.float32]


def device_of(vae: VAE) -> torch.device:
    """Device of the model's weights."""
    return next(vae.parameters()).device


def encode(
    vae: VAE, mosaic: Mosaic, modalities: tuple[str, ...], *, with_batch: bool = True, ranks: Ranks = ALONE
) -> Posterior:
    """Posterior of z given the modalities, and the batch where it is known to the model.

    With `ranks`, each process encodes a share of the cells, and all processes receive all results in input order.
    """
    cells = np.flatnonzero(mosaic.measured_in(modalities)).astype(np.int64)
    mean = np.full((mosaic.n_cells, vae.dim_z), np.nan, dtype=np.float32)
    variance = np.full_like(mean, np.nan)
    depths = np.full((mosaic.n_cells, len(vae.depth_names)), np.nan, dtype=np.float32)
    device = device_of(vae)
    blocks = _blocks(cells, mosaic.schema, device)[ranks.rank :: ranks.size]
    with torch.inference_mode():
        for minibatch in collect(mosaic, blocks, only=frozenset(modalities)):
            on_device = minibatch.to(device)
            by_modality, batch = vae.experts(on_device, None, with_batch=with_batch)
            experts = [*by_modality.values(), *([] if batch is None else [batch])]
            posterior = product_of_experts(minibatch.n_cells, experts)
            mean[minibatch.index] = posterior.mean.cpu().numpy()
            variance[minibatch.index] = torch.exp(posterior.logvar).cpu().numpy()
            depths[minibatch.index] = vae.depths(on_device).cpu().numpy()
    if ranks.size > 1:
        mine = torch.zeros(mosaic.n_cells, dtype=torch.bool, device=device)
        mine[torch.from_numpy(np.concatenate([*blocks, cells[:0]])).to(device)] = True
        mean, variance, depths = (
            ranks.gather_rows(torch.from_numpy(rows).to(device), mine).cpu().numpy()
            for rows in (mean, variance, depths)
        )
    return Posterior(mean, variance, depths)


def standard_noise(u: NDArray[np.float32], mosaic: Mosaic) -> NDArray[np.float32]:
    """Mean u of the batch whose mean is closest to the mean over all cells, `(dim_u,)`."""
    known = np.isfinite(u).all(1)
    means = np.stack([u[known & (mosaic.batch == b)].mean(0) for b in np.unique(mosaic.batch[known])])
    nearest = int(np.argmin(((means - u[known].mean(0)) ** 2).sum(1)))
    standard: NDArray[np.float32] = means[nearest].astype(np.float32)
    return standard


def cells_at_once(n_features: int, device: torch.device) -> int:
    """Number of cells per block, for a given number of features."""
    entries = _ENTRIES_AT_ONCE.get(device.type, _ENTRIES_AT_ONCE["cpu"])
    return max(64, min(4096, entries // n_features))


def _blocks(cells: NDArray[np.int64], schema: MosaicSchema, device: torch.device) -> list[NDArray[np.int64]]:
    size = cells_at_once(sum(part.n_features for part in schema.modalities.values()), device)
    return [cells[i : i + size] for i in range(0, len(cells), size)]
