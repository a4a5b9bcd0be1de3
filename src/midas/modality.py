"""Definition of a modality: encoder transform, likelihood, and blocks of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from midas.likelihoods import LIKELIHOODS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Transform = Literal["log1p", "binarize", "identity"]
Blocks = Literal["none", "chromosome"]
DepthBy = Literal["total", "geometric_mean"]


@dataclass(frozen=True)
class Modality:
    """Definition of one kind of measurement.

    Parameters
    ----------
    likelihood
        Name of the distribution of the counts, one of :data:`midas.likelihoods.LIKELIHOODS`.
    transform
        Transform of the encoder input. ``binarize`` also binarises the reconstruction target (ATAC is Bernoulli on ``x
        > 0``: He et al. 2024, Methods); required for ``bernoulli``. ``identity`` is required for real values
        (``gaussian``).
    blocks
        ``chromosome`` gives each chromosome its own encoder and decoder if there are enough features
        (``min_features_for_blocks`` of :class:`midas.NetworkConfig`; by default never); ``none`` uses one block for all
        features.
    depth
        Whether a cell's total count reflects sequencing depth rather than cell type. If so, the depth is computed from
        the counts and z need not encode it. Small panels, dominated by a few features, have no depth
        (:class:`midas.NetworkConfig`).
    depth_by
        Statistic that measures depth: the ``total``, or the ``geometric_mean`` of counts + 1, which weights all
        features equally; the total of a protein panel is dominated by its few most abundant proteins.
    weight
        Weight of the modality's reconstruction term in the objective.
    zero_means_unmeasured
        Treat a feature that is zero in every cell of a batch, but not in other batches, as not measured in that batch.
        True for proteins, as antibodies always leave some background.
    aliases
        Other names under which data files hold this modality.
    """

    likelihood: str
    transform: Transform
    blocks: Blocks = "none"
    depth: bool = False
    depth_by: DepthBy = "total"
    weight: float = 1.0
    zero_means_unmeasured: bool = False
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.likelihood not in LIKELIHOODS:
            msg = f"Expected a likelihood out of {sorted(LIKELIHOODS)}, found {self.likelihood!r}."
            raise ValueError(msg)
        if self.transform not in get_args(Transform):
            msg = f"Expected a transform out of {get_args(Transform)}, found {self.transform!r}."
            raise ValueError(msg)
        if self.blocks not in get_args(Blocks):
            msg = f"Expected blocks out of {get_args(Blocks)}, found {self.blocks!r}."
            raise ValueError(msg)
        if self.depth_by not in get_args(DepthBy):
            msg = f"Expected depth_by out of {get_args(DepthBy)}, found {self.depth_by!r}."
            raise ValueError(msg)
        self._check_transform()
        if self.depth and LIKELIHOODS[self.likelihood].support != "counts":
            msg = f"Expected depth=False, as values that are no counts have none, found True with {self.likelihood!r}."
            raise ValueError(msg)
        if not self.weight >= 0:
            msg = f"Expected a weight of 0 or more, found {self.weight}."
            raise ValueError(msg)

    def encoded(self, counts: NDArray[Any]) -> NDArray[Any]:
        """Transform counts or expected counts to the scale of the encoder input; binarized values are already 0 or 1.

        Examples
        --------
        >>> midas.RNA.encoded(np.array([0.0, 1.0])).round(2).tolist()
        [0.0, 0.69]
        """
        return np.log1p(counts) if self.transform == "log1p" else counts

    def _check_transform(self) -> None:
        likelihood = LIKELIHOODS[self.likelihood]
        needed = "identity" if likelihood.support == "real" else "binarize" if likelihood.binary else self.transform
        if self.transform != needed:
            values = "real values" if needed == "identity" else "values of 0 and 1"
            msg = (
                f"Expected the transform {needed!r} with the likelihood {self.likelihood!r}, which is of {values}, found "
                f"{self.transform!r}. Set transform={needed!r}, or choose a likelihood of counts."
            )
            raise ValueError(msg)


RNA = Modality("poisson", "log1p", depth=True, aliases=("gex", "gene expression", "genes"))
ADT = Modality(
    "poisson",
    "log1p",
    depth=True,
    depth_by="geometric_mean",
    zero_means_unmeasured=True,
    aliases=("prot", "protein", "proteins", "antibody capture", "cite"),
)
ATAC = Modality(
    "bernoulli", "binarize", blocks="chromosome", depth=True, aliases=("peaks", "chromatin", "accessibility")
)

PRESETS: Mapping[str, Modality] = MappingProxyType({"rna": RNA, "adt": ADT, "atac": ATAC})


def preset(name: str) -> Modality | None:
    """Find the preset for a modality's name or alias, ignoring case; None if there is none."""
    lowered = name.lower()
    for key, modality in PRESETS.items():
        if lowered == key or lowered in modality.aliases:
            return modality
    return None


def canonical(name: str) -> str:
    """Name of the preset for a modality's name or alias, such as ``adt`` for ``protein``; other names are returned unchanged."""
    kind = preset(name)
    return next((key for key, known in PRESETS.items() if known is kind), name)
