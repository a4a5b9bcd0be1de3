"""Schema of the data: batches, modalities and their features, by name. Stored with a model and checked against new data."""

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
        Whether a single block of features has a bottleneck before the encoder and after the decoder; directly after
        reading data, whether it may have one.
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
        """Remove blocks, bottleneck and depth if there are too few features for them.

        Parameters
        ----------
        network
            Configuration with the thresholds.
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
        """Layer sizes of each block before the encoder and after the decoder; None without blocks and bottleneck."""
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
        For each modality, whether each batch has cells with it.
    """

    batches: tuple[str, ...]
    modalities: Mapping[str, ModalitySchema]
    batches_with: Mapping[str, tuple[bool, ...]]

    @property
    def kinds(self) -> dict[str, Modality]:
        """Definition of each modality, by name."""
        return {name: part.modality for name, part in self.modalities.items()}

    def batch_codes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Index of each of these batches in :attr:`batches`, `(len(names),)`; -1 for unknown ones."""
        codes = {name: i for i, name in enumerate(self.batches)}
        return np.array([codes.get(name, -1) for name in names], dtype=np.int64)

    def same_features(self, other: MosaicSchema) -> bool:
        """Whether both have the same modalities with the same features, in any order."""
        mine, others = ({name: set(part.features) for name, part in of.modalities.items()} for of in (self, other))
        return self is other or mine == others

    def suited_to(self, network: NetworkConfig, *, but: Collection[str] = ()) -> MosaicSchema:
        """Remove blocks, bottlenecks and depths from modalities with too few features, except those in `but`."""
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
