"""All randomness of a training step. A network that is given no noise is deterministic: no dropout, no sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Up to this count binomial draws are exact; beyond it normal ones are as good.
_EXACT_UP_TO = 20
# Odd numbers that mix the bits of a position (Steele, Lea and Flood 2014).
_FACTORS = (-4658895280553007687, -7723592293110705685, -4658895280553007687)


class Noise:
    """Random numbers from one generator, so that nothing else in the process can change a run.

    Parameters
    ----------
    seed
        Same seed, same numbers.
    device
        Where they are drawn.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def restart(self, seed: int) -> Noise:
        """Go on with the numbers of another seed."""
        self.generator.manual_seed(seed)
        return self

    def normal_like(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape of `like`, in float32."""
        return torch.randn(like.shape, generator=self.generator, device=like.device)

    def dropout(self, x: Tensor, share: float) -> Tensor:
        """Set about `share` of the entries to zero and scale the others up.

        One random byte an entry: a 64-bit draw serves eight entries, an order of magnitude cheaper on a CPU than a
        float each. The share is therefore rounded to 1/256; the scale fits the rounded share, so the mean is kept.
        """
        threshold = min(round(share * 256), 255)
        if threshold == 0:
            return x
        keep = self._bytes(x.numel(), x.device).view(x.shape) >= threshold
        return x * (keep.to(x.dtype) * (256 / (256 - threshold)))

    def _bytes(self, n: int, device: torch.device) -> Tensor:
        if device.type == "mps":  # draws no 64 bits at once
            return torch.randint(256, (n,), dtype=torch.uint8, generator=self.generator, device=device)
        words = torch.empty((n + 7) // 8, dtype=torch.int64, device=device)
        # The bounds make all 64 bits random; the default range leaves the sign bit at 0.
        words.random_(-(2**63), None, generator=self.generator)
        drawn: Tensor = words.view(torch.uint8)[:n]
        return drawn

    def thinned(self, values: Tensor, flat: Tensor, row: Tensor, n_rows: int, most: float) -> Tensor:
        """Keep each of a cell's counts with a probability that the cell draws between 1 - `most` and 1.

        That is what the cell might have shown had it been sequenced less deeply.

        Parameters
        ----------
        values
            Counts of 1 and more, `(nnz,)`.
        flat
            Their positions, `(nnz,)`: the draws depend on these, so that the order of the counts changes nothing.
        row
            Cell of each, `(nnz,)`, out of `n_rows`.
        """
        kept = (1 - most * torch.rand(n_rows, generator=self.generator, device=values.device)).index_select(0, row)
        # One kernel of one shape; a GPU adds in any order, so results depend on that of the counts anyway.
        if values.is_cuda:
            return torch.binomial(values, kept, generator=self.generator)
        coin = self._uniform_at(flat)
        out = torch.where(coin < kept, values, 0.0)  # right for counts of 1, the most frequent by far
        for at, draws in (
            ((values > 1) & (values <= _EXACT_UP_TO), _binomial),
            (values > _EXACT_UP_TO, _nearly_binomial),
        ):
            some = torch.nonzero(at).squeeze(1)
            out.index_copy_(0, some, draws(*(x.index_select(0, some) for x in (values, kept, coin))))
        return out

    def _uniform_at(self, position: Tensor) -> Tensor:
        """One number between 0 and 1 for each position: a hash of it and of one draw."""
        if position.device.type == "mps":  # draws 32 bits at most
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
    """Binomial draws from one uniform number each: how many terms of the distribution lie below it."""
    p = p.clamp(max=1 - 1e-6)
    odds, term = p / (1 - p), (1 - p) ** n
    # Counted in bytes: adding truths to numbers of another kind costs a copy of them.
    out, below = torch.zeros_like(n, dtype=torch.uint8), term.clone()
    for k in range(int(n.max().item()) if len(n) else 0):
        out += (coin >= below).view(torch.uint8)
        term *= (n - k).mul_(odds).div_(k + 1)  # 0 from the n-th on
        below += term
    return out.to(n.dtype).minimum(n)


def _nearly_binomial(n: Tensor, p: Tensor, coin: Tensor) -> Tensor:
    """Draws likewise from the normal distribution of the same mean and variance, rounded."""
    mean = n * p
    draw = mean + (mean * (1 - p)).sqrt() * _normal_quantile(coin.clamp(1e-6, 1 - 1e-6))
    return draw.round().clamp(min=0).minimum(n)
