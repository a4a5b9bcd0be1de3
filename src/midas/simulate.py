"""Trimodal mosaics with known truth: a tree of cell types, a continuous branch, linked features, batch effects.

A cell's biological state is a point z in a latent space. Each feature has a base level and loadings on z; a protein or
a peak that is linked to a gene shares part of the gene's loadings. A batch multiplies every feature by a factor of its
own and has its own depth. Counts are drawn in blocks of rows and kept sparse, so memory grows with the non-zero counts.

Every random draw has a generator of its own, keyed by what is drawn (see :func:`_rng`): a modality's counts in a batch
are the same whether or not other modalities or batches are made.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.optimize import brentq

from midas.keys import MEASURED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

MODALITIES: Final = ("rna", "adt", "atac")
TRUTH: Final = "X_truth"  # obsm: the biological state z
_BRANCH_TYPES: Final = ("progenitor", "mature_a", "mature_b")
_FORK: Final = 0.4  # position on the branch at which the two mature ends part
_BLOCK_ENTRIES: Final = 8_000_000  # dense entries of a block of rows, 32 MB in float32
# First words of the generators' keys.
_WORLD, _FEATURES, _CELLS, _EFFECT, _COUNTS, _HIDING, _PANEL = range(7)


@dataclass(frozen=True)
class SimulationConfig:
    """What to simulate.

    Attributes
    ----------
    mosaic
        One entry per batch: its modalities, as ``"rna+adt"`` or ``{"rna", "adt"}``; kept as ``"rna+adt"``.
    n_cells
        Cells of all batches together.
    batch_proportions
        Relative sizes of the batches; equal when None.
    n_genes, n_proteins, n_peaks
        Features of ``rna``, ``adt`` and ``atac``.
    n_chromosomes
        Chromosomes that genes and peaks lie on.
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
        Share of protein counts that come from unbound antibodies, whatever the cell.
    peak_density
        Mean share of accessible peaks per cell at median depth.
    linked_fraction
        Share of peaks that are linked to a gene of their chromosome; all proteins are linked to a gene.
    link_strength
        Correlation of the loadings of linked features.
    proportion_variation
        Standard deviation of a type's log frequency between batches.
    types_missing_per_batch
        Number of types that each batch lacks; every type stays in some batch.
    unmeasured_genes, unmeasured_proteins, unmeasured_peaks
        Share of features that a batch's panel lacks. If above 0, ``var["measured_<batch>"]`` says which are measured;
        every feature stays in some batch.
    unpaired_fraction
        Share of the cells of a batch of several modalities that lack one of them, drawn at random.
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
        self._check("mosaic", not isinstance(entries, str), "a tuple with one entry per batch, such as ('rna+adt',)")
        object.__setattr__(self, "mosaic", tuple(_canonical(entry) for entry in self.mosaic))
        n_batches = len(self.mosaic)
        self._check("mosaic", n_batches >= 1, "one entry per batch, such as ('rna+adt', 'atac')")
        for name in ("n_cells", "n_genes", "n_proteins", "n_peaks", "n_chromosomes", "n_types", "n_latent"):
            value = getattr(self, name)
            self._check(name, isinstance(value, int) and value >= 1, "a whole number of 1 or more")
        self._check("n_cells", self.n_cells >= n_batches, f"at least one cell for each of the {n_batches} batches")
        if self.batch_proportions is not None:
            object.__setattr__(self, "batch_proportions", tuple(float(p) for p in self.batch_proportions))
            ok = len(self.batch_proportions) == n_batches and min(self.batch_proportions) > 0
            self._check("batch_proportions", ok, f"{n_batches} numbers above 0, one for each entry of `mosaic`")
        self._check("n_proteins", self.n_proteins <= self.n_genes, f"no more than the {self.n_genes} genes to link to")
        fewest = min(self.n_genes, self.n_peaks)
        self._check("n_chromosomes", self.n_chromosomes <= fewest, f"no more than the {fewest} genes or peaks on them")
        least = 3 if self.branch else 1
        self._check("n_types", self.n_types >= least, f"{least} or more (branch={self.branch} needs {least})")
        for name in ("cell_noise", "batch_strength", "depth_shift", "library_spread", "proportion_variation"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("rna_depth", "adt_depth"):
            self._check(name, getattr(self, name) > 0, "a number of counts above 0")
        self._check("peak_density", 0 < self.peak_density <= 0.5, "a share above 0, up to 0.5")
        for name in ("linked_fraction", "link_strength", "adt_background", "unpaired_fraction"):
            self._check(name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        for name in ("unmeasured_genes", "unmeasured_proteins", "unmeasured_peaks"):
            self._check(name, 0 <= getattr(self, name) < 1, "a share from 0 up to, not including, 1")
        most = self.n_types // 2 if n_batches > 1 else 0
        ok = 0 <= self.types_missing_per_batch <= most
        self._check("types_missing_per_batch", ok, f"0 to {most}, so that every type stays in some batch")

    @property
    def patterns(self) -> tuple[frozenset[str], ...]:
        """Modalities of each batch."""
        return tuple(frozenset(str(entry).split("+")) for entry in self.mosaic)

    @property
    def batches(self) -> tuple[str, ...]:
        """Names of the batches, in order."""
        return tuple(f"batch{b + 1}" for b in range(len(self.mosaic)))

    @property
    def batch_sizes(self) -> NDArray[np.int64]:
        """Cells of each batch; they sum to `n_cells`, and no batch is empty."""
        share = np.asarray(self.batch_proportions or np.ones(len(self.mosaic)), dtype=np.float64)
        ends = np.round(np.cumsum(share / share.sum()) * (self.n_cells - len(share)))
        # One cell is set aside for each batch, so that none is empty.
        sizes: NDArray[np.int64] = 1 + np.diff(ends, prepend=0.0).astype(np.int64)
        return sizes

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the cell types, neighbours in the tree next to each other."""
        discrete = self.n_types - 3 * self.branch
        return (*(f"type{k + 1}" for k in range(discrete)), *(_BRANCH_TYPES if self.branch else ()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that can be written to a file; None is left out."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}

    def _check(self, name: str, ok: bool, expected: str) -> None:  # noqa: FBT001 - a private assertion
        if not ok:
            msg = f"SimulationConfig.{name}: expected {expected}, found {getattr(self, name)!r}."
            raise ValueError(msg)


@dataclass(frozen=True)
class Simulation:
    """A mosaic and what it hides.

    Attributes
    ----------
    mdata
        The mosaic, equal to what :func:`mosaic` gives.
    full
        The same cells in the same order with all counts of all modalities, those of unmeasured features included.
    """

    mdata: md.MuData
    full: md.MuData


@dataclass(frozen=True)
class _Cells:
    """All cells in order: `obs`, state (cells x latent), and for each modality which cells have it (cells,)."""

    obs: pd.DataFrame
    state: NDArray[np.float32]
    has: Mapping[str, NDArray[np.bool_]]
    starts: NDArray[np.int64]  # first cell of each batch, and the end


@dataclass(frozen=True)
class _Features:
    """One modality: loadings (features x latent), log base level and log extra-Poisson noise (features,)."""

    name: str
    var: pd.DataFrame
    loadings: NDArray[np.float32]
    base: NDArray[np.float32]
    noise: NDArray[np.float32] | None
    depth: float  # median events per cell
    unmeasured: float
    background: float = 0.0
    binary: bool = False


def mosaic(config: SimulationConfig | None = None, *, seed: int = 0) -> md.MuData:
    """Simulate a mosaic; only counts that some cell of the mosaic has are drawn.

    Parameters
    ----------
    config
        What to simulate; ``SimulationConfig()`` when None.
    seed
        The same seed gives the same result, whatever the state of other generators.

    Returns
    -------
    MuData with float32 CSR counts (ATAC: 0 and 1). ``obs``: ``batch``, ``cell_type``, ``lineage`` (first split of the
    tree) and ``branch_position`` (0 to 1 from progenitor to mature, NaN off the branch); ``obsm["X_truth"]``: the
    biological state (cells x n_latent); ``var["gene"]`` of ``adt`` and ``atac``: the linked gene, ``""`` for none;
    ``var["chrom"]`` of ``rna`` and ``atac``; ``uns["simulation"]``: the configuration and the seed.
    """
    config = config or SimulationConfig()
    cells = _cells(config, seed)
    parts = {}
    for features in _all_features(config, seed):
        batches = _batches_with(features.name, config)
        if batches:
            counts = _counts(features, cells, batches, config, seed)
            parts[features.name] = _hide(counts, features, cells, config, seed)
    return _mudata(parts, cells, config, seed)


def mosaic_with_truth(config: SimulationConfig | None = None, *, seed: int = 0) -> Simulation:
    """Simulate a mosaic together with the counts that it hides; see :func:`mosaic`."""
    config = config or SimulationConfig()
    cells = _cells(config, seed)
    parts, full = {}, {}
    for features in _all_features(config, seed):
        counts = _counts(features, cells, range(len(config.batches)), config, seed)
        full[features.name] = ad.AnnData(counts, obs=_modality_obs(cells), var=features.var.copy())
        batches = _batches_with(features.name, config)
        if batches:
            parts[features.name] = _hide(counts[_rows_of(batches, cells)], features, cells, config, seed)
    return Simulation(_mudata(parts, cells, config, seed), _mudata(full, cells, config, seed))


def _canonical(entry: str | Iterable[str]) -> str:
    names = {part.strip().lower() for part in (entry.split("+") if isinstance(entry, str) else entry)}
    if not names or not names <= set(MODALITIES):
        msg = f"SimulationConfig.mosaic: expected modalities out of {MODALITIES} joined by '+', found {entry!r}."
        raise ValueError(msg)
    return "+".join(m for m in MODALITIES if m in names)


def _rng(seed: int, *key: int) -> np.random.Generator:
    """Make the generator of one draw: the same key gives the same numbers, whatever else is drawn before."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _batches_with(name: str, config: SimulationConfig) -> list[int]:
    return [b for b, pattern in enumerate(config.patterns) if name in pattern]


def _rows_of(batches: list[int], cells: _Cells) -> NDArray[np.bool_]:
    return np.isin(cells.obs["batch"].cat.codes.to_numpy(), batches)


# --- cells ------------------------------------------------------------------------------------------------------------


def _tree(n_leaves: int, start: NDArray[np.float64], rng: np.random.Generator, step: float = 1.0) -> list[Any]:
    """Positions (latent,) of the leaves of a balanced tree; steps shrink by 0.7 from split to split."""
    if n_leaves == 1:
        return [start]
    left, right = (start + step * rng.standard_normal(start.size) for _ in range(2))
    half = n_leaves // 2
    return _tree(n_leaves - half, left, rng, 0.7 * step) + _tree(half, right, rng, 0.7 * step)


def _centres(config: SimulationConfig, seed: int) -> NDArray[np.float64]:
    """Positions of the types (types x latent); the branch grows out of the last leaf."""
    rng = _rng(seed, _WORLD)
    centres = _tree(config.n_types - 2 * config.branch, np.zeros(config.n_latent), rng)
    if config.branch:
        centres += [centres[-1] + rng.standard_normal(config.n_latent) for _ in range(2)]
    return np.stack(centres)


def _cells(config: SimulationConfig, seed: int) -> _Cells:
    centres, types, sizes = _centres(config, seed), config.types, config.batch_sizes
    world = _rng(seed, _WORLD, 1)
    weight, order = world.normal(0, 0.5, len(types)), world.permutation(len(types))
    has = {m: np.zeros(config.n_cells, dtype=np.bool_) for m in MODALITIES}
    starts = np.concatenate([[0], np.cumsum(sizes)])
    kinds, positions, states = [], [], []
    for b, (size, pattern) in enumerate(zip(sizes, config.patterns, strict=True)):
        rng = _rng(seed, _CELLS, b)
        frequency = np.exp(weight + config.proportion_variation * rng.standard_normal(len(types)))
        missing = config.types_missing_per_batch
        frequency[order[(b * missing + np.arange(missing)) % len(types)]] = 0
        kind = rng.choice(len(types), size, p=frequency / frequency.sum())
        position, state = rng.random(size), centres[kind]
        if config.branch:
            position, state = _along_branch(kind - (len(types) - 3), position, state, centres[-3:])
        kinds.append(kind)
        positions.append(position if config.branch else np.full(size, np.nan))
        states.append(state + config.cell_noise * rng.standard_normal(state.shape))
        for m, present in _presence(pattern, int(size), config, _rng(seed, _HIDING, b)).items():
            has[m][starts[b] : starts[b + 1]] = present
    kind = np.concatenate(kinds)
    leaves = config.n_types - 2 * config.branch  # of the tree without the branch, which belongs to the last of them
    lineage = np.where((kind < leaves - leaves // 2) | (leaves == 1), "lineage1", "lineage2")
    width = max(6, len(str(config.n_cells)))
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical.from_codes(
                np.repeat(np.arange(len(sizes)), sizes).astype(np.int64), categories=pd.Index(config.batches)
            ),
            "cell_type": pd.Categorical.from_codes(kind.astype(np.int64), categories=pd.Index(types)),
            "lineage": pd.Categorical(lineage),
            "branch_position": np.concatenate(positions),
        },
        index=pd.Index([f"cell{i + 1:0{width}d}" for i in range(config.n_cells)]),
    )
    return _Cells(obs, np.concatenate(states).astype(np.float32), has, starts)


def _along_branch(
    kind: NDArray[np.int64], uniform: NDArray[np.float64], state: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place cells of kind 0 (progenitor), 1 and 2 (mature) on the branch; others (below 0) stay, at position NaN."""
    fork = ends[0] + _FORK * (ends[1:].mean(0) - ends[0])
    position = np.where(kind < 0, np.nan, np.where(kind == 0, _FORK * uniform, _FORK + (1 - _FORK) * uniform))
    state = state.copy()
    for k, (origin, end) in enumerate(((ends[0], fork), (fork, ends[1]), (fork, ends[2]))):
        at = kind == k
        state[at] = origin + uniform[at, None] * (end - origin)
    return position, state


def _presence(
    pattern: frozenset[str], size: int, config: SimulationConfig, rng: np.random.Generator
) -> dict[str, NDArray[np.bool_]]:
    """Which cells of a batch have which of its modalities, each (size,)."""
    names = [m for m in MODALITIES if m in pattern]
    lost = np.full(size, -1)
    if len(names) > 1:
        unpaired = rng.random(size) < config.unpaired_fraction
        lost[unpaired] = rng.integers(len(names), size=int(unpaired.sum()))
    return {m: lost != k for k, m in enumerate(names)}


# --- features ---------------------------------------------------------------------------------------------------------


def _all_features(config: SimulationConfig, seed: int) -> Sequence[_Features]:
    """Features of all three modalities: their names, links and loadings."""
    n_genes, n_proteins, n_peaks = config.n_genes, config.n_proteins, config.n_peaks
    centres = _centres(config, seed)

    rng = _rng(seed, _FEATURES, 0)
    # Most genes say little about the type, a few a lot.
    strength = np.where(rng.random(n_genes) < 0.4, np.minimum(rng.gamma(3.0, 0.22, n_genes), 1.5), 0.05)
    gene_loadings = strength[:, None] * _directions(n_genes, config, rng)
    genes = _names("GENE", n_genes, 4)
    gene_chrom = np.arange(n_genes) * config.n_chromosomes // n_genes
    rna = _Features(
        name="rna",
        var=pd.DataFrame({"chrom": _chrom_names(gene_chrom)}, index=pd.Index(genes)),
        loadings=gene_loadings.astype(np.float32),
        base=_base(np.minimum(rng.normal(0, 1.8, n_genes), 3.5), gene_loadings, centres),
        noise=rng.gamma(4.0, 0.1, n_genes).astype(np.float32),
        depth=config.rna_depth,
        unmeasured=config.unmeasured_genes,
    )

    rng = _rng(seed, _FEATURES, 1)
    # Antibodies are made against markers, so strong genes are chosen.
    marker = np.sort(rng.choice(n_genes, n_proteins, replace=False, p=strength / strength.sum()))
    protein_loadings = _linked(gene_loadings[marker], strength[marker], config, rng)
    adt = _Features(
        name="adt",
        var=pd.DataFrame({"gene": genes[marker]}, index=pd.Index(_names("PROT", n_proteins, 2))),
        loadings=protein_loadings.astype(np.float32),
        base=_base(rng.normal(0, 1.3, n_proteins), protein_loadings, centres),
        noise=rng.gamma(4.0, 0.08, n_proteins).astype(np.float32),
        depth=config.adt_depth,
        background=config.adt_background,
        unmeasured=config.unmeasured_proteins,
    )

    rng = _rng(seed, _FEATURES, 2)
    chrom = np.arange(n_peaks) * config.n_chromosomes // n_peaks
    first, last = np.searchsorted(gene_chrom, chrom, side="left"), np.searchsorted(gene_chrom, chrom, side="right")
    # A gene of the same chromosome; genes are numbered along the genome, so sorting lays a gene's peaks together.
    gene = np.sort(first + np.floor(rng.random(n_peaks) * (last - first)).astype(np.int64))
    linked = rng.random(n_peaks) < config.linked_fraction
    start = 1000 * (1 + np.arange(n_peaks) - np.searchsorted(chrom, chrom, side="left"))
    peaks = [f"{c}:{s}-{s + 500}" for c, s in zip(_chrom_names(chrom), start, strict=True)]
    unlinked_loadings = rng.permutation(strength[gene])[:, None] * _directions(n_peaks, config, rng)
    loadings = np.where(linked[:, None], _linked(gene_loadings[gene], strength[gene], config, rng), unlinked_loadings)
    base = _base(rng.normal(0, 0.8, n_peaks), loadings, centres)
    atac = _Features(
        name="atac",
        var=pd.DataFrame(
            {"chrom": _chrom_names(chrom), "gene": np.where(linked, genes[gene], "")}, index=pd.Index(peaks)
        ),
        loadings=loadings.astype(np.float32),
        base=base,
        noise=None,
        depth=_fragments(config.peak_density, centres @ loadings.T + base),
        binary=True,
        unmeasured=config.unmeasured_peaks,
    )
    return rna, adt, atac


def _names(stem: str, n: int, width: int) -> NDArray[np.object_]:
    return np.array([f"{stem}{i + 1:0{max(width, len(str(n)))}d}" for i in range(n)], dtype=object)


def _chrom_names(chrom: NDArray[np.int64]) -> list[str]:
    return [f"chr{c + 1}" for c in chrom]


def _directions(n: int, config: SimulationConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random loadings (n x latent) of squared length 4 on average, whatever the number of dimensions."""
    return rng.normal(0, 2 / np.sqrt(config.n_latent), (n, config.n_latent))


def _linked(
    gene_loadings: NDArray[np.float64],
    strength: NDArray[np.float64],
    config: SimulationConfig,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw loadings that share `link_strength` with those of the gene, and are as strong."""
    own = strength[:, None] * _directions(len(strength), config, rng)
    rho = config.link_strength
    loadings: NDArray[np.float64] = rho * gene_loadings + np.sqrt(1 - rho**2) * own
    return loadings


def _base(
    log_mean: NDArray[np.float64], loadings: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Find the log base levels (features,) that give a mean over the types of exp(log_mean)."""
    base: NDArray[np.float64] = log_mean - np.log(np.exp(centres @ loadings.T).mean(0))
    return base.astype(np.float32)


def _fragments(density: float, logits: NDArray[np.float64]) -> float:
    """Fragments per cell for which a share `density` of peaks has at least one; logits (types x peaks)."""
    profile = np.exp(logits - logits.max(1, keepdims=True))
    profile /= profile.sum(1, keepdims=True)
    low = float(np.log(density * logits.shape[1]))  # without any overlap of fragments
    root: float = brentq(lambda log_n: np.mean(-np.expm1(-np.exp(log_n) * profile)) - density, low - 1, low + 15)
    return float(np.exp(root))


# --- counts -----------------------------------------------------------------------------------------------------------


def _counts(
    features: _Features, cells: _Cells, batches: Iterable[int], config: SimulationConfig, seed: int
) -> sp.csr_matrix:
    """Draw the counts of all cells of `batches` (cells x features)."""
    m, n_features = MODALITIES.index(features.name), len(features.base)
    rows = max(1, _BLOCK_ENTRIES // n_features)
    blocks = []
    for b in batches:
        effect = _rng(seed, _EFFECT, m, b)
        depth_of_batch = features.depth * np.exp(config.depth_shift * effect.standard_normal())
        level = features.base + (config.batch_strength * effect.standard_normal(n_features)).astype(np.float32)
        state = cells.state[cells.starts[b] : cells.starts[b + 1]]
        # One stream for each kind of number, so that the size of a block changes nothing.
        library, *streams = (_rng(seed, _COUNTS, m, b, k) for k in range(4))
        depth = depth_of_batch * np.exp(config.library_spread * library.standard_normal((len(state), 1)))
        for i in range(0, len(state), rows):
            block = slice(i, i + rows)
            rate = _rates(features, state[block], level, depth[block].astype(np.float32), streams[0])
            blocks.append(_poisson(rate, streams[1], streams[2], binary=features.binary))
    return sp.csr_matrix(sp.vstack(blocks, format="csr"))


def _rates(
    features: _Features,
    state: NDArray[np.float32],
    level: NDArray[np.float32],
    depth: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Compute expected counts (cells x features); state (cells x latent), level (features,), depth (cells x 1)."""
    rate = state @ features.loadings.T
    rate += level
    if features.noise is not None:
        rate += features.noise * rng.standard_normal(rate.shape, dtype=np.float32)
    rate -= rate.max(axis=1, keepdims=True)
    np.exp(rate, out=rate)
    rate *= (1 - features.background) * depth / rate.sum(axis=1, keepdims=True)
    if features.background > 0:
        ambient = np.exp(level - level.max())
        rate += features.background * depth * (ambient / ambient.sum())
    return rate


def _poisson(
    rate: NDArray[np.float32], first: np.random.Generator, rest: np.random.Generator, *, binary: bool
) -> sp.csr_matrix:
    """Poisson counts of `rate` (cells x features), or whether there are any; exact, and cheap where most are zero.

    A Poisson count is the number of arrivals before time `rate`. The first arrival, at an exponential time, tells zero
    from non-zero; only for the non-zero entries the arrivals in the rest of the time are drawn.
    """
    arrival = first.random(rate.shape, dtype=np.float32)
    np.negative(arrival, out=arrival)
    np.log1p(arrival, out=arrival)
    arrival += rate  # the time that is left after the first arrival
    hit = arrival > 0
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(hit, axis=1))])
    flat = np.flatnonzero(hit)
    indices = (flat % rate.shape[1]).astype(np.int32)
    data = np.ones(flat.size, dtype=np.float32)
    if not binary:
        data += rest.poisson(arrival.ravel()[flat])
    return sp.csr_matrix((data, indices, indptr.astype(np.int32)), shape=rate.shape)


# --- the mosaic -------------------------------------------------------------------------------------------------------


def _hide(counts: sp.csr_matrix, features: _Features, cells: _Cells, config: SimulationConfig, seed: int) -> ad.AnnData:
    """Keep what the mosaic has of the counts of the batches with this modality."""
    batches = _batches_with(features.name, config)
    var = features.var.copy()
    if features.unmeasured > 0:
        panels = _panels(features, len(batches), _rng(seed, _PANEL, MODALITIES.index(features.name)))
        ends = np.cumsum(config.batch_sizes[batches])
        parts = np.split(np.arange(counts.shape[0]), ends[:-1])
        measured = []
        for b, rows, panel in zip(batches, parts, panels, strict=True):
            part = counts[rows]
            part.data *= panel[part.indices]
            part.eliminate_zeros()
            measured.append(part)
            var[MEASURED_PREFIX + config.batches[b]] = panel
        counts = sp.csr_matrix(sp.vstack(measured, format="csr"))
    has = cells.has[features.name]
    present = has[_rows_of(batches, cells)]
    if not present.all():
        counts = counts[present]
    return ad.AnnData(counts, obs=_modality_obs(cells).loc[has].copy(), var=var)


def _panels(features: _Features, n_batches: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which features each batch measures (batches x features)."""
    n = len(features.base)
    panels = np.ones((n_batches, n), dtype=np.bool_)
    for panel in panels:
        panel[rng.permutation(n)[: round(features.unmeasured * n)]] = False
    nowhere = np.flatnonzero(~panels.any(axis=0))
    panels[rng.integers(n_batches, size=nowhere.size), nowhere] = True
    return panels


def _modality_obs(cells: _Cells) -> pd.DataFrame:
    return cells.obs[["batch", "cell_type"]].copy()


def _mudata(parts: Mapping[str, ad.AnnData], cells: _Cells, config: SimulationConfig, seed: int) -> md.MuData:
    """Join the modalities under all cells, in their order."""
    with md.set_options(pull_on_update=False):
        # An index without columns fixes the order of the cells and leaves dtypes alone.
        mdata = md.MuData(dict(parts), obs=pd.DataFrame(index=cells.obs.index))
    for column in cells.obs:
        mdata.obs[column] = cells.obs[column]
    mdata.obsm[TRUTH] = cells.state
    mdata.uns["simulation"] = {**config.to_dict(), "seed": seed}
    return mdata
