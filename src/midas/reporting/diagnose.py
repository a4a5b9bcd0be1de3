"""Is the embedding mixed, is its structure kept, is anything unconnected? Numbers, a plain sentence each, and what to try."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.sparse as sp

from midas.data.rows import measured_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from midas.config import Config
    from midas.data import Mosaic
    from midas.data.summary import MosaicSummary

Level = Literal["good", "look", "poor", "none"]
Space = Literal["counts", "embedding"]

_NEIGHBOURS = 30
# Fewer cells than this say nothing about neighbourhoods.
_FEW = 60
_COMPONENTS = 30
_VOTERS = 15


@dataclass(frozen=True)
class Finding:
    """One diagnostic.

    Attributes
    ----------
    key
        Which one.
    title
        A few words.
    level
        ``good``, ``look`` (worth a look), ``poor``, or ``none`` where it could not be judged.
    sentence
        What it means here.
    rows
        Its numbers: name and value.
    """

    key: str
    title: str
    level: Level
    sentence: str
    rows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Advice:
    """Something to try next.

    Attributes
    ----------
    sentence
        What and why.
    toml
        Lines of a configuration file; empty where no setting helps.
    """

    sentence: str
    toml: str = ""


@dataclass(frozen=True)
class Sampled:
    """The cells that the diagnostics look at.

    Attributes
    ----------
    cells
        Positions in the mosaic, `(n,)`.
    c, u
        Posterior means, `(n, dim)`.
    single
        By modality, c from that modality alone, `(n, dim_c)`; NaN for cells without it.
    batch
        `(n,)`.
    label
        Codes of the types, `(n,)`, -1 where unknown; None when there are no labels.
    label_names
        Names of the codes.
    """

    cells: NDArray[np.int64]
    c: NDArray[np.float32]
    u: NDArray[np.float32]
    single: Mapping[str, NDArray[np.float32]]
    batch: NDArray[np.int64]
    label: NDArray[np.int64] | None
    label_names: tuple[str, ...]


def diagnose(
    mosaic: Mosaic, summary: MosaicSummary, sampled: Sampled, history: list[dict[str, float]]
) -> list[Finding]:
    """Judge one integration."""
    spaces = {
        name: (rows, pca(mosaic, name, sampled.cells[rows]))
        for name, part in mosaic.modalities.items()
        if len(rows := np.flatnonzero(part.present[sampled.cells])) >= _FEW
    }
    return [
        batch_left(mosaic, sampled, spaces),
        structure_kept(mosaic, sampled, spaces),
        alignment(sampled),
        bridges(mosaic, summary),
        technical(mosaic, sampled),
        training(history),
    ]


# ----------------------------------------------------------------------------------------------------------- diagnostics


def batch_left(
    mosaic: Mosaic, sampled: Sampled, spaces: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
) -> Finding:
    """How much of the batch the embedding holds, against how much the data hold."""
    key, title = "batch", "Batch left in the embedding"
    n_batches = len(np.unique(sampled.batch))
    if n_batches < 2:
        return Finding(key, title, "none", "There is one batch, so nothing had to be mixed.")
    if len(sampled.cells) < _FEW:
        return Finding(key, title, "none", "There are too few cells to judge mixing.")
    left = batch_information(sampled.c, sampled.batch, sampled.label)
    rows = [("embedding, all cells", _percent(left))]
    held = []
    for name, (at, space) in spaces.items():
        if len(np.unique(sampled.batch[at])) < 2:
            continue
        label = None if sampled.label is None else sampled.label[at]
        before = batch_information(space, sampled.batch[at], label)
        after = batch_information(sampled.c[at], sampled.batch[at], label)
        held.append((name, before, after))
        rows += [(f"{name} counts", _percent(before)), (f"embedding, cells with {name}", _percent(after))]
    against = (
        " The counts hold "
        + ", ".join(f"{_percent(before)} in {name}" for name, before, _ in held)
        + ("." if held else "")
        if held
        else " No modality is shared by two batches, so the counts cannot be compared."
    )
    worst, excess = _worst_batch(sampled.c, sampled.batch, sampled.label)
    rows.append((f"least mixed batch: {mosaic.batches[worst]}", f"{_percent(excess)} too many neighbours of its own"))
    within = " beyond what the types explain" if sampled.label is not None else ""
    if left < 0.15:
        said = f"Batches are well mixed: {_percent(left)} of the batch can be told from a cell's neighbours{within}."
        return Finding(key, title, "good", said + against, tuple(rows))
    level: Level = "look" if left < 0.35 else "poor"
    caveat = "" if sampled.label is not None else " Without labels this may also be types that only some batches have."
    said = (
        f"{'Some' if level == 'look' else 'Much'} of the batch is left: {_percent(left)} of it can be told from a cell's "
        f"neighbours{within}, most of all for {mosaic.batches[worst]}."
    )
    return Finding(key, title, level, said + against + caveat, tuple(rows))


def structure_kept(
    mosaic: Mosaic, sampled: Sampled, spaces: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
) -> Finding:
    """Whether types, or neighbourhoods within a batch, are in the embedding as they are in the data's own components."""
    key, title = "structure", "Structure kept"
    if not spaces:
        return Finding(key, title, "none", "There are too few cells to judge structure.")
    rows, losses = [], []
    for name, (at, space) in spaces.items():
        overlap = kept_neighbours(space, sampled.c[at], sampled.batch[at])
        if overlap is not None:
            rows.append((f"{name}: neighbours kept, times chance", f"{overlap:.1f}"))
        if sampled.label is None:
            continue
        before, after = _agreements(space, sampled.c[at], sampled.batch[at], sampled.label[at])
        if not np.isfinite(before).any():
            continue
        own, now = float(np.nanmean(before)), float(np.nanmean(after))
        drop = before - after
        lost = int(np.nanargmax(np.where(np.isfinite(drop), drop, -np.inf)))
        losses.append((own - now, name, own, now, sampled.label_names[lost], float(drop[lost])))
        rows.append((f"{name}: types agree, counts → embedding", f"{_percent(own)} → {_percent(now)}"))
    if losses and sampled.label is not None:
        across = types_across(sampled.c, sampled.batch, sampled.label)
        if np.isfinite(across).any():
            rows.append(("types agree with neighbours of other batches", _percent(float(np.nanmean(across)))))
        return _types_kept(key, title, losses, _lowest(across, sampled.label_names), tuple(rows))
    shares = [float(value) for name, value in rows if "times chance" in name]
    if not shares:
        return Finding(key, title, "none", "There are too few cells in each batch to judge structure.", tuple(rows))
    low = min(shares)
    level: Level = "good" if low >= 3 else "look" if low >= 1.5 else "poor"
    said = {
        "good": "Cells that are near each other in the counts of a batch are near each other in the embedding",
        "look": "Neighbourhoods within a batch are only partly kept",
        "poor": "Neighbourhoods within a batch are hardly kept: the embedding may be over-corrected or under-trained",
        "none": "",
    }[level]
    said += f": at least {low:.1f} times as often as by chance. With a label column this page says more."
    return Finding(key, title, level, said, tuple(rows))


def alignment(sampled: Sampled) -> Finding:
    """Whether the modalities of one cell, each encoded alone, meet."""
    from midas.metrics import foscttm  # noqa: PLC0415 - slow to import

    key, title = "alignment", "Modalities aligned"
    rows = []
    for a, b in combinations(sampled.single, 2):
        both = np.isfinite(sampled.single[a]).all(1) & np.isfinite(sampled.single[b]).all(1)
        if both.sum() >= _FEW:
            rows.append((f"{a} and {b}", foscttm(sampled.single[a][both][:2000], sampled.single[b][both][:2000])))
    if not rows:
        why = "there is one modality" if len(sampled.single) < 2 else "too few cells have two modalities to check it by"
        return Finding(key, title, "none", f"Alignment of modalities was not judged: {why}.")
    pair, worst = max(rows, key=lambda row: row[1])
    shown = tuple((name, _percent(value)) for name, value in rows)
    level: Level = "good" if worst < 0.1 else "look" if worst < 0.25 else "poor"
    how = {"good": "meet well", "look": "meet, but not closely", "poor": "do not meet", "none": ""}[level]
    said = (
        f"Encoded from one modality alone, the same cells {how}: for {pair}, {_percent(worst)} of other cells lie closer than "
        "the cell itself (0% is perfect, 50% chance)."
    )
    return Finding(key, title, level, said, shown)


def bridges(mosaic: Mosaic, summary: MosaicSummary) -> Finding:
    """Whether every batch hangs together with the others, through modalities that both have or through cells that bridge them."""
    key, title = "bridges", "Bridges"
    islands = batch_islands(mosaic)
    rows = tuple((f"cells with {a} and {b}", f"{n:,}") for (a, b), n in summary.bridges.items())
    if len(mosaic.batches) < 2:
        return Finding(key, title, "none", "There is one batch, so nothing has to be bridged.", rows)
    if len(islands) > 1:
        lone = islands[1:]
        named = "; ".join(_some([mosaic.batches[b] for b in group]) for group in lone)
        said = (
            f"Nothing in the data ties {named} to the other batches: they share no modality, and no cell bridges their "
            "modalities. Where their cells lie beside the others is a guess."
        )
        return Finding(key, title, "poor", said, rows)
    weak = [f"{a} and {b} ({n:,} cells)" for (a, b), n in summary.bridges.items() if 0 < n < 50]
    if weak:
        return Finding(
            key, title, "look", f"Every batch is tied to the others, but weakly between {'; '.join(weak)}.", rows
        )
    return Finding(
        key, title, "good", "Every batch is tied to the others by modalities or by cells that bridge them.", rows
    )


def technical(mosaic: Mosaic, sampled: Sampled) -> Finding:
    """Whether u, the technical noise, holds the batch."""
    key, title = "technical", "Technical noise holds the batch"
    if len(np.unique(sampled.batch)) < 2 or len(sampled.cells) < _FEW:
        return Finding(key, title, "none", "Not judged: it takes two batches and enough cells.")
    found = batch_information(sampled.u, sampled.batch, None)
    rows = (("batch told from u", _percent(found)),)
    if found >= 0.8:
        return Finding(key, title, "good", f"{_percent(found)} of the batch can be told from u, as it should be.", rows)
    said = f"Only {_percent(found)} of the batch can be told from u: batch effects may have no place to go but the embedding."
    return Finding(key, title, "look", said, rows)


def training(history: list[dict[str, float]]) -> Finding:
    """Whether training ended because nothing was left to learn."""
    key, title = "training", "Training"
    if not history:
        return Finding(key, title, "none", "The model has no record of its training.")
    best = best_epoch(history)
    if best is None:
        return Finding(key, title, "none", "No cells were held out, so over-fitting cannot be judged.")
    value, train = history[best]["val_total"], history[best]["total"]
    last = history[-1]["val_total"]
    rows = (
        ("best epoch", f"{best + 1} of {len(history)}"),
        ("objective there, train and held out", f"{train:,.0f} and {value:,.0f}"),
    )
    before = history[max(0, best - max(1, len(history) // 10))]["val_total"]
    if best >= 0.95 * (len(history) - 1) and before - value > 0.02 * abs(value):
        said = "The held-out objective was still falling fast when training ended: more epochs should help."
        return Finding(key, title, "look", said, rows)
    if last > value + 0.05 * abs(value):
        said = f"The held-out objective rose again after epoch {best + 1}; the weights of that epoch were kept."
        return Finding(key, title, "look", said, rows)
    return Finding(key, title, "good", "The held-out objective had levelled off when training ended.", rows)


# --------------------------------------------------------------------------------------------------------------- advice


def advise(findings: list[Finding], config: Config) -> list[Advice]:
    """Say what to try next, most useful first; each follows from a finding."""
    level = {finding.key: finding.level for finding in findings}
    objective, training_ = config.objective, config.training
    bad = {key for key, found in level.items() if found in {"look", "poor"}}
    advice = []
    if "training" in bad:
        epochs = next((dict(f.rows).get("best epoch", "") for f in findings if f.key == "training"), "")
        if any("still falling" in f.sentence for f in findings if f.key == "training"):
            n = int(epochs.rsplit(" ", 1)[-1] or 1)
            advice.append(Advice("Train longer first: other findings may vanish.", f"[training]\nepochs = {2 * n}"))
        else:
            said = "The model over-fits: regularise it, or use fewer epochs."
            advice.append(Advice(said, f"[network]\ndropout = {max(0.1, min(0.5, 2 * config.network.dropout)):g}"))
    if level.get("bridges") == "poor":
        advice.append(
            Advice("Add a batch, or cells, that share a modality with both sides: no setting replaces a bridge.")
        )
    lost = any(f.key == "structure" and f.level != "good" and "over-corrected" in f.sentence for f in findings)
    if "batch" in bad and lost:
        said = (
            "Batch is left and structure suffers as well: the weight of the discriminators would trade one for the other, so "
            "leave it. Train longer, and look whether one batch alone is at fault."
        )
        advice.append(Advice(said))
    elif "batch" in bad:
        said = "Batch is left in the embedding: let the discriminators weigh more, and watch that types stay apart."
        advice.append(Advice(said, f"[objective]\nadversarial = {max(10.0, 2 * objective.adversarial):g}"))
    elif lost:
        said = "Structure was lost: let the discriminators weigh less, so that biology is not removed with the batch."
        advice.append(Advice(said, f"[objective]\nadversarial = {objective.adversarial / 2:g}"))
    if "alignment" in bad:
        said = "Modalities do not meet closely: weigh their alignment more."
        advice.append(Advice(said, f"[objective]\nalignment = {max(10.0, 2 * objective.alignment):g}"))
    if "technical" in bad and "batch" in bad:
        said = "Give the batch a place outside of the embedding: one more dimension of u, or a larger weight of its batch term."
        advice.append(Advice(said, f"[network]\ndim_u = {config.network.dim_u + 1}"))
    if level.get("training") == "none" and training_.validation_fraction == 0:
        advice.append(Advice("Hold cells out, to see over-fitting.", "[training]\nvalidation_fraction = 0.1"))
    return advice or [Advice("Nothing stands out. Repeat with another seed to see how stable the picture is.")]


# -------------------------------------------------------------------------------------------------------------- measures


def batch_information(x: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64] | None) -> float:
    """Share of the batch that a cell's neighbours tell, 0 for chance and 1 for all of it.

    The batch is guessed by its share among the nearest neighbours against its share among all cells; where there are labels,
    among all cells of the type, so that a type that few batches have does not count as a batch effect.
    """
    _, codes = np.unique(batch, return_inverse=True)
    n_batches = int(codes.max()) + 1
    if n_batches < 2 or len(x) < 3:
        return 0.0
    near = codes[_near(x)]
    shares = np.stack([(near == b).mean(1) for b in range(n_batches)], axis=1)
    expected = _expected(codes, n_batches, label)
    size = np.bincount(codes)
    told = np.where(shares.max(1, keepdims=True) > 0, shares, 0) / (size / len(codes))
    guess = (told + 1e-9 * expected).argmax(1)
    right = np.mean([(guess[codes == b] == b).mean() for b in range(n_batches)])
    if label is None:
        chance = 1 / n_batches
    else:
        blind = (expected / (size / len(codes))).argmax(1)
        chance = float(np.mean([(blind[codes == b] == b).mean() for b in range(n_batches)]))
    return float(np.clip((right - chance) / max(1 - chance, 1e-9), 0, 1))


def kept_neighbours(
    before: NDArray[np.floating], after: NDArray[np.floating], batch: NDArray[np.int64]
) -> float | None:
    """Mean share of a cell's neighbours within its batch that stay its neighbours, over that of chance; None for few cells."""
    ratios, weights = [], []
    for b in np.unique(batch):
        mine = np.flatnonzero(batch == b)
        if len(mine) < _FEW:
            continue
        k = min(_NEIGHBOURS, len(mine) // 4)
        first, second = _near(before[mine], k), _near(after[mine], k)
        same = np.mean([len(np.intersect1d(a, c)) for a, c in zip(first, second, strict=True)]) / k
        ratios.append(same / (k / (len(mine) - 1)))
        weights.append(len(mine))
    return float(np.average(ratios, weights=weights)) if ratios else None


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


def pca(mosaic: Mosaic, modality: str, cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """The data's own components: normalised by depth, log1p, centred; of features that all batches of the cells measured."""
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415 - slow to import

    rows = mosaic.modalities[modality]
    shared = rows.measured[np.unique(mosaic.batch[cells])].all(0)
    columns = np.flatnonzero(shared if shared.sum() >= 2 else rows.measured.any(0))
    x = measured_counts(mosaic, modality, cells)[:, columns].astype(np.float64)
    depth = np.maximum(np.asarray(x.sum(1)).ravel(), 1e-9)
    x = sp.csr_matrix(sp.diags(np.median(depth) / depth) @ x).log1p()
    n = min(_COMPONENTS, x.shape[1] - 1, x.shape[0] - 1)
    if n < 1:
        return np.asarray(x.toarray(), dtype=np.float64)
    found = TruncatedSVD(n, random_state=0).fit_transform(x)
    return np.asarray(found - found.mean(0), dtype=np.float64)


def best_epoch(history: list[dict[str, float]]) -> int | None:
    """Position of the epoch with the smallest held-out objective; None when no cells were held out."""
    values = [record.get("val_total", np.nan) for record in history]
    return int(np.nanargmin(values)) if np.isfinite(values).any() else None


# --------------------------------------------------------------------------------------------------------------- private


def _near(x: NDArray[np.floating], k: int = _NEIGHBOURS) -> NDArray[np.int64]:
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

    k = max(1, min(k, len(x) - 1))
    found: NDArray[np.int64] = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False)
    return found


def _expected(codes: NDArray[np.int64], n: int, label: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """Share of each batch among the cells of a cell's type, `(n_cells, n)`."""
    groups = np.zeros(len(codes), dtype=np.int64) if label is None else label - label.min()
    table = np.zeros((int(groups.max()) + 1, n))
    np.add.at(table, (groups, codes), 1)
    return np.asarray((table / np.maximum(table.sum(1, keepdims=True), 1))[groups], dtype=np.float64)


def _worst_batch(
    x: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64] | None
) -> tuple[int, float]:
    """The batch with the most neighbours of its own beyond what is expected, and by how much."""
    there, codes = np.unique(batch, return_inverse=True)
    own = (codes[_near(x)] == codes[:, None]).mean(1)
    expected = _expected(codes, len(there), label)[np.arange(len(codes)), codes]
    excess = [float((own - expected)[codes == b].mean()) for b in range(len(there))]
    worst = int(np.argmax(excess))
    return int(there[worst]), max(0.0, excess[worst])


def _agreements(
    before: NDArray[np.floating], after: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per type, share of cells whose neighbours within their batch have it by majority: in the counts, in the embedding."""
    known = np.flatnonzero(label >= 0)
    n = int(label.max(initial=-1)) + 1
    if len(known) < _FEW or n < 2:
        return np.full(1, np.nan), np.full(1, np.nan)
    right = np.full((2, len(label)), np.nan)
    for b in np.unique(batch[known]):
        mine = known[batch[known] == b]
        if len(mine) >= _FEW // 2:
            right[:, mine] = [_majority(x[mine], label[mine], n) for x in (before, after)]
    per = [[_mean(row[label == c]) for c in range(n)] for row in right]
    return np.asarray(per[0]), np.asarray(per[1])


def types_across(c: NDArray[np.floating], batch: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Per type, share of cells whose neighbours in *other* batches have it by majority; NaN where too few can be judged."""
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

    n = int(label.max(initial=-1)) + 1
    right = np.full(len(label), np.nan)
    for b in np.unique(batch):
        mine, others = np.flatnonzero((batch == b) & (label >= 0)), np.flatnonzero((batch != b) & (label >= 0))
        # A type needs enough cells elsewhere to win a majority.
        there = np.bincount(label[others], minlength=n) >= _VOTERS
        mine = mine[there[label[mine]]]
        if len(mine) and len(others) >= _FEW:
            near = NearestNeighbors(n_neighbors=_VOTERS).fit(c[others]).kneighbors(c[mine], return_distance=False)
            right[mine] = _votes(label[others][near], n) == label[mine]
    return np.array([_mean(right[label == k]) for k in range(n)])


def _mean(values: NDArray[np.float64]) -> float:
    judged = values[np.isfinite(values)]
    return float(judged.mean()) if len(judged) >= 10 else np.nan


def _votes(near: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    return np.asarray(np.stack([(near == c).sum(1) for c in range(n)], axis=1).argmax(1), dtype=np.int64)


def _majority(x: NDArray[np.floating], label: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.asarray(_votes(label[_near(x, _VOTERS)], n) == label, dtype=np.float64)


def _lowest(across: NDArray[np.float64], names: tuple[str, ...]) -> tuple[str, float] | None:
    if not np.isfinite(across).any():
        return None
    at = int(np.nanargmin(across))
    return names[at], float(across[at])


def _types_kept(
    key: str,
    title: str,
    losses: list[tuple[float, str, float, float, str, float]],
    lowest: tuple[str, float] | None,
    rows: tuple[tuple[str, str], ...],
) -> Finding:
    worst, name, own, now, type_, lost = max(losses)
    compared = (
        f"({_percent(own)} of cells, averaged over types, lie among their own type in the {name} counts, {_percent(now)} "
        "in the embedding)"
    )
    if worst > 0.05:
        said = (
            f"Types are less distinct than in the data's own components {compared}, most of all {type_}: the batch may be "
            "over-corrected."
        )
        return Finding(key, title, "look" if worst <= 0.15 else "poor", said, rows)
    said, level = f"Types are kept as well as in the data's own components {compared}.", "good"
    if lost > 0.2:
        said, level = f"{said} But {type_} lost {_percent(lost)}.", "look"
    if lowest is not None and lowest[1] < 0.5:
        said += (
            f" Across batches {lowest[0]} meets other types: only {_percent(lowest[1])} of its cells have their own type as "
            "neighbours in other batches."
        )
        level = "look"
    return Finding(key, title, "good" if level == "good" else "look", said, rows)


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
