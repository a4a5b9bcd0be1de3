"""What the data are: batches, modalities and their features, by name. This is what a model keeps and checks against."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from midas.modality import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.config import NetworkConfig


@dataclass(frozen=True)
class ModalitySchema:
    """A modality's features in the model's own order.

    Attributes
    ----------
    modality
        Likelihood, transform and so on.
    features
        Names, sorted (peaks by position), so that the order of the input never matters.
    blocks
        Sizes of consecutive blocks of features; they sum to the number of features.
    bottleneck
        Whether the features, if they are one block, pass a few units before the encoder and after the decoder; as data are read,
        whether they may.
    """

    modality: Modality
    features: pd.Index
    blocks: tuple[int, ...]
    bottleneck: bool = False

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.features)

    def suited_to(self, network: NetworkConfig, *, everywhere: bool) -> ModalitySchema:
        """Do without blocks, a bottleneck and a depth, if there are too few features for them.

        Parameters
        ----------
        network
            What is few.
        everywhere
            Whether all batches have the modality.
        """
        n = self.n_features
        blocks = self.blocks if _enough(n, network.min_features_for_blocks) else (n,)
        bottleneck = self.bottleneck and len(blocks) == 1 and _enough(n, network.min_features_for_bottleneck)
        depth = self.modality.depth and n >= network.min_features_for(self.modality.depth_by, everywhere=everywhere)
        if (depth, blocks, bottleneck) == (self.modality.depth, self.blocks, self.bottleneck):
            return self
        return replace(self, modality=replace(self.modality, depth=depth), blocks=blocks, bottleneck=bottleneck)

    def passage(self, network: NetworkConfig) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Sizes that each block passes before the encoder, and after the decoder; None where all features go straight."""
        if len(self.blocks) > 1:
            return network.block_encoder, network.block_decoder
        return ((network.bottleneck,), (network.bottleneck,)) if self.bottleneck else None


@dataclass(frozen=True)
class MosaicSchema:
    """Batches and modalities of a mosaic.

    Attributes
    ----------
    batches
        Names, sorted.
    modalities
        By name, sorted.
    batches_with
        For each modality, for each batch in order, whether any of its cells have the modality.
    """

    batches: tuple[str, ...]
    modalities: Mapping[str, ModalitySchema]
    batches_with: Mapping[str, tuple[bool, ...]]

    @property
    def kinds(self) -> dict[str, Modality]:
        """What each modality is, by name."""
        return {name: part.modality for name, part in self.modalities.items()}

    def batch_codes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Index of each of these batches in :attr:`batches`, `(len(names),)`; -1 for one that is not among them."""
        codes = {name: i for i, name in enumerate(self.batches)}
        return np.array([codes.get(name, -1) for name in names], dtype=np.int64)

    def same_features(self, other: MosaicSchema) -> bool:
        """Whether both have the same modalities of the same features, in whatever order."""
        mine, others = ({name: set(part.features) for name, part in of.modalities.items()} for of in (self, other))
        return self is other or mine == others

    def suited_to(self, network: NetworkConfig, *, but: Collection[str] = ()) -> MosaicSchema:
        """Do without blocks, bottlenecks and depths in modalities, `but` some, that have too few features for them."""
        suited = {
            name: part if name in but else part.suited_to(network, everywhere=all(self.batches_with[name]))
            for name, part in self.modalities.items()
        }
        unchanged = all(suited[name] is part for name, part in self.modalities.items())
        return self if unchanged else replace(self, modalities=suited)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "batches": list(self.batches),
            "modalities": {
                name: {
                    "modality": asdict(part.modality),
                    "features": part.features.tolist(),
                    "blocks": list(part.blocks),
                    "bottleneck": part.bottleneck,
                    "batches_with": list(self.batches_with[name]),
                }
                for name, part in self.modalities.items()
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MosaicSchema:
        """Build from what :meth:`to_dict` gave."""
        parts: Mapping[str, Any] = values["modalities"]
        return cls(
            batches=tuple(values["batches"]),
            modalities={
                name: ModalitySchema(
                    Modality(**{**part["modality"], "aliases": tuple(part["modality"]["aliases"])}),
                    pd.Index(part["features"], dtype=object),
                    tuple(part["blocks"]),
                    part.get("bottleneck", False),
                )
                for name, part in parts.items()
            },
            batches_with={name: tuple(part["batches_with"]) for name, part in parts.items()},
        )


def _enough(n: int, fewest: int | None) -> bool:
    return fewest is not None and n >= fewest
