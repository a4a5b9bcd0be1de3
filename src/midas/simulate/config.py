"""Configuration of the simulation, and a random generator for each draw."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from midas.expect import expect, expect_finite

MODALITIES: Final = ("rna", "adt", "atac")
BRANCH_TYPES: Final = ("progenitor", "mature_a", "mature_b")
_LARGEST_LOG: Final = 5  # standard deviation of what is exponentiated
# First words of the generators' keys.
WORLD, FEATURES, CELLS, EFFECT, COUNTS, HIDING, PANEL = range(7)


@dataclass(frozen=True)
class SimulationConfig:
    """Configuration of the simulation.

    Attributes
    ----------
    mosaic
        One entry per batch with its modalities, as ``"rna+adt"`` or ``{"rna", "adt"}``; stored as ``"rna+adt"``.
    n_cells
        Cells of all batches together.
    batch_proportions
        Relative sizes of the batches; equal when None.
    n_genes, n_proteins, n_peaks
        Features of ``rna``, ``adt`` and ``atac``.
    n_chromosomes
        Number of chromosomes with genes and peaks.
    n_types
        Leaves of the tree of types. With `branch`, three of them are ``progenitor``, ``mature_a`` and ``mature_b``.
    branch
        Whether cells run continuously from the progenitor to the two mature types.
    n_latent
        Dimensions of the biological state.
    cell_noise
        Standard deviation of a cell's state around its type, per dimension; sister types lie about 0.7 apart.
    batch_strength
        Standard deviation of a batch's log factor per feature.
    depth_shift
        Standard deviation of a batch's log factor on the depth of a modality.
    library_spread
        Standard deviation of a cell's log depth within a batch.
    rna_depth, adt_depth
        Median counts per cell, before `depth_shift`.
    adt_background
        Share of protein counts from unbound antibodies, the same in every cell.
    peak_density
        Mean share of accessible peaks per cell at median depth.
    linked_fraction
        Share of peaks that are linked to a gene of their chromosome; all proteins are linked to a gene.
    link_strength
        Correlation of the loadings of linked features.
    proportion_variation
        Standard deviation of a type's log frequency between batches.
    types_missing_per_batch
        Number of types that each batch lacks; every type stays in at least one batch.
    unmeasured_genes, unmeasured_proteins, unmeasured_peaks
        Share of features that a batch's panel lacks. If above 0, ``var["measured_<batch>"]`` marks the measured ones; every
        feature stays in at least one batch.
    unpaired_fraction
        Share of the cells of a multimodal batch that lack one of its modalities, drawn at random.
    """

    mosaic: tuple[str | Iterable[str], ...] = ("rna+adt", "rna+atac", "adt", "rna+adt+atac")
    n_cells: int = 2000
    batch_proportions: tuple[float, ...] | None = None
    n_genes: int = 1000
    n_proteins: int = 50
    n_peaks: int = 2000
    n_chromosomes: int = 22
    n_types: int = 8
    branch: bool = True
    n_latent: int = 16
    cell_noise: float = 0.35
    batch_strength: float = 0.4
    depth_shift: float = 0.3
    library_spread: float = 0.35
    rna_depth: float = 1000.0
    adt_depth: float = 3000.0
    adt_background: float = 0.3
    peak_density: float = 0.05
    linked_fraction: float = 0.7
    link_strength: float = 0.8
    proportion_variation: float = 0.3
    types_missing_per_batch: int = 0
    unmeasured_genes: float = 0.0
    unmeasured_proteins: float = 0.0
    unmeasured_peaks: float = 0.0
    unpaired_fraction: float = 0.0

    def __post_init__(self) -> None:
        entries: object = self.mosaic  # a lone string passes for a tuple of letters
        expect(self, "mosaic", not isinstance(entries, str), "a tuple with one entry per batch, such as ('rna+adt',)")
        object.__setattr__(self, "mosaic", tuple(canonical(entry) for entry in self.mosaic))
        n_batches = len(self.mosaic)
        expect(self, "mosaic", n_batches >= 1, "one entry per batch, such as ('rna+adt', 'atac')")
        for name in ("n_cells", "n_genes", "n_proteins", "n_peaks", "n_chromosomes", "n_types", "n_latent"):
            value = getattr(self, name)
            expect(self, name, isinstance(value, int) and value >= 1, "a whole number of 1 or more")
        for f in dataclasses.fields(self):
            expect_finite(self, f.name)
        expect(self, "n_cells", self.n_cells >= n_batches, f"at least one cell for each of the {n_batches} batches")
        if self.batch_proportions is not None:
            object.__setattr__(self, "batch_proportions", tuple(float(p) for p in self.batch_proportions))
            ok = len(self.batch_proportions) == n_batches and all(0 < p < math.inf for p in self.batch_proportions)
            expect(self, "batch_proportions", ok, f"{n_batches} numbers above 0, one for each entry of `mosaic`")
        expect(self, "n_proteins", self.n_proteins <= self.n_genes, f"no more than the {self.n_genes} genes to link to")
        fewest = min(self.n_genes, self.n_peaks)
        expect(self, "n_chromosomes", self.n_chromosomes <= fewest, f"no more than the {fewest} genes or peaks on them")
        least = 3 if self.branch else 1
        expect(self, "n_types", self.n_types >= least, f"{least} or more (branch={self.branch} needs {least})")
        for name in ("cell_noise", "batch_strength", "depth_shift", "library_spread", "proportion_variation"):
            most = _LARGEST_LOG
            expect(self, name, 0 <= getattr(self, name) <= most, f"from 0 to {most}, beyond which counts overflow")
        for name in ("rna_depth", "adt_depth"):
            expect(self, name, getattr(self, name) > 0, "a number of counts above 0")
        expect(self, "peak_density", 0 < self.peak_density <= 0.5, "a share above 0, up to 0.5")
        for name in ("linked_fraction", "link_strength", "adt_background", "unpaired_fraction"):
            expect(self, name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        for name in ("unmeasured_genes", "unmeasured_proteins", "unmeasured_peaks"):
            expect(self, name, 0 <= getattr(self, name) < 1, "a share from 0 up to, not including, 1")
        most = self.n_types // 2 if n_batches > 1 else 0
        ok = isinstance(self.types_missing_per_batch, int) and 0 <= self.types_missing_per_batch <= most
        expect(
            self,
            "types_missing_per_batch",
            ok,
            f"a whole number from 0 to {most}, so that every type stays in some batch",
        )

    @property
    def patterns(self) -> tuple[frozenset[str], ...]:
        """Modalities of each batch.

        Examples
        --------
        >>> [sorted(modalities) for modalities in midas.simulate.SimulationConfig(mosaic=("rna", "rna+adt")).patterns]
        [['rna'], ['adt', 'rna']]
        """
        return tuple(frozenset(str(entry).split("+")) for entry in self.mosaic)

    @property
    def batches(self) -> tuple[str, ...]:
        """Names of the batches, in order.

        Examples
        --------
        >>> midas.simulate.SimulationConfig(mosaic=("rna", "rna+adt")).batches
        ('batch1', 'batch2')
        """
        return tuple(f"batch{b + 1}" for b in range(len(self.mosaic)))

    @property
    def batch_sizes(self) -> NDArray[np.int64]:
        """Cells of each batch; they sum to `n_cells`, and no batch is empty.

        Examples
        --------
        >>> midas.simulate.SimulationConfig(mosaic=("rna", "rna+adt"), n_cells=90).batch_sizes
        array([45, 45])
        """
        share = np.asarray(self.batch_proportions or np.ones(len(self.mosaic)), dtype=np.float64)
        ends = np.round(np.cumsum(share / share.sum()) * (self.n_cells - len(share)))
        # One cell is reserved for each batch, so that none is empty.
        sizes: NDArray[np.int64] = 1 + np.diff(ends, prepend=0.0).astype(np.int64)
        return sizes

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the cell types, neighbours in the tree next to each other.

        Examples
        --------
        >>> midas.simulate.SimulationConfig(n_types=4).types
        ('type1', 'progenitor', 'mature_a', 'mature_b')
        """
        discrete = self.n_types - 3 * self.branch
        return (*(f"type{k + 1}" for k in range(discrete)), *(BRANCH_TYPES if self.branch else ()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that can be written to a file; None is left out.

        Examples
        --------
        >>> midas.simulate.SimulationConfig(n_cells=90).to_dict()["n_cells"]
        90
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def canonical(entry: str | Iterable[str]) -> str:
    """Write a batch's modalities as ``rna+adt+atac``, in that order."""
    names = {part.strip().lower() for part in (entry.split("+") if isinstance(entry, str) else entry)}
    if not names or not names <= set(MODALITIES):
        msg = f"SimulationConfig.mosaic: expected modalities out of {MODALITIES} joined by '+', found {entry!r}."
        raise ValueError(msg)
    return "+".join(m for m in MODALITIES if m in names)


def generator(seed: int, *key: int) -> np.random.Generator:
    """Create the generator of one draw: the same key gives the same numbers, whatever else was drawn before."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def batches_with(name: str, config: SimulationConfig) -> list[int]:
    """Positions of the batches that measure a modality."""
    return [b for b, pattern in enumerate(config.patterns) if name in pattern]
