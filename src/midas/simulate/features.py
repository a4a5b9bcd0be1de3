"""Features: base levels, loadings on the state, links of proteins and peaks to genes, batch effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from midas.simulate.cells import type_centres
from midas.simulate.config import FEATURES, SimulationConfig, generator


@dataclass(frozen=True)
class Features:
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


@dataclass(frozen=True)
class _Genes:
    """What proteins and peaks link to: name, chromosome and loadings of each gene, and how strongly it depends on the type."""

    names: NDArray[np.object_]
    chrom: NDArray[np.int64]
    strength: NDArray[np.float64]
    loadings: NDArray[np.float64]


def make_features(config: SimulationConfig, seed: int) -> Sequence[Features]:
    """Features of all three modalities: their names, links and loadings."""
    centres = type_centres(config, seed)
    genes, rna = _rna(config, seed, centres)
    return rna, _adt(genes, config, seed, centres), _atac(genes, config, seed, centres)


def _rna(config: SimulationConfig, seed: int, centres: NDArray[np.float64]) -> tuple[_Genes, Features]:
    n, rng = config.n_genes, generator(seed, FEATURES, 0)
    # Most genes depend little on the type, a few strongly.
    strength = np.where(rng.random(n) < 0.4, np.minimum(rng.gamma(3.0, 0.22, n), 1.5), 0.05)
    loadings = strength[:, None] * _directions(n, config, rng)
    genes = _Genes(_names("GENE", n, 4), np.arange(n) * config.n_chromosomes // n, strength, loadings)
    return genes, Features(
        name="rna",
        var=pd.DataFrame({"chrom": _chrom_names(genes.chrom)}, index=pd.Index(genes.names)),
        loadings=loadings.astype(np.float32),
        base=_base(np.minimum(rng.normal(0, 1.8, n), 3.5), loadings, centres),
        noise=rng.gamma(4.0, 0.1, n).astype(np.float32),
        depth=config.rna_depth,
        unmeasured=config.unmeasured_genes,
    )


def _adt(genes: _Genes, config: SimulationConfig, seed: int, centres: NDArray[np.float64]) -> Features:
    n, rng = config.n_proteins, generator(seed, FEATURES, 1)
    # Antibodies are made against markers, so genes with a strong signal are chosen.
    share = genes.strength / genes.strength.sum()
    marker = np.sort(rng.choice(len(share), n, replace=False, p=share))
    loadings = _linked(genes, marker, config, rng)
    return Features(
        name="adt",
        var=pd.DataFrame({"gene": genes.names[marker]}, index=pd.Index(_names("PROT", n, 2))),
        loadings=loadings.astype(np.float32),
        base=_base(rng.normal(0, 1.3, n), loadings, centres),
        noise=rng.gamma(4.0, 0.08, n).astype(np.float32),
        depth=config.adt_depth,
        background=config.adt_background,
        unmeasured=config.unmeasured_proteins,
    )


def _atac(genes: _Genes, config: SimulationConfig, seed: int, centres: NDArray[np.float64]) -> Features:
    n, rng = config.n_peaks, generator(seed, FEATURES, 2)
    chrom = np.arange(n) * config.n_chromosomes // n
    first, last = (np.searchsorted(genes.chrom, chrom, side=side) for side in ("left", "right"))
    # A gene on the same chromosome; genes are numbered along the genome, so sorting keeps a gene's peaks together.
    gene = np.sort(first + np.floor(rng.random(n) * (last - first)).astype(np.int64))
    linked = rng.random(n) < config.linked_fraction
    start = 1000 * (1 + np.arange(n) - np.searchsorted(chrom, chrom, side="left"))
    peaks = [f"{c}:{s}-{s + 500}" for c, s in zip(_chrom_names(chrom), start, strict=True)]
    of_their_own = rng.permutation(genes.strength[gene])[:, None] * _directions(n, config, rng)
    loadings = np.where(linked[:, None], _linked(genes, gene, config, rng), of_their_own)
    base = _base(rng.normal(0, 0.8, n), loadings, centres)
    return Features(
        name="atac",
        var=pd.DataFrame(
            {"chrom": _chrom_names(chrom), "gene": np.where(linked, genes.names[gene], "")}, index=pd.Index(peaks)
        ),
        loadings=loadings.astype(np.float32),
        base=base,
        noise=None,
        depth=_fragments(config.peak_density, centres @ loadings.T + base),
        binary=True,
        unmeasured=config.unmeasured_peaks,
    )


def _names(stem: str, n: int, width: int) -> NDArray[np.object_]:
    return np.array([f"{stem}{i + 1:0{max(width, len(str(n)))}d}" for i in range(n)], dtype=object)


def _chrom_names(chrom: NDArray[np.int64]) -> list[str]:
    return [f"chr{c + 1}" for c in chrom]


def _directions(n: int, config: SimulationConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random loadings (n x latent) of squared length 4 on average, whatever the number of dimensions."""
    return rng.normal(0, 2 / np.sqrt(config.n_latent), (n, config.n_latent))


def _linked(
    genes: _Genes, gene: NDArray[np.int64], config: SimulationConfig, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw loadings that share `link_strength` with those of each feature's `gene`, and are equally strong."""
    own = genes.strength[gene][:, None] * _directions(len(gene), config, rng)
    rho = config.link_strength
    loadings: NDArray[np.float64] = rho * genes.loadings[gene] + np.sqrt(1 - rho**2) * own
    return loadings


def _base(
    log_mean: NDArray[np.float64], loadings: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Find the log base levels (features,) that give a mean over the types of exp(log_mean)."""
    base: NDArray[np.float64] = log_mean - np.log(np.exp(centres @ loadings.T).mean(0))
    return base.astype(np.float32)


def _fragments(density: float, logits: NDArray[np.float64]) -> float:
    """Fragments per cell for which a share `density` of peaks has at least one; logits (types x peaks)."""
    from scipy.optimize import brentq  # noqa: PLC0415 - 40 MB that nothing else needs

    profile = np.exp(logits - logits.max(1, keepdims=True))
    profile /= profile.sum(1, keepdims=True)
    low = float(np.log(density * logits.shape[1]))  # without any overlap of fragments
    root: float = brentq(lambda log_n: np.mean(-np.expm1(-np.exp(log_n) * profile)) - density, low - 1, low + 15)
    return float(np.exp(root))
