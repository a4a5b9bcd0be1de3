"""What the diagnostics measure: pure functions of arrays, 0 for nothing and 1 for all where they are shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from midas.data.rows import measured_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data import Mosaic

FEW = 60  # fewer cells than this say nothing about neighbourhoods
_NEIGHBOURS = 30
_COMPONENTS = 30
_VOTERS = 15
# Mixing of two batches is judged where chance gives each cell's neighbours this share of its type, and so many cells one in all.
_LEAST_ELSEWHERE, _LEAST_HOPED = 0.05, 2.0


# --------------------------------------------------------------------------------------------------------------- batches


def separation(
    x: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """By pair of batches, how many of the neighbours are missing that one has in the other when they mix as by chance.

    0 where two batches mix, 1 where no cell of one has a neighbour in the other; NaN where it cannot be told. Chance is a batch's
    share of all cells; where there are labels, of the cells of the type, so that a type that few batches have is no batch effect.
    Cells without a label (-1) then take no part, but for pairs of which one batch is `unlabelled`: these are compared as if there
    were no labels.

    Returns
    -------
    `(n, n)`, symmetric, in the order of the sorted batches.

    Examples
    --------
    >>> import numpy as np
    >>> batch = np.repeat([0, 1], 100)
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> float(separation(x + 99 * batch[:, None], batch, None)[0, 1])
    1.0
    >>> float(separation(x, batch, None)[0, 1]) < 0.1
    True
    """
    there, codes = np.unique(batch, return_inverse=True)
    n = len(there)
    if label is None:
        return _apart(x, codes, n, np.zeros_like(codes))
    known, bare = label >= 0, unlabelled(batch, label)
    pairs = _apart(x[known], codes[known], n, label[known])
    if bare.any():
        either = bare[:, None] | bare
        pairs[either] = _apart(x, codes, n, np.zeros_like(codes))[either]
    return pairs


def unlabelled(batch: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the sorted batches have hardly a cell with a label: fewer than 30, and less than half of their cells.

    Examples
    --------
    >>> import numpy as np
    >>> unlabelled(np.repeat([0, 1, 2], 50), np.repeat([3, -1, 5], [50, 99, 1])).tolist()
    [False, True, True]
    """
    there, codes = np.unique(batch, return_inverse=True)
    cells = np.bincount(codes, minlength=len(there))
    known = np.bincount(codes[label >= 0], minlength=len(there))
    return np.asarray(known < np.minimum(FEW // 2, cells / 2), dtype=np.bool_)


def batch_told(x: NDArray[np.floating], batch: NDArray[np.int64]) -> float:
    """Share of the batch that a cell's neighbours tell: 0 for chance, 1 for all of it.

    The batch is guessed by its share among the nearest neighbours against its share among all cells.
    """
    _, codes = np.unique(batch, return_inverse=True)
    n_batches = int(codes.max()) + 1
    if n_batches < 2 or len(x) < 3:
        return 0.0
    near, size = codes[_near(x)], np.bincount(codes)
    shares = np.stack([(near == b).mean(1) for b in range(n_batches)], axis=1)
    guess = (shares / size).argmax(1)
    right = np.mean([(guess[codes == b] == b).mean() for b in range(n_batches)])
    return float(np.clip((right - 1 / n_batches) / (1 - 1 / n_batches), 0, 1))


def batch_islands(mosaic: Mosaic) -> list[list[int]]:
    """Groups of batches that modalities tie together, directly or through cells with several; the largest first."""
    n, names = len(mosaic.batches), list(mosaic.modalities)
    rows, columns = [], []
    for i, name in enumerate(names):
        for b in np.unique(mosaic.batch[mosaic.modalities[name].present]):
            rows.append(int(b))
            columns.append(n + i)
    size = n + len(names)
    graph = sp.coo_matrix((np.ones(len(rows)), (np.asarray(rows), np.asarray(columns))), shape=(size, size))
    _, part = sp.csgraph.connected_components(graph, directed=False)
    cells = np.bincount(part[:n][mosaic.batch], minlength=size)
    groups = [np.flatnonzero(part[:n] == p).tolist() for p in np.unique(part[:n])]
    return sorted(groups, key=lambda group: -int(cells[part[group[0]]]))


# ------------------------------------------------------------------------------------------------------------- structure


def shared_neighbours(a: NDArray[np.floating], b: NDArray[np.floating], batch: NDArray[np.int64]) -> float | None:
    """Mean share of a cell's neighbours within its batch that two spaces have in common, beyond chance; None for few cells.

    Examples
    --------
    >>> import numpy as np
    >>> rng, batch = np.random.default_rng(0), np.zeros(300)
    >>> x = rng.normal(size=(300, 2))
    >>> shared_neighbours(x, 2 * x, batch), abs(shared_neighbours(x, rng.normal(size=(300, 2)), batch)) < 0.05
    (1.0, True)
    """
    shares, weights = [], []
    for one in np.unique(batch):
        mine = np.flatnonzero(batch == one)
        if len(mine) < FEW:
            continue
        k = min(_NEIGHBOURS, len(mine) // 4)
        first, second = _near(a[mine], k), _near(b[mine], k)
        same = np.mean([len(np.intersect1d(i, j)) for i, j in zip(first, second, strict=True)]) / k
        chance = k / (len(mine) - 1)
        shares.append((same - chance) / (1 - chance))
        weights.append(len(mine))
    return float(np.average(shares, weights=weights)) if shares else None


def reliability(counts: sp.csr_matrix, batch: NDArray[np.int64]) -> float | None:
    """How far two random halves of each cell's counts agree on its neighbours: no embedding can be asked for more.

    None for few cells, and for values that are no counts.
    """
    whole = np.round(counts.data)
    if not np.array_equal(whole, counts.data) or (whole < 0).any():
        return None
    half = counts.copy()
    half.data = np.random.default_rng(0).binomial(whole.astype(np.int64), 0.5).astype(counts.dtype)
    return shared_neighbours(components(half), components(counts - half), batch)


def types_within(
    x: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64], n: int
) -> NDArray[np.float64]:
    """Per type, share of cells whose neighbours within their batch have it by majority; NaN for few cells."""
    right = np.full(len(label), np.nan)
    for b in np.unique(batch):
        mine = np.flatnonzero((batch == b) & (label >= 0))
        if len(mine) >= FEW // 2:
            right[mine] = _majority(x[mine], label[mine], n)
    return np.array([_mean(right[label == k]) for k in range(n)])


def types_among_all(x: NDArray[np.floating], label: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Per type, share of cells whose neighbours, of whatever batch, have it by majority; NaN for few cells."""
    known = np.flatnonzero(label >= 0)
    right = np.full(len(label), np.nan)
    if len(known) >= FEW:
        right[known] = _majority(x[known], label[known], n)
    return np.array([_mean(right[label == k]) for k in range(n)])


def types_across(
    c: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64], n: int
) -> NDArray[np.float64]:
    """Per type, share of cells whose neighbours in *other* batches have it by majority; NaN where too few can be judged."""
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

    right = np.full(len(label), np.nan)
    for b in np.unique(batch):
        mine, others = np.flatnonzero((batch == b) & (label >= 0)), np.flatnonzero((batch != b) & (label >= 0))
        # A type needs enough cells elsewhere to win a majority.
        there = np.bincount(label[others], minlength=n) >= _VOTERS
        mine = mine[there[label[mine]]]
        if len(mine) and len(others) >= FEW:
            near = NearestNeighbors(n_neighbors=_VOTERS).fit(c[others]).kneighbors(c[mine], return_distance=False)
            right[mine] = _votes(label[others][near], n) == label[mine]
    return np.array([_mean(right[label == k]) for k in range(n)])


# ---------------------------------------------------------------------------------------------------------------- counts


def counts_of(mosaic: Mosaic, modality: str, cells: NDArray[np.int64]) -> sp.csr_matrix:
    """Counts of features that all batches of the cells measured; of any, where there are none such."""
    rows = mosaic.modalities[modality]
    shared = rows.measured[np.unique(mosaic.batch[cells])].all(0)
    columns = np.flatnonzero(shared if shared.sum() >= 2 else rows.measured.any(0))
    return sp.csr_matrix(measured_counts(mosaic, modality, cells)[:, columns], dtype=np.float64)


def components(counts: sp.csr_matrix) -> NDArray[np.float64]:
    """The data's own components: normalised by depth, log1p, centred; what still follows the depth is taken out."""
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - slow to import

    x, depth = counts, np.ones(counts.shape[0])
    if counts.data.min(initial=0) >= 0:  # else they are no counts, and are taken as they are
        depth = np.maximum(np.asarray(x.sum(1)).ravel(), 1e-9)
        x = sp.csr_matrix(sp.diags(np.median(depth) / depth) @ x).log1p()
    n = min(_COMPONENTS, x.shape[1] - 1, x.shape[0] - 1)
    if n < 1:
        return np.asarray(x.toarray(), dtype=np.float64)
    found = TruncatedSVD(n, random_state=0).fit_transform(x)
    found = np.asarray(found - found.mean(0), dtype=np.float64)
    size = np.log(depth)
    size = (size - size.mean()) / max(float(size.std()), 1e-9)
    trend = np.stack([size, size**2, size**3], axis=1)  # normalising bends what sparse counts have of the depth
    trend -= trend.mean(0)
    return np.asarray(found - trend @ np.linalg.lstsq(trend, found, rcond=None)[0], dtype=np.float64)


# --------------------------------------------------------------------------------------------------------------- private


def _near(x: NDArray[np.floating], k: int = _NEIGHBOURS) -> NDArray[np.int64]:
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

    k = max(1, min(k, len(x) - 1))
    found: NDArray[np.int64] = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False)
    return found


def _apart(x: NDArray[np.floating], codes: NDArray[np.int64], n: int, group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the neighbours in another batch that are missing, `(n, n)`, if chance is a batch's share of a cell's `group`."""
    if n < 2 or len(x) < 3:
        return np.full((n, n), np.nan)
    near, expected = codes[_near(x)], _expected(codes, n, group)
    found, hoped = np.zeros((n, n)), np.zeros((n, n))
    for b in range(n):
        # Types of which hardly any cells are elsewhere say nothing of mixing.
        tells = expected >= _LEAST_ELSEWHERE / n
        np.add.at(found[:, b], codes, np.where(tells[:, b], (near == b).mean(1), 0))
        np.add.at(hoped[:, b], codes, np.where(tells[:, b], expected[:, b], 0))
    found, hoped = found + found.T, hoped + hoped.T
    enough = (hoped >= _LEAST_HOPED) & ~np.eye(n, dtype=bool)
    return np.where(enough, np.clip(1 - found / np.maximum(hoped, 1e-9), 0, 1), np.nan)


def _expected(codes: NDArray[np.int64], n: int, group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each batch among the cells of a cell's group, `(n_cells, n)`."""
    table = np.zeros((int(group.max()) + 1, n))
    np.add.at(table, (group, codes), 1)
    return np.asarray((table / np.maximum(table.sum(1, keepdims=True), 1))[group], dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    judged = values[np.isfinite(values)]
    return float(judged.mean()) if len(judged) >= 10 else np.nan


def _votes(near: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    return np.asarray(np.stack([(near == c).sum(1) for c in range(n)], axis=1).argmax(1), dtype=np.int64)


def _majority(x: NDArray[np.floating], label: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.asarray(_votes(label[_near(x, _VOTERS)], n) == label, dtype=np.float64)
