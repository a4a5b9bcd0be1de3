"""Where our features and blocks stand in scmidas (differences 2 and 3 in ``parity.py``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from midas.data import MosaicSchema
from midas.data.blocks import peak_keys
from scmidas_parity.peer import Tensors


@dataclass(frozen=True)
class Order:
    """Where our features of a modality, and our blocks of them, stand in scmidas.

    Attributes
    ----------
    features
        For each of our features, its position in scmidas.
    blocks
        For each of our blocks, its number in scmidas.
    within
        For each of our blocks, for each of its features, its position inside scmidas' block.
    """

    features: Tensor
    blocks: tuple[int, ...]
    within: tuple[Tensor, ...]

    @property
    def split(self) -> bool:
        """Whether there is more than one block."""
        return len(self.blocks) > 1

    def chunks(self, width: int) -> Tensor:
        """Positions in scmidas of our concatenated blocks, `width` units each."""
        return torch.cat([b * width + torch.arange(width) for b in self.blocks])

    @classmethod
    def find(cls, theirs: Sequence[str], their_blocks: Sequence[int], ours: pd.Index, blocks: Sequence[int]) -> Order:
        """Match features by name and blocks by their features.

        Raises
        ------
        ValueError
            When the features or the blocks are not the same.
        """
        at = peak_keys(pd.Index(theirs)).get_indexer(ours)
        if len(theirs) != len(ours) or (at < 0).any():
            raise ValueError(f"expected the same features on both sides, found {len(theirs)} and {len(ours)}")
        starts = np.cumsum([0, *their_blocks])
        numbers, within = [], []
        for part in np.split(at, np.cumsum(blocks)[:-1]):
            number = np.unique(np.searchsorted(starts, part, side="right") - 1)
            if len(number) != 1 or their_blocks[number[0]] != len(part):
                raise ValueError("expected each block of features on both sides, found blocks that overlap in part")
            numbers.append(int(number[0]))
            within.append(torch.from_numpy(part - starts[number[0]]))
        return cls(torch.from_numpy(at), tuple(numbers), tuple(within))


def orders(meta: Mapping[str, Any], schema: MosaicSchema) -> dict[str, Order]:
    """Match the features and blocks of all modalities."""
    return {
        name: Order.find(meta["features"][name], meta["blocks"][name], part.features, part.blocks)
        for name, part in schema.modalities.items()
    }


def in_our_order(found: Tensors, order: Mapping[str, Order]) -> Tensors:
    """Permute the columns of what scmidas computed per feature."""
    out = {}
    for name, value in found.items():
        kind, _, modality = name.partition(".")
        out[name] = value[:, order[modality].features] if kind in {"counts", "mask", "decoded"} else value
    return out
