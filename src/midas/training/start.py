"""Where training starts: decoders that expect of every cell what the data have on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from midas.data.minibatch import gather
from midas.nn.decoder import ModalityOutput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.nn import VAE

# Cells that means are taken of: runs of neighbours, which are read from disk at once, from all over the data.
_RUNS, _CELLS_IN_A_RUN = 40, 50


def start_at_means(vae: VAE, mosaic: Mosaic, only: Mapping[str, NDArray[np.bool_]] | None = None) -> None:
    """Let decoders expect about the mean of every feature, in place.

    Started at random, the first epochs are spent on learning the means; until they are known, what z says of a cell only adds
    to the error, so that the encoders learn to say nothing, and of a modality with few counts never come back from it.

    Parameters
    ----------
    mosaic
        Some of its cells, at most 2,000 of each modality, give the means.
    only
        Of each modality, the features to start, `(n_features,)`, at their very means, whatever z is. None for all, with z having
        as much of a say as random weights give it.
    """
    for name, part in mosaic.schema.modalities.items():
        wanted = np.ones(part.n_features, dtype=bool) if only is None else only[name]
        cells = np.flatnonzero(mosaic.modalities[name].present)
        if not wanted.any() or not len(cells):
            continue
        eta = _mean_eta(mosaic, name, _some(cells))
        output = vae.decoder.outputs[name]
        assert isinstance(output, ModalityOutput)
        layers = [output.linear] if output.blocks is None else list(output.blocks.last.children())
        start = 0
        with torch.no_grad():
            for layer in layers:
                assert isinstance(layer, torch.nn.Linear)
                width = layer.out_features
                rows = torch.from_numpy(np.flatnonzero(wanted[start : start + width]))
                if only is not None:
                    layer.weight[rows] = 0.0
                layer.bias[rows] = eta[start : start + width][rows].to(layer.bias)
                start += width


def _some(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(cells) <= _RUNS * _CELLS_IN_A_RUN:
        return cells
    starts = np.linspace(0, len(cells) - _CELLS_IN_A_RUN, _RUNS).astype(np.int64)
    at: NDArray[np.int64] = (starts[:, None] + np.arange(_CELLS_IN_A_RUN)).ravel()
    return cells[at]


def _mean_eta(mosaic: Mosaic, name: str, cells: NDArray[np.int64]) -> torch.Tensor:
    """Decoder output whose expected value is the mean over the cells in which a feature was measured, `(n_features,)`."""
    schema = mosaic.schema.modalities[name].modality
    counts = gather(mosaic, cells, frozenset({name})).counts[name]
    n = mosaic.schema.modalities[name].n_features
    total = torch.zeros(n).index_add_(0, counts.flat % n, counts.values)
    seen = torch.full((n,), float(len(cells))) if counts.mask is None else counts.mask.sum(0)
    mean = total / seen.clamp(min=1)
    if schema.likelihood == "gaussian":
        return mean
    least = 1 / (seen + 1)
    mean = mean.maximum(least)
    return torch.logit(mean.minimum(1 - least)) if schema.likelihood == "bernoulli" else torch.log(mean)
