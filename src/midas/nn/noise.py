"""All randomness of a training step. A network that is given no noise is deterministic: no dropout, no sampling."""

from __future__ import annotations

import torch
from torch import Tensor


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
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        # The bounds make all 64 bits random; the default range leaves the sign bit at 0.
        words.random_(-(2**63), None, generator=self.generator)
        keep = words.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
        return x * (keep.to(x.dtype) * (256 / (256 - threshold)))
