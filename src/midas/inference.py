"""Streaming cells through a trained model: encode, decode; block by block, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from midas.data.loader import collect
from midas.likelihoods import LIKELIHOODS, Likelihood, overdispersed
from midas.nn import product_of_experts
from midas.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from midas.borrowing import Borrowing, Loans
    from midas.data.mosaic import Mosaic
    from midas.data.schema import MosaicSchema
    from midas.nn import VAE
    from midas.spread import Spread

# Dense numbers in memory at a time, whatever the width: on a CPU (8 MB in float32) larger blocks are no faster.
_ENTRIES_AT_ONCE = {"cpu": 2_000_000, "cuda": 60_000_000}


@dataclass(frozen=True)
class Encoded:
    """Posteriors of z = (c, u).

    Attributes
    ----------
    mean, variance
        `(n_cells, dim_z)` in the order of the input; NaN for cells that have none of the modalities used.
    depths
        How deeply the cells were sequenced in the modalities used, `(n_cells, n_depths)`, as of :meth:`midas.nn.VAE.depths`.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    depths: NDArray[np.float32]


def device_of(vae: VAE) -> torch.device:
    """Where the model's weights are."""
    return next(vae.parameters()).device


def encode(
    vae: VAE, mosaic: Mosaic, modalities: tuple[str, ...], *, with_batch: bool = True, ranks: Ranks = ALONE
) -> Encoded:
    """Posterior of z from the modalities given, and from the batch where the model knows it.

    With `ranks`, each process encodes some of the cells, and all get all of them, in the order of the input.
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
            ranks.joined(torch.from_numpy(rows).to(device), mine).cpu().numpy() for rows in (mean, variance, depths)
        )
    return Encoded(mean, variance, depths)


@dataclass(frozen=True)
class States:
    """What the counts of one modality are decoded from, cell by cell.

    Attributes
    ----------
    z
        `(n, dim_z)`; NaN rows have none.
    known
        What is known of each cell, `(n,)`: a row of :attr:`midas.spread.Spread.excess`; None where that makes no difference.
    depths
        Depths to decode at, `(n, n_depths)`, as of :class:`Encoded`; None, and NaN, for what is to be expected.
    borrowing
        Cells that are not decoded from their own state alone; None where all are.
    """

    z: NDArray[np.float32]
    known: NDArray[np.int64] | None = None
    depths: NDArray[np.float32] | None = None
    borrowing: Borrowing | None = None

    def of(self, cells: NDArray[np.int64]) -> States:
        """States of `cells`, in this order; none for -1."""
        there = cells[:, None] >= 0
        return States(
            np.where(there, self.z[cells], np.float32(np.nan)),
            None if self.known is None else self.known[cells],
            None if self.depths is None else np.where(there, self.depths[cells], np.float32(np.nan)),
            None if self.borrowing is None else self.borrowing.of(cells),
        )


@dataclass(frozen=True)
class Draw:
    """How decoded values are reported.

    Attributes
    ----------
    sample
        Counts drawn from the likelihood instead of expected values.
    seed
        Of the draws.
    spread
        By how much drawn counts scatter more than the likelihood says; None for no more.
    """

    sample: bool = False
    seed: int = 0
    spread: Spread | None = None


EXPECTED = Draw()


def decode(
    vae: VAE,
    schema: MosaicSchema,
    states: States,
    modality: str,
    columns: NDArray[np.int64],
    draw: Draw = EXPECTED,
) -> Iterator[NDArray[np.float32]]:
    """Decode states into one modality, block by block.

    Parameters
    ----------
    schema
        Of the model.
    states
        Of `n` cells.
    modality
        Name in the model.
    columns
        Features wanted, as columns of the schema, `(d,)`; -1 for one that the model does not know.
    draw
        Expected values or counts.

    Yields
    ------
    Consecutive rows, `(a few thousand at most, d)`; NaN in unknown columns, and in rows whose z is NaN.
    """
    device = device_of(vae)
    likelihood = LIKELIHOODS[schema.modalities[modality].modality.likelihood]
    extra = vae.extras()[modality]
    wanted = torch.from_numpy(columns).to(device)
    generator = torch.Generator(device=device).manual_seed(draw.seed)
    rows = _cells_at_once(schema.modalities[modality].n_features, device)
    lent: Tensor | None = None
    for start in range(0, len(states.z), rows):
        part = states.of(np.arange(start, min(start + rows, len(states.z))))
        loans = None if part.borrowing is None else part.borrowing.loans(part.z)
        values = _expected(vae, likelihood, part.z if loans is None else loans.z, modality, part.depths)
        with torch.inference_mode():
            if loans is not None and part.borrowing is not None and loans.weight.any():
                lent = _lent(vae, likelihood, part.borrowing.lenders.z, modality, rows) if lent is None else lent
                values = _averaged(likelihood, values, lent, loans)
            if draw.sample and draw.spread is None:
                values = likelihood.sample(values, extra, generator)
            elif draw.sample and draw.spread is not None:
                rows_of_spread = np.zeros(len(part.z), dtype=np.int64) if part.known is None else part.known
                wider = torch.from_numpy(draw.spread.excess[rows_of_spread]).to(device)
                values = overdispersed(values, wider, generator)
            known = torch.from_numpy(np.isfinite(part.z).all(1)).to(device)[:, None]
            values = torch.where(known & (wanted >= 0), values[:, wanted], torch.nan)
            yield values.cpu().numpy()


def _expected(
    vae: VAE, likelihood: Likelihood, z: NDArray[np.float32], modality: str, depths: NDArray[np.float32] | None
) -> Tensor:
    """Values that are expected in states, `(n, n_features)`; anything where a state is NaN."""
    device = device_of(vae)
    block = torch.from_numpy(z).to(device)
    known = torch.isfinite(block).all(1, keepdim=True)
    with torch.inference_mode():
        at_depths = None if depths is None else torch.from_numpy(depths).to(device)
        return likelihood.mean(vae.decode(torch.where(known, block, 0.0), modality, at_depths).float())


def _lent(vae: VAE, likelihood: Likelihood, z: NDArray[np.float32], modality: str, rows: int) -> Tensor:
    """What lenders decode to, on the scale on which it is averaged, `(n_lenders, n_features)`."""
    blocks = [slice(start, start + rows) for start in range(0, len(z), rows)]
    first = likelihood.scaled(_expected(vae, likelihood, z[blocks[0]], modality, None))
    lent = first.new_empty(len(z), first.shape[1])
    lent[blocks[0]] = first
    for block in blocks[1:]:
        lent[block] = likelihood.scaled(_expected(vae, likelihood, z[block], modality, None))
    return lent


def _averaged(likelihood: Likelihood, own: Tensor, lent: Tensor, loans: Loans) -> Tensor:
    """Values of cells, `(n, n_features)`, where some are means of their own and of what others decode to."""
    rows = np.flatnonzero(loans.weight.any(1))
    at, weight = (torch.from_numpy(x[rows]).to(own.device) for x in (loans.at, loans.weight))
    kept = (1 - weight.sum(1, keepdim=True)).clamp(min=0)
    borrowed = functional.embedding_bag(at, lent, per_sample_weights=weight, mode="sum")
    mine = likelihood.scaled(own[rows])
    own[rows] = likelihood.unscaled(borrowed + torch.where(kept > 0, kept * mine, 0.0))
    return own


def standard_noise(u: NDArray[np.float32], mosaic: Mosaic) -> NDArray[np.float32]:
    """Mean u of the batch whose mean is nearest to the mean over all cells, `(dim_u,)`."""
    known = np.isfinite(u).all(1)
    means = np.stack([u[known & (mosaic.batch == b)].mean(0) for b in np.unique(mosaic.batch[known])])
    nearest = int(np.argmin(((means - u[known].mean(0)) ** 2).sum(1)))
    standard: NDArray[np.float32] = means[nearest].astype(np.float32)
    return standard


def _cells_at_once(n_features: int, device: torch.device) -> int:
    entries = _ENTRIES_AT_ONCE.get(device.type, _ENTRIES_AT_ONCE["cpu"])
    return max(64, min(4096, entries // n_features))


def _blocks(cells: NDArray[np.int64], schema: MosaicSchema, device: torch.device) -> list[NDArray[np.int64]]:
    size = _cells_at_once(sum(part.n_features for part in schema.modalities.values()), device)
    return [cells[i : i + size] for i in range(0, len(cells), size)]
