"""Where training starts: networks that know the mean of every feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from midas.data.minibatch import gather
from midas.nn.decoder import ModalityOutput
from midas.nn.encoder import ModalityInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.config import Start
    from midas.data.mosaic import Mosaic
    from midas.nn import VAE

# Cells that means are taken of: runs of neighbours, which are read from disk at once, from all over the data.
_RUNS, _CELLS_IN_A_RUN = 40, 50


def start(vae: VAE, mosaic: Mosaic, how: Start, only: Mapping[str, NDArray[np.bool_]] | None = None) -> None:
    """Tell the networks the mean of every feature, in place: the depth of a cell is measured against it.

    Parameters
    ----------
    mosaic
        Some of its cells, at most 2,000 of each modality, give the means.
    how
        ``means``: decoders begin there, too. Started at random, they spend the first epochs on learning the means; until these
        are known, what z says of a cell only adds to the error, so that the encoders learn to say nothing.
    only
        Of each modality, the features to start, `(n_features,)`, at their very means, whatever z is. None for all, with z having
        as much of a say as random weights give it.
    """
    for name, part in mosaic.schema.modalities.items():
        wanted = np.ones(part.n_features, dtype=bool) if only is None else only[name]
        cells = np.flatnonzero(mosaic.modalities[name].present)
        if not wanted.any() or not len(cells):
            continue
        mean, eta = _means(mosaic, name, _some(cells))
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


def _tell_depth(vae: VAE, name: str, mean: torch.Tensor, wanted: NDArray[np.bool_]) -> None:
    inputs = vae.encoder.inputs[name]
    assert isinstance(inputs, ModalityInput)
    if inputs.depth is not None:
        rows = torch.from_numpy(np.flatnonzero(wanted))
        inputs.depth.profile[rows] = mean[rows].to(inputs.depth.profile)


def _some(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(cells) <= _RUNS * _CELLS_IN_A_RUN:
        return cells
    starts = np.linspace(0, len(cells) - _CELLS_IN_A_RUN, _RUNS).astype(np.int64)
    at: NDArray[np.int64] = (starts[:, None] + np.arange(_CELLS_IN_A_RUN)).ravel()
    return cells[at]


def _means(mosaic: Mosaic, name: str, cells: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over the cells in which a feature was measured, and the decoder output that expects it, each `(n_features,)`."""
    schema = mosaic.schema.modalities[name].modality
    counts = gather(mosaic, cells, frozenset({name})).counts[name]
    n = mosaic.schema.modalities[name].n_features
    total = torch.zeros(n).index_add_(0, counts.flat % n, counts.values)
    seen = torch.full((n,), float(len(cells))) if counts.mask is None else counts.mask.sum(0)
    mean = total / seen.clamp(min=1)
    if schema.likelihood == "gaussian":
        return mean, mean
    least = 1 / (seen + 1)
    mean = mean.maximum(least)
    return mean, torch.logit(mean.minimum(1 - least)) if schema.likelihood == "bernoulli" else torch.log(mean)
