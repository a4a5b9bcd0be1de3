"""Decode states with a trained model, block by block, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from midas.inference import cells_at_once, device_of
from midas.likelihoods import LIKELIHOODS, Likelihood, overdispersed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from midas.borrowing import Borrowing, Loans
    from midas.data.schema import MosaicSchema
    from midas.nn import VAE
    from midas.spread import Spread

# Status of a cell in a modality.
MEASURED: Final = 0  # the cell was measured
UNMEASURED: Final = 1  # the cell was not, but others of its batch were
BATCH_UNMEASURED: Final = 2  # no cell of its batch was
_FEWEST_COUNTS = 10.0  # pseudocount that shrinks a cell's depth towards the lenders'
_LEAST_LENT = 0.05  # weight fraction of lenders that must have measured a feature
_LEAST_SHARE = 1e-6  # smaller weights are ignored


@dataclass(frozen=True)
class States:
    """States that the counts of one modality are decoded from, one per cell.

    Attributes
    ----------
    z
        `(n, dim_z)`; NaN rows for cells without a state.
    known
        Measurement status of each cell, `(n,)`: a row of :attr:`midas.spread.Spread.excess`; None where it is not
        needed.
    depths
        Depths to decode at, `(n, n_depths)`, as in :class:`Posterior`; None or NaN for the expected depth.
    borrowing
        Cells that also borrow from others; None where all cells are decoded from their own state alone.
    """

    z: NDArray[np.float32]
    known: NDArray[np.int64] | None = None
    depths: NDArray[np.float32] | None = None
    borrowing: Borrowing | None = None

    def take(self, cells: NDArray[np.int64]) -> States:
        """States of `cells`, in this order; none for -1."""
        there = cells[:, None] >= 0
        return States(
            np.where(there, self.z[cells], np.float32(np.nan)),
            None if self.known is None else self.known[cells],
            None if self.depths is None else np.where(there, self.depths[cells], np.float32(np.nan)),
            None if self.borrowing is None else self.borrowing.take(cells),
        )


@dataclass(frozen=True)
class Draw:
    """How decoded values are reported.

    Attributes
    ----------
    sample
        Whether to draw counts from the likelihood instead of returning expected values.
    seed
        Random seed.
    spread
        Overdispersion of drawn counts relative to the likelihood; None for no overdispersion.
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
        States of `n` cells.
    modality
        Name in the model.
    columns
        Features to decode, as columns of the schema, `(d,)`; -1 for features unknown to the model.
    draw
        Expected values or counts.

    Yields
    ------
    Consecutive rows, `(a few thousand at most, d)`; NaN in unknown columns and in rows with NaN z.
    """
    device = device_of(vae)
    likelihood = LIKELIHOODS[schema.modalities[modality].modality.likelihood]
    extra = vae.extras()[modality]
    drawn_on = torch.device("cpu") if draw.sample and device.type == "mps" else device  # MPS has no torch.poisson
    wanted = torch.from_numpy(columns).to(drawn_on)
    generator = torch.Generator(device=drawn_on).manual_seed(draw.seed)
    rows = cells_at_once(schema.modalities[modality].n_features, device)
    decoder = _Decoder(vae, likelihood, modality, rows)
    tables: dict[int, _Table] = {}
    for start in range(0, len(states.z), rows):
        part = states.take(np.arange(start, min(start + rows, len(states.z))))
        with torch.inference_mode():
            values = decoder.expected(part.z, part.depths)
            missing = _lend(decoder, part, values, tables).to(drawn_on)
            values = values.to(drawn_on)
            if draw.sample and draw.spread is None:
                values = likelihood.sample(values, None if extra is None else extra.to(drawn_on), generator)
            elif draw.sample and draw.spread is not None:
                excess = torch.from_numpy(draw.spread.excess).to(drawn_on)
                known = np.zeros(len(part.z), dtype=np.int64) if part.known is None else part.known
                wider = excess[torch.from_numpy(known).to(drawn_on)]
                values = overdispersed(values, torch.where(missing, excess[BATCH_UNMEASURED], wider), generator)
            there = torch.from_numpy(np.isfinite(part.z).all(1)).to(drawn_on)[:, None]
            block = torch.where(there & (wanted >= 0), values[:, wanted], torch.nan).cpu().numpy()
        yield block  # outside of inference mode, which would otherwise stay on in the caller


@dataclass(frozen=True)
class _Decoder:
    """Of one modality."""

    vae: VAE
    likelihood: Likelihood
    modality: str
    rows: int

    def expected(self, z: NDArray[np.float32], depths: NDArray[np.float32] | None = None) -> Tensor:
        """Expected values, `(n, n_features)`; arbitrary where the state is NaN."""
        at, at_depths = self._on_device(z, depths)
        return self.likelihood.mean(self.vae.decode(at, self.modality, at_depths).float())

    def deepened(self, z: NDArray[np.float32], depths: NDArray[np.float32] | None) -> Tensor:
        """Ratio of the expected depth given the depths of other modalities to that without them, `(n,)`."""
        at, at_depths = self._on_device(z, depths)
        with_depths, without = (self.vae.expected_depth(at, self.modality, known) for known in (at_depths, None))
        return torch.exp(with_depths.float() - without.float())

    def _on_device(self, z: NDArray[np.float32], depths: NDArray[np.float32] | None) -> tuple[Tensor, Tensor | None]:
        device = device_of(self.vae)
        block = torch.from_numpy(z).to(device)
        block = torch.where(torch.isfinite(block).all(1, keepdim=True), block, 0.0)
        return block, None if depths is None else torch.from_numpy(depths).to(device)


@dataclass(frozen=True)
class _Table:
    """Decoded values of a panel's lenders.

    Attributes
    ----------
    values
        Values of the panel's features, on the scale used for averaging, `(n_lenders, n_panel_features)`.
    measured
        1 where a lender's batch measured a feature, else 0, `(n_lenders, n_panel_features)`; None where all did.
    totals
        Sum over the features that a batch of borrowers and all lenders measured, `(n_lenders, n_batches)`.
    """

    values: Tensor
    measured: Tensor | None
    totals: Tensor

    @classmethod
    def of(cls, decoder: _Decoder, borrowing: Borrowing, number: int) -> _Table:
        panel = borrowing.panels[number]
        z = borrowing.lenders.z[panel.lenders]
        device = device_of(decoder.vae)
        features = torch.from_numpy(panel.features).to(device)
        joint = torch.from_numpy((borrowing.measured & panel.joint).T.astype(np.float32)).to(device)
        values = torch.empty(len(z), len(panel.features), device=device)
        totals = torch.empty(len(z), joint.shape[1], device=device)
        for start in range(0, len(z), decoder.rows):
            block = decoder.expected(z[start : start + decoder.rows])
            totals[start : start + decoder.rows] = block @ joint
            values[start : start + decoder.rows] = decoder.likelihood.scaled(block[:, features])
        if panel.measured.all():
            return cls(values, None, totals)
        measured = torch.from_numpy(panel.measured.astype(np.float32)).to(device)
        return cls(values.mul_(measured), measured, totals)


def _lend(decoder: _Decoder, part: States, values: Tensor, tables: dict[int, _Table]) -> Tensor:
    """Replace decoded values of borrowing cells by the borrowed ones, in place.

    Parameters
    ----------
    values
        `(n, n_features)`; modified in place.
    tables
        Cache of decoded lenders, by panel; missing entries are added.

    Returns
    -------
    `(n, n_features)`, whether a feature was missing from a modality that the cell has.
    """
    missing = torch.zeros_like(values, dtype=torch.bool)
    borrowing = part.borrowing
    if borrowing is None:
        return missing
    for number, panel in enumerate(borrowing.panels):
        loans = borrowing.loans(number, part.z)
        if loans is None:
            continue
        if number not in tables:
            tables[number] = _Table.of(decoder, borrowing, number)
        rows, features = (torch.from_numpy(x).to(values.device) for x in (loans.rows, panel.features))
        joint = borrowing.measured[loans.batch] & panel.joint
        depths = None if part.depths is None else part.depths[loans.rows]
        lent, there = _mean(decoder, loans, tables[number], depths, features, joint)
        place = rows[:, None], features[None]
        take = torch.from_numpy(loans.wanted).to(values.device) & there
        values[place] = torch.where(take, lent, values[place])
        missing[place] |= take & torch.from_numpy(np.isfinite(loans.totals)).to(values.device)[:, None]
    return missing


def _mean(
    decoder: _Decoder,
    loans: Loans,
    table: _Table,
    depths: NDArray[np.float32] | None,
    features: Tensor,
    joint: NDArray[np.bool_],
) -> tuple[Tensor, Tensor]:
    """Weighted mean of the values decoded from the lenders and from the cells' own c, at the cells' own depth.

    The depth of a cell with the modality follows from its counts of other features; otherwise, from its other
    modalities.

    Returns
    -------
    The mean, and where there is one, both `(n, n_panel_features)`.
    """
    device, likelihood = table.values.device, decoder.likelihood
    at, weight, totals, batch = (
        torch.from_numpy(x).to(device) for x in (loans.at, loans.weight, loans.totals, loans.batch)
    )
    share = weight.sum(1, keepdim=True)
    lent = functional.embedding_bag(at, table.values, per_sample_weights=weight, mode="sum")
    there = torch.ones(1, 1, dtype=torch.bool, device=device)
    if table.measured is None:
        lent /= share.clamp(min=_LEAST_SHARE)
    else:
        counted = functional.embedding_bag(at, table.measured, per_sample_weights=weight, mode="sum")
        there = (counted > _LEAST_LENT * share) | (share == 0)
        lent /= counted.clamp(min=_LEAST_SHARE)
    expected = (weight * table.totals[at, batch[:, None]]).sum(1) / share[:, 0].clamp(min=_LEAST_SHARE)
    factor = _relative_depth(totals, expected, decoder.deepened(loans.z, depths))
    lent = likelihood.scaled(likelihood.deeper(likelihood.unscaled(lent), factor))
    own = torch.nonzero(share[:, 0] < 1 - _LEAST_SHARE)[:, 0]
    if len(own):
        some = own.cpu().numpy()
        own_values = decoder.expected(loans.z[some], None if depths is None else depths[some])
        expected = (own_values * torch.from_numpy(joint[some]).to(device)).sum(1)
        factor = _relative_depth(totals[own], expected, torch.ones_like(expected))
        own_values = likelihood.deeper(own_values[:, features], factor)
        lent[own] = share[own] * lent[own] + (1 - share[own]) * likelihood.scaled(own_values)
    return likelihood.unscaled(lent), there


def _relative_depth(totals: Tensor, expected: Tensor, otherwise: Tensor) -> Tensor:
    """Ratio of observed to expected counts of some features, `(n, 1)`; `otherwise` where there are no counts."""
    factor = (totals + _FEWEST_COUNTS) / (expected + _FEWEST_COUNTS)
    return torch.where(torch.isfinite(totals), factor, otherwise)[:, None]
