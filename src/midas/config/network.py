"""Sizes of the networks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from midas.config.fields import check_types
from midas.expect import expect
from midas.modality import DepthBy

Activation = Literal["mish", "silu", "relu"]
Depth = Literal["observed", "latent"]

_FEWEST_PROTEINS, _MANY_CELLS = 10, 5_000  # defaults of min_features_for_geometric_mean


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the networks (He et al. 2024, Methods).

    Attributes
    ----------
    dim_c, dim_u
        Dimensions of the biological state and of the technical noise.
    activation
        Non-linearity of every hidden layer; a hidden layer is Linear, LayerNorm, activation, dropout.
    dropout, discriminator_dropout
        Dropout rate of hidden units, in the model and in the discriminators.
    thinning
        Largest fraction of a cell's counts that is hidden from the encoders in a training step; each cell's fraction is
        drawn between 0 and this value. The decoders still reconstruct all counts, so the encoders learn not to rely on
        single counts.
    depth
        How sequencing depth is modelled, for modalities that have a depth (:class:`midas.Modality`). ``observed``:
        computed from the cell's counts, so that the encoders see a cell of mean depth and z need not encode it.
        ``latent``: encoded in z, as published.
    encoder
        Hidden sizes from a modality's input to z. The first layer is specific to the modality, the rest is shared.
    decoder
        Hidden sizes from z to the outputs, shared by the modalities.
    bottleneck, min_features_for_bottleneck
        Width of the bottleneck for peaks before the encoder and after the decoder, and the number of peaks from which
        it is used; None for never.
    block_encoder, block_decoder
        Alternative to the bottleneck, as published: sizes of a separate network for the peaks of each chromosome.
    min_features_for_blocks
        Number of peaks from which each chromosome gets a network of its own; None for never.
    min_features_for_depth
        A modality with fewer features than this has no depth, and neither do cells of a batch that measured fewer: the
        total over a small panel is dominated by a few features, so it reflects the cell type rather than the depth.
    min_features_for_geometric_mean
        The same threshold where depth is the geometric mean of the counts (proteins) and some batches lack the
        modality: without a depth, z would encode the sequencing depth in some batches but not in others. None: 10 from
        5,000 cells on, and `min_features_for_depth` below, where the levels of a few proteins are more informative than
        misleading.
    batch_encoder, batch_decoder
        Hidden sizes of the networks from batch to z and from u to batch.
    discriminator
        Hidden sizes of the networks that predict the batch from c.
    """

    dim_c: int = 32
    dim_u: int = 2
    activation: Activation = "silu"
    dropout: float = 0.0
    discriminator_dropout: float = 0.0
    thinning: float = 0.6
    depth: Depth = "observed"
    encoder: tuple[int, ...] = (512, 128)
    decoder: tuple[int, ...] = (128, 512)
    bottleneck: int = 64
    min_features_for_bottleneck: int | None = 10_000
    block_encoder: tuple[int, ...] = (128, 32)
    block_decoder: tuple[int, ...] = (32, 128)
    min_features_for_blocks: int | None = None
    min_features_for_depth: int = 150
    min_features_for_geometric_mean: int | None = None
    batch_encoder: tuple[int, ...] = (16, 16)
    batch_decoder: tuple[int, ...] = (16, 16)
    discriminator: tuple[int, ...] = (128, 64)

    def __post_init__(self) -> None:
        check_types(self)
        expect(self, "dim_c", self.dim_c >= 1, "1 or more")
        expect(self, "dim_u", self.dim_u >= 1, "1 or more")
        expect(self, "bottleneck", self.bottleneck >= 1, "1 or more")
        for name in ("min_features_for_bottleneck", "min_features_for_blocks"):
            fewest = getattr(self, name)
            expect(self, name, fewest is None or fewest >= 0, "0 or more, or none at all")
        expect(self, "min_features_for_depth", self.min_features_for_depth >= 0, "0 or more")
        fewest = self.min_features_for_geometric_mean
        expect(self, "min_features_for_geometric_mean", fewest is None or fewest >= 0, "0 or more, or none at all")
        for name in ("dropout", "discriminator_dropout", "thinning"):
            expect(self, name, 0 <= getattr(self, name) < 1, "a share from 0 up to, not including, 1")
        for name in ("encoder", "decoder", "block_encoder", "block_decoder"):
            expect(self, name, len(getattr(self, name)) >= 1, "at least one layer")
        for f in dataclasses.fields(self):
            sizes = getattr(self, f.name)
            if isinstance(sizes, tuple):
                expect(self, f.name, all(size >= 1 for size in sizes), "sizes of 1 or more")

    def min_features_for(self, depth_by: DepthBy, *, everywhere: bool = False) -> int:
        """Smallest number of features to compute a depth from, by statistic and whether all batches have the modality.

        Examples
        --------
        >>> midas.NetworkConfig(min_features_for_geometric_mean=10).min_features_for("geometric_mean")
        10
        """
        if depth_by != "geometric_mean" or everywhere or self.min_features_for_geometric_mean is None:
            return self.min_features_for_depth
        return min(self.min_features_for_geometric_mean, self.min_features_for_depth)

    def for_cells(self, n_cells: int) -> NetworkConfig:
        """Fill in defaults that depend on the number of cells.

        Examples
        --------
        >>> [midas.NetworkConfig().for_cells(n).min_features_for_geometric_mean for n in (1_000, 10_000)]
        [150, 10]
        """
        if self.min_features_for_geometric_mean is not None:
            return self
        fewest = _FEWEST_PROTEINS if n_cells >= _MANY_CELLS else self.min_features_for_depth
        return dataclasses.replace(self, min_features_for_geometric_mean=fewest)

    @property
    def dim_z(self) -> int:
        """Dimension of z = (c, u).

        Examples
        --------
        >>> midas.NetworkConfig(dim_c=8, dim_u=2).dim_z
        10
        """
        return self.dim_c + self.dim_u
