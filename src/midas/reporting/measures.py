"""Measures behind the diagnostics: pure functions of arrays; shares run from 0 for none to 1 for all."""

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
# Mixing of two batches is judged on cells whose type has at least this expected share of neighbours there, with this total at
# least.
_LEAST_ELSEWHERE, _LEAST_HOPED = 0.05, 2.0


# --------------------------------------------------------------------------------------------------------------- batches


def separation(
    x: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """For each pair of batches, the share of neighbours missing in the other batch, relative to random mixing.

    0 if two batches mix, 1 if no cell of one has a neighbour in the other; NaN if undetermined. Random mixing expects a batch's
    share of all cells or, with labels, of the cells of the type, so that a type found in few batches is not taken for a batch
    effect. Cells without a label (-1) are then ignored, except for pairs with an `unlabelled` batch, which are compared as if
    there were no labels.

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
    """Which of the sorted batches have hardly any labelled cells: fewer than 30, and less than half of their cells.

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
    """How well the batch can be predicted from a cell's neighbours: 0 for chance, 1 for always.

    The predicted batch is the one most enriched among the nearest neighbours relative to its share of all cells.
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
    """Groups of batches linked by modalities, directly or through multimodal cells; the largest first."""
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
    """Mean share of within-batch neighbours common to two spaces, corrected for chance; None if there are too few cells.

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
    """Agreement on neighbours between two random halves of each cell's counts: an upper limit for any embedding.

    None if there are too few cells, or if the values are not counts.
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
    """Per type, share of cells whose within-batch neighbours are mostly of that type; NaN if there are too few cells."""
    right = np.full(len(label), np.nan)
    for b in np.unique(batch):
        mine = np.flatnonzero((batch == b) & (label >= 0))
        if len(mine) >= FEW // 2:
            right[mine] = _majority(x[mine], label[mine], n)
    return np.array([_mean(right[label == k]) for k in range(n)])


def types_among_all(x: NDArray[np.floating], label: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Per type, share of cells whose neighbours, from any batch, are mostly of that type; NaN if there are too few cells."""
    known = np.flatnonzero(label >= 0)
    right = np.full(len(label), np.nan)
    if len(known) >= FEW:
        right[known] = _majority(x[known], label[known], n)
    return np.array([_mean(right[label == k]) for k in range(n)])


def types_across(
    c: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64], n: int
) -> NDArray[np.float64]:
    """Per type, share of cells whose neighbours in *other* batches are mostly of that type; NaN if there are too few cells."""
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
    """Counts of the features measured by all batches of the cells, or by any batch if there are no such features."""
    rows = mosaic.modalities[modality]
    shared = rows.measured[np.unique(mosaic.batch[cells])].all(0)
    columns = np.flatnonzero(shared if shared.sum() >= 2 else rows.measured.any(0))
    return sp.csr_matrix(measured_counts(mosaic, modality, cells)[:, columns], dtype=np.float64)


def components(counts: sp.csr_matrix) -> NDArray[np.float64]:
    """Principal components of the data: depth-normalised, log1p, centred, with the remaining trend with depth regressed out."""
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - slow to import

    x, depth = counts, np.ones(counts.shape[0])
    if counts.data.min(initial=0) >= 0:  # otherwise they are not counts, and are used as they are
        depth = np.maximum(np.asarray(x.sum(1)).ravel(), 1e-9)
        x = sp.csr_matrix(sp.diags(np.median(depth) / depth) @ x).log1p()
    n = min(_COMPONENTS, x.shape[1] - 1, x.shape[0] - 1)
    if n < 1:
        return np.asarray(x.toarray(), dtype=np.float64)
    found = TruncatedSVD(n, random_state=0).fit_transform(x)
    found = np.asarray(found - found.mean(0), dtype=np.float64)
    size = np.log(depth)
    size = (size - size.mean()) / max(float(size.std()), 1e-9)
    # Normalisation leaves a nonlinear trend with depth in sparse counts.
    trend = np.stack([size, size**2, size**3], axis=1)
    trend -= trend.mean(0)
    return np.asarray(found - trend @ np.linalg.lstsq(trend, found, rcond=None)[0], dtype=np.float64)


# --------------------------------------------------------------------------------------------------------------- private


def _near(x: NDArray[np.floating], k: int = _NEIGHBOURS) -> NDArray[np.int64]:
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

    k = max(1, min(k, len(x) - 1))
    found: NDArray[np.int64] = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False)
    return found


def _apart(x: NDArray[np.floating], codes: NDArray[np.int64], n: int, group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of expected neighbours missing in the other batch, `(n, n)`; expected is the batch's share of the cell's `group`."""
    if n < 2 or len(x) < 3:
        return np.full((n, n), np.nan)
    near, expected = codes[_near(x)], _expected(codes, n, group)
    found, hoped = np.zeros((n, n)), np.zeros((n, n))
    for b in range(n):
        # Types with hardly any cells in the other batch say nothing about mixing.
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
