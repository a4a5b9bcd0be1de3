"""Scatter operations on flat arrays, with different implementations on GPU and CPU."""

from __future__ import annotations

import torch
from torch import Tensor

# On a GPU, atomic additions to one position are serialised, so each row is summed in this many parts.
_PARTS = 64


def put(zeros: Tensor, flat: Tensor, values: Tensor) -> Tensor:
    """Write values `(nnz,)` to distinct positions `flat` of an array of zeros, in place.

    On a GPU they are added, as padding zeros may share positions with counts (:mod:`midas.training.recorded`).
    """
    return zeros.scatter_add_(0, flat, values) if values.is_cuda else zeros.scatter_(0, flat, values)


def take_off(array: Tensor, flat: Tensor, values: Tensor) -> Tensor:
    """Subtract values `(nnz,)` at positions `flat` of an array, in place."""
    return array.scatter_add_(0, flat, -values) if values.is_cuda else array.index_add_(0, flat, values, alpha=-1)


def row_sums(values: Tensor, row: Tensor, n_rows: int) -> Tensor:
    """Sums `(n_rows,)` of the values `(nnz,)` of each row."""
    if not values.is_cuda:
        return values.new_zeros(n_rows).index_add_(0, row, values)
    part = torch.arange(len(row), device=row.device) % _PARTS
    return values.new_zeros(n_rows * _PARTS).scatter_add_(0, row * _PARTS + part, values).view(n_rows, _PARTS).sum(1)
