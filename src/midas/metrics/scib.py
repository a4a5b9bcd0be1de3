"""scIB metrics (Luecken et al. 2022) as in He et al. (2024): batch mixing and preservation of types, on embeddings or graphs.

The definitions follow scib-metrics 0.5, but need only numpy, scikit-learn and igraph: that package takes minutes to compile,
while the scores take seconds. ``scib_package.py`` calls the package itself.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackError, eigsh
from scipy.stats import chi2
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from midas import keys
from midas.extras import needs
from midas.metrics import scib_package
from midas.metrics.inputs import dense, same_cells
from midas.metrics.labels import cells_by_label, complete, known_labels, some_labels
from midas.metrics.neighbours import Neighbours, neighbours
from midas.metrics.scib_package import CLUSTER_K, KBET_K, LISI_K

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BATCH_SCORES: Final = ("ilisi", "graph_connectivity", "kbet")
BIO_SCORES: Final = ("nmi", "ari", "isolated_label_f1", "clisi")
RESOLUTIONS: Final = tuple(round(0.2 * i, 1) for i in range(1, 11))
"""Resolutions of the Leiden clusterings from which the best is chosen."""
Engine: TypeAlias = Literal["own", "scib-metrics"]
"""Implementation that computes the scores."""

_PERPLEXITY = 30
_REASONS: Final[Mapping[str, str]] = MappingProxyType({"kbet": "no label of 10 cells or more is in two batches"})


@dataclass(frozen=True)
class ScibScores:
    """All scores from 0 to 1, 1 is best; NaN if a score is not available.

    Attributes
    ----------
    ilisi
        Median over cells of the inverse Simpson index of batches among neighbours; 0 for one batch, 1 for an even mix.
    graph_connectivity
        Mean over labels of the share of a label's cells in its largest strongly connected component.
    kbet
        Mean over labels of the share of cells whose neighbourhood passes a chi-squared test against the label's batch
        composition.
    nmi, ari
        Agreement of labels with the Leiden clustering, at the resolution with the highest NMI.
    isolated_label_f1
        Best F1 of a cluster at any resolution, averaged over the labels found in the fewest batches.
    clisi
        As `ilisi`, for labels: 1 for one label, 0 for an even mix.
    note
        Which scores are not available, and why.
    """

    ilisi: float
    graph_connectivity: float
    kbet: float
    nmi: float
    ari: float
    isolated_label_f1: float
    clisi: float
    note: str = ""

    @property
    def batch(self) -> float:
        """Mean of iLISI, graph connectivity and kBET."""
        return _mean([getattr(self, name) for name in BATCH_SCORES])

    @property
    def bio(self) -> float:
        """Mean of NMI, ARI, isolated-label F1 and cLISI."""
        return _mean([getattr(self, name) for name in BIO_SCORES])

    @property
    def overall(self) -> float:
        """0.4 batch + 0.6 bio; only one of them if the other is not available."""
        return _weighted((0.4, self.batch), (0.6, self.bio))

    def to_series(self) -> pd.Series:
        """The individual scores, then ``batch``, ``bio`` and ``overall``."""
        scores = {name: value for name, value in asdict(self).items() if name != "note"}
        return pd.Series(scores | {"batch": self.batch, "bio": self.bio, "overall": self.overall}, dtype=float)


def scib(
    x: ArrayLike | sp.spmatrix | Neighbours,
    batch: Sequence[str] | ArrayLike,
    labels: Sequence[str] | ArrayLike,
    *,
    unlabelled: Sequence[str] = keys.NO_LABEL,
    seed: int = 0,
    engine: Engine = "own",
) -> ScibScores:
    """Score an embedding or a graph by seven scIB metrics (Luecken et al. 2022).

    LISI uses 90 neighbours with perplexity 30, kBET a graph of 50, clustering and connectivity a graph of 15, like the
    Benchmarker of scib-metrics. Leiden clusterings use the resolutions 0.2, 0.4, ..., 2.

    Parameters
    ----------
    x
        `(n_cells, dim)`, dense or sparse, or the neighbours of each cell, about 90.
    batch, labels
        Of each cell.
    unlabelled
        Labels that mean "no label", case-insensitive. Such cells, and those with a missing label (NaN), are left out. A graph
        must be built without them.
    seed
        Seed of the clustering.
    engine
        ``"own"``, or ``"scib-metrics"`` for that package (extra ``scib``), on the same neighbours; it takes minutes to compile.

    Notes
    -----
    The two engines differ as follows:

    - Isolated labels: the package only has a silhouette. Both engines use the F1 of this module.
    - Leiden: the package lists edges in another order, so that the same seed
      may find other clusters of about the same quality; NMI and ARI differ by about 0.01.
    - kBET: the package computes eigenvectors in single precision, a difference of about 0.003. In both, a label in separate
      pieces keeps some accepted cells, as its diffusion map mixes the pieces; with more cells this goes to 0.
    - LISI: the package computes in single precision; equal to four digits.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["B", "T"], 100)
    >>> x = rng.normal(size=(200, 3)) + 9 * (labels == "T")[:, None]
    >>> scores = midas.metrics.scib(x, np.tile(["a", "b"], 100), labels)
    >>> bool(scores.overall > 0.9)
    True
    """
    if engine not in get_args(Engine):
        msg = f"Expected an engine out of {', '.join(get_args(Engine))}, found {engine!r}."
        raise ValueError(msg)
    same_cells(x, batch, labels)
    batches, (types, known) = complete(batch, "batch"), some_labels(labels, unlabelled)
    if isinstance(x, Neighbours):
        graph = x
        if not known.all():
            raise ValueError(
                "Expected a graph of labelled cells, found unlabelled ones. Leave them out before making it."
            )
    else:
        points = dense(x)
        _check_lengths(len(points), batches, types)
        graph = neighbours(points[known], LISI_K, seed=seed)
    batches, types = batches[known], types[known]
    _check_lengths(graph.n_cells, batches, types)
    nan = float("nan")
    notes = []
    found = dict.fromkeys((*BATCH_SCORES, *BIO_SCORES), nan)
    if len(set(batches)) > 1:
        of = scib_package.batch_scores if engine == "scib-metrics" else _batch_scores
        found |= of(graph, batches, types)
        notes += _gaps(found, BATCH_SCORES, "batch")
    else:
        notes.append("one batch: no batch scores, overall is bio")
    if len(set(types)) > 1:
        clusters = leiden(graph, seed=seed)
        found["isolated_label_f1"] = isolated_label_f1(clusters, types, batches)
        if engine == "scib-metrics":
            found |= scib_package.bio_scores(graph, types, seed=seed)
        else:
            nmi, ari = nmi_ari(clusters, types)
            found |= {"nmi": nmi, "ari": ari, "clisi": clisi(graph, types)}
        notes += _gaps(found, BIO_SCORES, "bio")
    else:
        notes.append("one label: no bio scores, overall is batch")
    return ScibScores(**found, note="; ".join(notes))


def _gaps(found: Mapping[str, float], names: Sequence[str], whole: str) -> list[str]:
    """Which of these scores are not available, and why."""
    return [
        f"no {name}, as {_REASONS.get(name, 'it came out as no number')}: {whole} is the mean of the others"
        for name in names
        if not np.isfinite(found[name])
    ]


def _batch_scores(graph: Neighbours, batch: NDArray[np.str_], labels: NDArray[np.str_]) -> dict[str, float]:
    return {
        "ilisi": ilisi(graph, batch),
        "kbet": kbet(graph, batch, labels),
        "graph_connectivity": graph_connectivity(graph, labels),
    }


def lisi(graph: Neighbours, groups: ArrayLike, *, perplexity: float = _PERPLEXITY) -> NDArray[np.float64]:
    r"""Local inverse Simpson index of each cell (Korsunsky et al. 2019), from 1 to the number of groups.

    Neighbours are weighted by :math:`p_j \propto \exp(-\beta d_j)`, with :math:`\beta` such that their entropy is the logarithm
    of the perplexity (at most a third of the neighbours); the index is :math:`1 / \sum_g (\sum_{j \in g} p_j)^2`.
    """
    graph = graph.first(LISI_K)
    names, codes = np.unique(complete(groups, "group"), return_inverse=True)
    weight = _perplexity_weights(graph.distances[:, 1:], min(perplexity, graph.k / 3))
    near = codes[graph.indices[:, 1:]]
    shares = np.stack([(weight * (near == g)).sum(1) for g in range(len(names))], axis=1)
    index: NDArray[np.float64] = 1 / (shares**2).sum(1)
    return index


def ilisi(graph: Neighbours, batch: ArrayLike) -> float:
    """Median LISI of batches, scaled: 0 if a cell's neighbours are from one batch, 1 for an even mix."""
    batches = complete(batch, "batch")
    return float((np.median(lisi(graph, batches)) - 1) / (len(np.unique(batches)) - 1))


def clisi(graph: Neighbours, labels: ArrayLike) -> float:
    """Median LISI of labels, scaled: 1 if a cell's neighbours have one label, 0 for an even mix."""
    types = complete(labels, "label")
    n = len(np.unique(types))
    return float((n - np.median(lisi(graph, types))) / (n - 1))


def graph_connectivity(graph: Neighbours, labels: ArrayLike) -> float:
    """Mean over labels of the share of cells in the largest strongly connected component, with 15 neighbours."""
    adjacency = graph.first(CLUSTER_K).adjacency()
    shares = []
    for of in cells_by_label(labels).values():
        component = connected_components(adjacency[of][:, of], connection="strong")[1]
        shares.append(np.bincount(component).max() / len(of))
    return float(np.mean(shares))


def kbet(graph: Neighbours, batch: ArrayLike, labels: ArrayLike, *, alpha: float = 0.05) -> float:
    """Mean over labels of the share of cells whose neighbours' batches match the label's composition (Buttner et al. 2019).

    As in scIB, each label has its own neighbourhoods, the nearest cells in a diffusion map of its subgraph. Their size is a
    quarter of the label's mean number of cells per batch, from 10 to 70. Labels with one batch or fewer than 10 cells are
    ignored; a label whose subgraph falls into small pieces scores 0.

    Parameters
    ----------
    graph
        Graph with 50 neighbours or more.
    batch, labels
        Of each cell.
    alpha
        Significance level of the test.
    """
    weights = graph.first(KBET_K).connectivities()
    batches = np.unique(complete(batch, "batch"), return_inverse=True)[1]
    scores = []
    for cells in cells_by_label(labels).values():
        of, sizes = cells, np.bincount(batches[cells])
        if len(of) < 10 or (sizes > 0).sum() == 1:
            continue
        k = int(min(70, max(10, len(of) / (sizes > 0).sum() // 4)))
        component = connected_components(weights[of][:, of], directed=False)[1]
        pieces = np.bincount(component)
        if len(pieces) > 1:
            of = of[(pieces >= 3 * k)[component]]
            if len(of) < 0.75 * len(component):
                scores.append(0.0)
                continue
        near = _diffusion_neighbours(weights[of][:, of], k + 1)
        scores.append(0.0 if near is None else _accepted(near, batches[of], alpha))
    return _mean(scores)


def leiden(graph: Neighbours, *, resolutions: Sequence[float] = RESOLUTIONS, seed: int = 0) -> NDArray[np.int64]:
    """Leiden clusters (modularity) of the graph of 15 neighbours, `(n_resolutions, n_cells)`. Needs the extra ``metrics``."""
    igraph = _igraph()
    weights = sp.triu(graph.first(CLUSTER_K).connectivities(), k=1).tocoo()
    edges = np.column_stack([weights.row, weights.col]).tolist()
    network = igraph.Graph(n=graph.n_cells, edges=edges)
    found = []
    try:
        for resolution in resolutions:
            igraph.set_random_number_generator(random.Random(seed))
            parts = network.community_leiden(
                objective_function="modularity", weights=weights.data, resolution=resolution
            )
            found.append(parts.membership)
    finally:  # igraph's generator is global to the process
        igraph.set_random_number_generator(random)
    return np.asarray(found, dtype=np.int64)


def best_clustering(clusters: NDArray[np.int64], labels: ArrayLike) -> NDArray[np.int64]:
    """Choose from `(n_resolutions, n_cells)` the clustering with the highest NMI (arithmetic mean), `(n_cells,)`."""
    types, known = known_labels(labels)
    nmi = [normalized_mutual_info_score(types[known], of[known]) for of in clusters]
    best: NDArray[np.int64] = clusters[int(np.argmax(nmi))]
    return best


def nmi_ari(clusters: NDArray[np.int64], labels: ArrayLike) -> tuple[float, float]:
    """NMI and ARI of :func:`best_clustering`."""
    types, known = known_labels(labels)
    types, best = types[known], best_clustering(clusters, labels)[known]
    return float(normalized_mutual_info_score(types, best)), float(adjusted_rand_score(types, best))


def isolated_label_f1(clusters: NDArray[np.int64], labels: ArrayLike, batch: ArrayLike) -> float:
    """Best F1 of any cluster of any clustering for a label, averaged over the labels found in the fewest batches."""
    types, known = known_labels(labels)
    types, clusters = types[known], clusters[:, known]
    in_batches = pd.crosstab(types, complete(batch, "batch")[known]).gt(0).sum(axis=1)
    isolated = in_batches.index[in_batches == in_batches.min()]
    return float(np.mean([max(_best_f1(of, types == label) for of in clusters) for label in isolated]))


def _best_f1(clusters: NDArray[np.int64], is_label: NDArray[np.bool_]) -> float:
    size, hit = np.bincount(clusters), np.bincount(clusters, weights=is_label)
    return float((2 * hit / (size + is_label.sum())).max())


def _perplexity_weights(distances: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    wanted = np.log(max(perplexity, 1.0))
    d = distances - distances.min(1, keepdims=True)
    low, high, beta = (np.full((len(d), 1), v) for v in (0.0, np.inf, 1.0))
    for _ in range(60):
        p = np.exp(-beta * d)
        total = p.sum(1, keepdims=True)
        entropy = np.log(total) + beta * (d * p).sum(1, keepdims=True) / total
        low, high = np.where(entropy > wanted, beta, low), np.where(entropy > wanted, high, beta)
        beta = np.where(np.isinf(high), beta * 2, (low + high) / 2)
        beta = np.minimum(beta, 1e12)  # equal distances give equal weights for any beta
    weights: NDArray[np.float64] = np.exp(-beta * d)
    weights /= weights.sum(1, keepdims=True)
    return weights


def _diffusion_neighbours(weights: sp.csr_matrix, k: int) -> NDArray[np.int64] | None:
    """Nearest cells in the diffusion map (Coifman 2005) of a graph, `(n, k)`, each cell itself first; None if it has no map."""
    n = weights.shape[0]
    inverse = sp.diags(1 / np.asarray(weights.sum(0)).ravel())
    kernel = inverse @ weights @ inverse
    root = sp.diags(1 / np.sqrt(np.asarray(kernel.sum(0)).ravel()))
    start = np.random.default_rng(0).normal(size=n)
    try:
        values, vectors = eigsh(root @ kernel @ root, k=min(100, n - 1), which="LM", v0=start)
    except ArpackError:
        return None
    scale = np.where(np.abs(values - 1) < 1e-6, 1.0, values / np.maximum(1 - values, 1e-6))
    return neighbours(vectors * scale, k).indices


def _accepted(near: NDArray[np.int64], batches: NDArray[np.int64], alpha: float) -> float:
    there = np.unique(batches, return_inverse=True)[1]
    n = there.max() + 1
    expected = np.bincount(there) / len(there) * near.shape[1]
    observed = np.stack([(there[near] == b).sum(1) for b in range(n)], axis=1)
    statistic = ((observed - expected) ** 2 / expected).sum(1)
    return float((chi2.sf(statistic, n - 1) >= alpha).mean())


def _igraph() -> Any:  # noqa: ANN401 - the module
    with needs("igraph", "metrics"):
        import igraph  # noqa: PLC0415 - optional
    return igraph


def _check_lengths(n: int, batch: NDArray[Any], labels: NDArray[Any]) -> None:
    if not n == len(batch) == len(labels) or n == 0:
        msg = f"Expected cells with a batch and a label each, found {n} cells, {len(batch)} batches, {len(labels)} labels."
        raise ValueError(msg)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


def _weighted(*terms: tuple[float, float]) -> float:
    known = [(w, v) for w, v in terms if np.isfinite(v)]
    return sum(w * v for w, v in known) / sum(w for w, _ in known) if known else float("nan")
