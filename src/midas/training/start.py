"""Initialise networks with the mean of every feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from midas.data.loader import scattered
from midas.data.minibatch import gather
from midas.likelihoods import LIKELIHOODS
from midas.nn.decoder import ModalityOutput
from midas.nn.depth import RARE
from midas.nn.encoder import ModalityInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.config import Initialisation
    from midas.data.mosaic import Mosaic
    from midas.nn import VAE

# Cells for computing means, and the minimum per batch, which matters for features that only one batch measured.
_MOST, _FEWEST = 2_000, 50
# Consecutive cells are sampled together, for efficient reading from disk.
_RUN = 10


def start(vae: VAE, mosaic: Mosaic, how: Initialisation, only: Mapping[str, NDArray[np.bool_]] | None = None) -> None:
    """Initialise the networks with the mean of every feature, in place; depths are computed relative to it.

    Parameters
    ----------
    mosaic
        Means are computed from about 2,000 cells per modality, spread over each batch.
    how
        ``means``: also initialise the decoders to output the means. From random weights, they spend the first epochs on
        learning the means; until then z only adds to the error, so that the encoders learn to ignore the cells.
    only
        By modality, mask of the features to initialise, `(n_features,)`, with weights set to 0, so that the output is
        the mean for any z. None for all features, with random weights kept.
    """
    parts = mosaic.schema.modalities
    chosen = {n: np.ones(part.n_features, dtype=bool) if only is None else only[n] for n, part in parts.items()}
    chosen = {n: wanted for n, wanted in chosen.items() if wanted.any() and mosaic.modalities[n].present.any()}
    order = _order(mosaic) if chosen else np.empty(0, dtype=np.int64)
    for name, wanted in chosen.items():
        mean, eta = _means(mosaic, name, order[mosaic.modalities[name].present[order]])
        _tell_depth(vae, name, mean, wanted)
        if how == "random":
            continue
        output = vae.decoder.outputs[name]
        assert isinstance(output, ModalityOutput)
        layers = [output.linear] if output.blocks is None else list(output.blocks.last.children())
        first = 0
        with torch.no_grad():
            for layer in layers:
                assert isinstance(layer, torch.nn.Linear)
                width = layer.out_features
                rows = torch.from_numpy(np.flatnonzero(wanted[first : first + width]))
                if only is not None:
                    layer.weight[rows] = 0.0
                layer.bias[rows] = eta[first : first + width][rows].to(layer.bias)
                first += width


def _order(mosaic: Mosaic) -> NDArray[np.int64]:
    """Cells by batch and name; by batch and position in the file where random access would be too slow, as in training."""
    if scattered(mosaic, mosaic.n_cells):
        return np.lexsort((mosaic.place, mosaic.batch)).astype(np.int64)
    return mosaic.canonical_order()


def _tell_depth(vae: VAE, name: str, mean: torch.Tensor, wanted: NDArray[np.bool_]) -> None:
    inputs = vae.encoder.inputs[name]
    assert isinstance(inputs, ModalityInput)
    if inputs.depth is not None:
        rows = torch.from_numpy(np.flatnonzero(wanted))
        inputs.depth.profile[rows] = mean[rows].to(inputs.depth.profile)


def _some(cells: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Take about `n` cells, in evenly spaced runs."""
    if len(cells) <= n:
        return cells
    starts = np.linspace(0, len(cells) - _RUN, max(1, n // _RUN)).astype(np.int64)
    at: NDArray[np.int64] = (starts[:, None] + np.arange(_RUN)).ravel()
    return cells[at]


def _means(mosaic: Mosaic, name: str, cells: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over the cells in which a feature was measured, and the corresponding decoder output, each `(n_features,)`.

    Parameters
    ----------
    cells
        Cells that have the modality, sorted by batch. Batches are weighted by their number of cells.
    """
    modality, n = mosaic.schema.modalities[name].modality, mosaic.schema.modalities[name].n_features
    total, having, seen = np.zeros((3, n))
    for mine in np.split(cells, np.flatnonzero(np.diff(mosaic.batch[cells])) + 1):
        some = _some(mine, max(_FEWEST, _MOST * len(mine) // len(cells)))
        counts = gather(mosaic, some, frozenset({name})).counts[name]
        sums = np.bincount(counts.flat.numpy() % n, weights=counts.values.numpy(), minlength=n)
        measured = mosaic.modalities[name].measured[mosaic.batch[mine[0]]]
        total += sums * (len(mine) / len(some))
        having += measured * len(mine)
        seen += measured * len(some)
    mean = total / np.maximum(having, 1)
    if LIKELIHOODS[modality.likelihood].support == "real":
        real = torch.from_numpy(mean).float()
        return real, real
    # Bound means away from 0, and probabilities from 1, as few cells are seen; features that no batch measured get a
    # default.
    least = np.where(seen > 0, 1 / (seen + 1), RARE)
    expected = torch.from_numpy(np.maximum(mean, least)).float()
    profile = torch.from_numpy(np.where(seen > 0, mean, RARE)).float()
    if LIKELIHOODS[modality.likelihood].binary:
        return profile, torch.logit(expected.minimum(torch.from_numpy(1 - least).float()))
    return profile, torch.log(expected)
