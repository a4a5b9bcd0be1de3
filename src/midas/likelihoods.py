"""Distributions of counts given the decoder's output, and their registry.

Decoders return one real number per cell and feature, `eta`. Counts are sparse: `flat` holds the positions (row times
number of features plus column) and `values` the counts of the non-zero entries. Every negative log-likelihood (NLL) is
the sum of a dense term (the NLL of zeros) and a correction at the non-zero entries, so zeros are never stored.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from torch.nn import functional

from midas.sparse import put, row_sums, take_off

if TYPE_CHECKING:
    from torch import Tensor

Support = Literal["counts", "real"]

_ENTRIES_AT_ONCE = 500_000  # 2 MB in float32
_LEAST_EXCESS = 1e-6  # below, a Gamma mixture of Poissons is a Poisson


class _ExponentialFamily(torch.autograd.Function):
    """Sum over features of A(eta) - x eta for A = exp (Poisson) or softplus (Bernoulli), with A' - x as gradient.

    Value and gradient are computed in one pass; autograd would need three more arrays of the same size.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own context object
        eta: Tensor,
        flat: Tensor,
        values: Tensor,
        mask: Tensor | None,
        family: str,
    ) -> Tensor:
        nll = eta.new_empty(len(eta), dtype=torch.float32)
        mean = torch.empty_like(eta, dtype=torch.float32)
        for part in _rows_at_once(eta):
            real = eta[part].float()
            if family == "poisson":
                cost = torch.exp(real, out=mean[part])
            else:
                cost = functional.softplus(real)
                torch.sigmoid(real, out=mean[part])
            if mask is not None:
                mean[part].mul_(mask[part])
                cost = cost.mul_(mask[part]) if family != "poisson" else cost
            torch.sum(cost, 1, out=nll[part])
        flat_eta = eta.reshape(-1).index_select(0, flat).float()
        rows = torch.div(flat, eta.shape[1], rounding_mode="floor")
        nll = nll - row_sums(values * flat_eta, rows, len(nll))
        gradient = take_off(mean.view(-1), flat, values).view_as(mean)
        ctx.save_for_backward(gradient.to(eta.dtype))
        return nll

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        # In place: nothing else uses the saved array, and a second backward pass is not supported.
        return gradient.mul_(grad_outputs[0][:, None]), None, None, None, None


def _rows_at_once(eta: Tensor) -> list[slice]:
    """Split rows into chunks that fit in a CPU's cache, which also avoids several large temporary arrays."""
    size = len(eta) if eta.device.type != "cpu" else max(1, _ENTRIES_AT_ONCE // max(1, eta.shape[1]))
    return [slice(i, i + size) for i in range(0, len(eta), max(1, size))]


class Likelihood(ABC):
    """A distribution of counts. Stateless; per-feature parameters live in the decoder and are passed in."""

    support: ClassVar[Support] = "counts"
    binary: ClassVar[bool] = False  # whether the support is {0, 1}
    # Whether there is a learned parameter per feature, such as a dispersion.
    has_feature_parameter: ClassVar[bool] = False
    # Whether overdispersion is estimated after training (midas.spread).
    takes_overdispersion: ClassVar[bool] = False

    @abstractmethod
    def nll(self, eta: Tensor, flat: Tensor, values: Tensor, mask: Tensor | None, extra: Tensor | None) -> Tensor:
        """Negative log-likelihood of each cell, up to a constant that depends only on the counts.

        Parameters
        ----------
        eta
            Decoder output, `(n, d)`.
        flat, values
            Positions in the flattened `(n, d)` array, and counts, of the non-zero entries, both `(nnz,)`.
        mask
            `(n, d)`, 1 where a feature was measured and 0 elsewhere; None where all were.
        extra
            Per-feature parameter, `(d,)`, for likelihoods that have one.

        Returns
        -------
        `(n,)`, in nats, summed over measured features.
        """

    @abstractmethod
    def mean(self, eta: Tensor) -> Tensor:
        """Expected value, same shape as `eta`."""

    @abstractmethod
    def sample(self, mean: Tensor, extra: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw one value per entry, same shape as the expected values `mean`."""

    def scaled(self, mean: Tensor) -> Tensor:
        """Transform expected values to the scale used for averaging over cells."""
        return mean

    def unscaled(self, scaled: Tensor) -> Tensor:
        """Inverse of :meth:`scaled`."""
        return scaled

    def deeper(self, mean: Tensor, factor: Tensor) -> Tensor:
        """Expected values at `factor` times the sequencing depth."""
        return mean


class _Counts(Likelihood):
    """Counts with mean exp(eta), averaged as log1p, which is robust to single cells of another type."""

    def mean(self, eta: Tensor) -> Tensor:
        return torch.exp(eta)

    def scaled(self, mean: Tensor) -> Tensor:
        return torch.log1p(mean)

    def unscaled(self, scaled: Tensor) -> Tensor:
        return torch.expm1(scaled)

    def deeper(self, mean: Tensor, factor: Tensor) -> Tensor:
        return mean * factor


class Poisson(_Counts):
    """Counts with rate exp(eta); the omitted constant is the sum of log x!."""

    takes_overdispersion = True

    def nll(self, eta: Tensor, flat: Tensor, values: Tensor, mask: Tensor | None, extra: Tensor | None) -> Tensor:
        return cast("Tensor", _ExponentialFamily.apply(eta, flat, values, mask, "poisson"))  # type: ignore[no-untyped-call]

    def sample(self, mean: Tensor, extra: Tensor | None, generator: torch.Generator) -> Tensor:
        return torch.poisson(mean, generator=generator)


class Bernoulli(Likelihood):
    """0/1 values with log odds eta; no constant is omitted."""

    binary = True

    def nll(self, eta: Tensor, flat: Tensor, values: Tensor, mask: Tensor | None, extra: Tensor | None) -> Tensor:
        return cast("Tensor", _ExponentialFamily.apply(eta, flat, values, mask, "bernoulli"))  # type: ignore[no-untyped-call]

    def mean(self, eta: Tensor) -> Tensor:
        return torch.sigmoid(eta)

    def sample(self, mean: Tensor, extra: Tensor | None, generator: torch.Generator) -> Tensor:
        return torch.bernoulli(mean.clamp(max=1.0), generator=generator)  # rounding may exceed 1

    def deeper(self, mean: Tensor, factor: Tensor) -> Tensor:
        return mean * factor / (1 - mean + mean * factor)


class NegativeBinomial(_Counts):
    """Counts with mean exp(eta) and a dispersion theta = exp(extra) per feature: variance mean + mean^2 / theta.

    The omitted constant is the sum of log x!.
    """

    has_feature_parameter = True

    def nll(self, eta: Tensor, flat: Tensor, values: Tensor, mask: Tensor | None, extra: Tensor | None) -> Tensor:
        log_theta = _required(extra)
        real = eta.float()
        log_total = torch.logaddexp(real, log_theta)  # log(mean + theta)
        zero_cost = log_theta.exp() * (log_total - log_theta)
        if mask is not None:
            zero_cost = zero_cost * mask
        rows = torch.div(flat, eta.shape[1], rounding_mode="floor")
        theta = log_theta.exp()[flat - rows * eta.shape[1]]
        at_counts = (
            torch.lgamma(theta)
            - torch.lgamma(values + theta)
            + values * (log_total.reshape(-1)[flat] - real.reshape(-1)[flat])
        )
        return zero_cost.sum(1) + row_sums(at_counts, rows, len(eta))

    def sample(self, mean: Tensor, extra: Tensor | None, generator: torch.Generator) -> Tensor:
        return overdispersed(mean, torch.exp(-_required(extra)).expand_as(mean), generator)


class Gaussian(Likelihood):
    """Real values with mean eta and log variance `extra` per feature; no constant is omitted."""

    support = "real"
    has_feature_parameter = True

    def nll(self, eta: Tensor, flat: Tensor, values: Tensor, mask: Tensor | None, extra: Tensor | None) -> Tensor:
        log_variance = _required(extra)
        dense = put(torch.zeros(eta.numel(), device=eta.device), flat, values).view(eta.shape)
        terms = 0.5 * ((dense - eta.float()) ** 2 * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi))
        return (terms if mask is None else terms * mask).sum(1)

    def mean(self, eta: Tensor) -> Tensor:
        return eta

    def sample(self, mean: Tensor, extra: Tensor | None, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(mean).normal_(generator=generator)
        return mean + torch.exp(0.5 * _required(extra)) * noise

    def deeper(self, mean: Tensor, factor: Tensor) -> Tensor:
        return mean


def overdispersed(mean: Tensor, excess: Tensor, generator: torch.Generator) -> Tensor:
    """Draw counts of variance mean + excess mean^2 from a Gamma-Poisson mixture; all tensors have the same shape."""
    theta = 1.0 / excess.clamp(min=_LEAST_EXCESS).contiguous()
    rate = torch._standard_gamma(theta, generator=generator) * mean / theta
    return torch.poisson(rate, generator=generator)


def _required(extra: Tensor | None) -> Tensor:
    if extra is None:
        raise ValueError("Expected the likelihood's parameter per feature, found None.")
    return extra


LIKELIHOODS: Mapping[str, Likelihood] = MappingProxyType(
    {
        "poisson": Poisson(),
        "bernoulli": Bernoulli(),
        "negative_binomial": NegativeBinomial(),
        "gaussian": Gaussian(),
    }
)
