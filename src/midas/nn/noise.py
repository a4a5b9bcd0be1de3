"""All randomness of a training step. Without noise, a network is deterministic: no dropout, no sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Up to this count, binomial draws are exact; above, a normal approximation suffices.
_EXACT_UP_TO = 20
# Odd multipliers that mix the bits of a position (Steele, Lea and Flood 2014).
_FACTORS = (-4658895280553007687, -7723592293110705685, -4658895280553007687)


class Noise:
    """Random numbers from a separate generator, so that a run does not depend on the global random state.

    Parameters
    ----------
    seed
        Random seed.
    device
        Device of the generator.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def restart(self, seed: int) -> Noise:
        """Reseed the generator."""
        self.generator.manual_seed(seed)
        return self

    def normal_like(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape of `like`, in float32."""
        return torch.randn(like.shape, generator=self.generator, device=like.device)

    def dropout(self, x: Tensor, share: float) -> Tensor:
        """Set about `share` of the entries to zero and scale the others up.

        Uses one random byte per entry: a 64-bit draw serves eight entries, ten times cheaper on a CPU than one float
        each. The share is therefore rounded to 1/256; the scale fits the rounded share, so the mean is kept.
        """
        threshold = min(round(share * 256), 255)
        if threshold == 0:
            return x
        keep = self._bytes(x.numel(), x.device).view(x.shape) >= threshold
        return x * (keep.to(x.dtype) * (256 / (256 - threshold)))

    def _bytes(self, n: int, device: torch.device) -> Tensor:
        if device.type == "mps":  # cannot draw 64 bits at once
            return torch.randint(256, (n,), dtype=torch.uint8, generator=self.generator, device=device)
        words = torch.empty((n + 7) // 8, dtype=torch.int64, device=device)
        # The bounds make all 64 bits random; the default range leaves the sign bit at 0.
        words.random_(-(2**63), None, generator=self.generator)
        drawn: Tensor = words.view(torch.uint8)[:n]
        return drawn

    def thinned(self, values: Tensor, flat: Tensor, row: Tensor, n_rows: int, most: float) -> Tensor:
        """Keep each of a cell's counts with a probability that the cell draws between 1 - `most` and 1.

        This simulates a lower sequencing depth.

        Parameters
        ----------
        values
            Counts of 1 and more, `(nnz,)`.
        flat
            Their positions, `(nnz,)`: draws depend on the position, not on the order of the counts.
        row
            Cell of each, `(nnz,)`, out of `n_rows`.
        """
        kept = (1 - most * torch.rand(n_rows, generator=self.generator, device=values.device)).index_select(0, row)
        # A single kernel; on a GPU, results depend on the order of the counts anyway, as sums are in any order.
        if values.is_cuda:
            return torch.binomial(values, kept, generator=self.generator)
        coin = self._uniform_at(flat)
        out = torch.where(coin < kept, values, 0.0)  # correct for counts of 1, by far the most frequent
        for at, draws in (
            ((values > 1) & (values <= _EXACT_UP_TO), _binomial),
            (values > _EXACT_UP_TO, _nearly_binomial),
        ):
            some = torch.nonzero(at).squeeze(1)
            out.index_copy_(0, some, draws(*(x.index_select(0, some) for x in (values, kept, coin))))
        return out

    def _uniform_at(self, position: Tensor) -> Tensor:
        """One uniform number in [0, 1) per position: a hash of the position and a single random draw."""
        if position.device.type == "mps":  # limited to 32 bits
            high, low = torch.randint(2**31, (2,), generator=self.generator, device=position.device)
            draw = (high << 31) + low
        else:
            draw = torch.randint(2**62, (1,), generator=self.generator, device=position.device)
        x: Tensor = position + draw
        for factor in _FACTORS:
            x = (x ^ (x >> 29)) * factor
        return ((x >> 32) & 0xFFFFFF).to(torch.float32) / 2**24


def _normal_quantile(p: Tensor) -> Tensor:
    if p.device.type == "mps":  # has no ndtri
        return torch.erfinv(2 * p - 1).mul(math.sqrt(2))
    found: Tensor = torch.special.ndtri(p)
    return found


def _binomial(n: Tensor, p: Tensor, coin: Tensor) -> Tensor:
    """Binomial draws by inversion of the cumulative distribution, from one uniform number each."""
    p = p.clamp(max=1 - 1e-6)
    odds, term = p / (1 - p), (1 - p) ** n
    # uint8, as adding booleans to another dtype would copy them.
    out, below = torch.zeros_like(n, dtype=torch.uint8), term.clone()
    for k in range(int(n.max().item()) if len(n) else 0):
        out += (coin >= below).view(torch.uint8)
        term *= (n - k).mul_(odds).div_(k + 1)  # 0 from the n-th on
        below += term
    return out.to(n.dtype).minimum(n)


def _nearly_binomial(n: Tensor, p: Tensor, coin: Tensor) -> Tensor:
    """Approximate binomial draws by a rounded normal distribution of the same mean and variance."""
    mean = n * p
    draw = mean + (mean * (1 - p)).sqrt() * _normal_quantile(coin.clamp(1e-6, 1 - 1e-6))
    return draw.round().clamp(min=0).minimum(n)
