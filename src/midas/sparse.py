"""Numbers at some positions of flat arrays: the two operations for which a GPU and a CPU need different means."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def put(zeros: Tensor, flat: Tensor, values: Tensor) -> Tensor:
    """Write values `(nnz,)` at different positions `flat` of an array of zeros, in place.

    On a GPU they are added: there, entries of zero may follow, at a position that has a count (:mod:`midas.training.recorded`).
    """
    return zeros.scatter_add_(0, flat, values) if values.is_cuda else zeros.scatter_(0, flat, values)


def take_off(array: Tensor, flat: Tensor, values: Tensor) -> Tensor:
    """Subtract values `(nnz,)` at positions `flat` of an array, in place, by what is fastest."""
    return array.scatter_add_(0, flat, -values) if values.is_cuda else array.index_add_(0, flat, values, alpha=-1)
