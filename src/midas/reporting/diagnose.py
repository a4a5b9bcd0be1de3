"""Is the embedding mixed, is its structure kept, is anything unconnected? Numbers, and a plain sentence each.

The thresholds were set on integrations of real and simulated cells that were known to be good or spoilt; the documentation's page
on reports has the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from midas.reporting import measures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from midas.data import Mosaic
    from midas.data.summary import MosaicSummary

Level = Literal["good", "look", "poor", "none"]
Cause = Literal["", "batch left", "over-corrected", "under-trained", "still falling", "over-fitted"]

# Separation by batch: good integrations had at most 0.17, those without adversarial term 0.25 and more.
_SOME_BATCH, _MUCH_BATCH = 0.2, 0.4
# One pair of batches alone: at most 0.47 in good ones, 0.57 and more without adversarial term.
_ONE_PAIR = 0.5
# Neighbours kept, of those that two halves of the counts agree on: good integrations had at least 0.73, spoilt ones at most 0.65.
_KEPT, _HALF_KEPT = 0.7, 0.5
# With less agreement of the halves, a modality's neighbours are noise (real and simulated sparse peaks: 0.09 to 0.24).
_TOO_NOISY = 0.3
# Loss of types within batches: good integrations lost at most 0.02.
_SOME_LOSS, _MUCH_LOSS = 0.05, 0.15
# A type that other batches' cells swallow falls by this much; in good integrations none fell by 0.05.
_SWALLOWED = 0.25
# Share of the whole fall of the objective that came in the last tenth: at most 0.003 in whole runs, 0.08 in one cut short.
_STILL_FALLING = 0.03


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
    cause
        What is at fault, for the advice; empty where nothing is.
    """

    key: str
    title: str
    level: Level
    sentence: str
    rows: tuple[tuple[str, str], ...] = ()
    cause: Cause = ""


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


@dataclass(frozen=True)
class Space:
    """What one modality's counts say of the cells that have it.

    Attributes
    ----------
    at
        Those cells, as positions among the sampled ones.
    components
        The counts' own principal components, `(len(at), n)`.
    reliability
        How far two halves of the counts agree on neighbours; None where that cannot be told.
    """

    at: NDArray[np.int64]
    components: NDArray[np.float64]
    reliability: float | None


def diagnose(
    mosaic: Mosaic, summary: MosaicSummary, sampled: Sampled, history: list[dict[str, float]]
) -> list[Finding]:
    """Judge one integration."""
    spaces = spaces_of(mosaic, sampled)
    batch = batch_left(mosaic, sampled, spaces)
    return [
        batch,
        structure_kept(sampled, spaces, mixed=batch.level != "poor"),
        alignment(sampled),
        bridges(mosaic, summary),
        technical(mosaic, sampled),
        training(history),
    ]


def spaces_of(mosaic: Mosaic, sampled: Sampled) -> dict[str, Space]:
    """Components of each modality that enough of the cells have."""
    found = {}
    for name, part in mosaic.modalities.items():
        at = np.flatnonzero(part.present[sampled.cells])
        if len(at) >= measures.FEW:
            counts = measures.counts_of(mosaic, name, sampled.cells[at])
            reliable = measures.reliability(counts, sampled.batch[at])
            found[name] = Space(at, measures.components(counts), reliable)
    return found


# ----------------------------------------------------------------------------------------------------------- diagnostics


def batch_left(mosaic: Mosaic, sampled: Sampled, spaces: Mapping[str, Space]) -> Finding:
    """How far the embedding is parted by batch, against how far the counts are."""
    key, title = "batch", "Batch left in the embedding"
    there = np.unique(sampled.batch)
    if len(there) < 2:
        return Finding(key, title, "none", "There is one batch, so nothing had to be mixed.")
    if len(sampled.cells) < measures.FEW:
        return Finding(key, title, "none", "There are too few cells to judge mixing.")
    pairs = measures.separation(sampled.c, sampled.batch, sampled.label)
    if np.isnan(pairs).all():
        return Finding(
            key, title, "none", "No type is in two batches, so mixing of cells of one type cannot be judged."
        )
    left = _share(pairs)
    one, other = divmod(int(np.nanargmax(pairs)), len(there))
    name, most = f"{mosaic.batches[there[one]]} and {mosaic.batches[there[other]]}", float(pairs[one, other])
    rows = [("embedding, all cells", _percent(left)), (f"least mixed: {name}", _percent(most))]
    before, more = [], []
    for modality, space in spaces.items():
        batch = sampled.batch[space.at]
        label = None if sampled.label is None else sampled.label[space.at]
        held = _share(measures.separation(space.components, batch, label))
        now = _share(measures.separation(sampled.c[space.at], batch, label))
        if np.isfinite(held):
            before.append(f"{_percent(held)} in {modality}")
            more += [modality] if now > max(held + 0.05, 0.1) else []
            rows += [(f"{modality} counts", _percent(held)), (f"embedding, cells with {modality}", _percent(now))]
    scale = f"two of them are {_percent(left)} apart on average{' within types' if sampled.label is not None else ''}"
    scale += " (0% is as by chance, 100% wholly apart)"
    scale += f", their counts {_and(before)}." if before else ". No two share a modality, so counts cannot be compared."
    level: Level = (
        "poor" if left >= _MUCH_BATCH else "look" if left >= _SOME_BATCH or most >= _ONE_PAIR or more else "good"
    )
    if level == "good":
        said = f"Batches are well mixed: {scale}"
        said += "" if sampled.label is not None else " Whether wrong types were mixed cannot be seen without labels."
        return Finding(key, title, level, said, tuple(rows))
    said = (
        f"{'Much' if level == 'poor' else 'Some'} of the batch is left, most between {name} ({_percent(most)}): {scale}"
    )
    said += f" That is more than in the counts of {_and(more)}." if more else ""
    said += "" if sampled.label is not None else " Without labels this may also be types that only some batches have."
    return Finding(key, title, level, said, tuple(rows), "batch left")


def structure_kept(sampled: Sampled, spaces: Mapping[str, Space], *, mixed: bool = True) -> Finding:
    """Whether types, and neighbourhoods within a batch, are in the embedding as they are in the data's own components.

    `mixed` says whether the batches are: if they are not, lost structure is not the price of mixing.
    """
    key, title = "structure", "Structure kept"
    cause: Cause = "over-corrected" if mixed else "under-trained"
    if not spaces:
        return Finding(key, title, "none", "There are too few cells to judge structure.")
    kept = _neighbours_kept(sampled, spaces)
    rows = [(f"{name}: reliable neighbours kept", _percent(value)) for name, value in kept.items()]
    rows += [(f"{name}: neighbours", "too noisy to judge") for name in spaces if name not in kept]
    typed = None if sampled.label is None else _types_kept(sampled, spaces, cause)
    if typed is not None:
        rows += typed.rows
    if typed is not None and typed.cause:
        return replace(typed, rows=tuple(rows))
    low = min(kept, key=lambda name: kept[name], default=None)
    if low is None:
        if typed is not None:
            return replace(typed, rows=tuple(rows))
        said = "Structure cannot be judged: there are no labels, and too few cells in each batch or too few counts in each cell."
        return Finding(key, title, "none", said, tuple(rows))
    share = (
        f"of the neighbours that a cell reliably has in the {low} counts of its batch, {_percent(kept[low])} are kept"
    )
    first = "" if typed is None else f"{typed.sentence} "
    if kept[low] >= _KEPT:
        level: Level = "good" if typed is None else typed.level
        return Finding(key, title, level, f"{first}Neighbourhoods are kept: {share}, or more.", tuple(rows))
    level = "look" if kept[low] >= _HALF_KEPT else "poor"
    many = "some" if level == "look" else "many"
    said = f"{first}{'But ' + many if first else many.capitalize()} neighbourhoods are lost: {share}."
    return Finding(key, title, level, f"{said} {_WHY[cause]}", tuple(rows), cause)


def alignment(sampled: Sampled) -> Finding:
    """Whether the modalities of one cell, each encoded alone, meet."""
    from midas.metrics import foscttm  # noqa: PLC0415 - slow to import

    key, title = "alignment", "Modalities aligned"
    rows = []
    for a, b in combinations(sampled.single, 2):
        both = np.isfinite(sampled.single[a]).all(1) & np.isfinite(sampled.single[b]).all(1)
        if both.sum() >= measures.FEW:
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
    islands = measures.batch_islands(mosaic)
    rows = tuple((f"cells with {a} and {b}", f"{n:,}") for (a, b), n in summary.bridges.items())
    if len(mosaic.batches) < 2:
        return Finding(key, title, "none", "There is one batch, so nothing has to be bridged.", rows)
    if len(islands) > 1:
        lone = islands[1:]
        named = "; ".join(_some([mosaic.batches[b] for b in group]) for group in lone)
        said = (
            f"Nothing in the data ties {named} to the other batches: they share no modality, and no cell bridges their "
            "modalities. Cells matched by genes that both speak of may tie them (the log and `midas inspect` say so); such pairs "
            "are of one type at best, so hold the result against known markers."
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
    if len(np.unique(sampled.batch)) < 2 or len(sampled.cells) < measures.FEW:
        return Finding(key, title, "none", "Not judged: it takes two batches and enough cells.")
    found = measures.batch_told(sampled.u, sampled.batch)
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
    whole = history[0]["val_total"] - value
    if best >= 0.95 * (len(history) - 1) and before - value > _STILL_FALLING * whole:
        said = "The held-out objective was still falling fast when training ended: more epochs should help."
        return Finding(key, title, "look", said, rows, "still falling")
    if last > value + 0.05 * abs(value):
        said = f"The held-out objective rose again after epoch {best + 1}; the weights of that epoch were kept."
        return Finding(key, title, "look", said, rows, "over-fitted")
    return Finding(key, title, "good", "The held-out objective had levelled off when training ended.", rows)


def best_epoch(history: list[dict[str, float]]) -> int | None:
    """Position of the epoch with the smallest held-out objective; None when no cells were held out."""
    values = [record.get("val_total", np.nan) for record in history]
    return int(np.nanargmin(values)) if np.isfinite(values).any() else None


# --------------------------------------------------------------------------------------------------------------- private

_WHY = {
    "over-corrected": "The batch may be over-corrected.",
    "under-trained": "As batches are not mixed either, the model has not learned enough yet.",
}


def _neighbours_kept(sampled: Sampled, spaces: Mapping[str, Space]) -> dict[str, float]:
    """By modality, share of the reliable neighbours of its counts that the embedding keeps."""
    found = {}
    for name, space in spaces.items():
        shared = measures.shared_neighbours(space.components, sampled.c[space.at], sampled.batch[space.at])
        if shared is not None and space.reliability is not None and space.reliability >= _TOO_NOISY:
            found[name] = min(1.0, max(0.0, shared / space.reliability))
    return found


def _types_kept(sampled: Sampled, spaces: Mapping[str, Space], cause: Cause) -> Finding | None:
    """Judge structure by types; None where that cannot be done."""
    assert sampled.label is not None
    key, title = "structure", "Structure kept"
    rows = []
    n, names = len(sampled.label_names), sampled.label_names
    losses, distinct = [], np.full(n, np.nan)
    for name, space in spaces.items():
        batch, label = sampled.batch[space.at], sampled.label[space.at]
        before = measures.types_within(space.components, batch, label, n)
        drop = before - measures.types_within(sampled.c[space.at], batch, label, n)
        if np.isfinite(drop).any():
            own = float(np.nanmean(before))
            now = own - float(np.nanmean(drop))
            losses.append((own - now, name, own, now, names[int(np.nanargmax(drop))]))
            rows.append((f"{name}: types agree, counts → embedding", f"{_percent(own)} → {_percent(now)}"))
            distinct = np.fmax(distinct, before)
    if not losses:
        return None
    worst, name, own, now, type_ = max(losses)
    compared = (
        f"{_percent(own)} of cells, averaged over types, lie among their own type in the {name} counts of their batch, "
        f"{_percent(now)} in the embedding"
    )
    swallowed = _swallowed(sampled, n)
    across = measures.types_across(sampled.c, sampled.batch, sampled.label, n)
    if np.isfinite(across).any():
        rows.append(("types agree with neighbours of other batches", _percent(float(np.nanmean(across)))))
    if swallowed:
        listed = _and(
            [f"{names[k]} ({_percent(a)}, but {_percent(b)} when all batches count)" for k, a, b in swallowed[:4]]
        )
        said = (
            f"Types are mixed with other types of other batches: cells that lie among their own type within their batch are "
            f"{listed}. The batch is over-corrected, as happens where batches do not share these types."
        )
        return Finding(key, title, "poor", said, tuple(rows), "over-corrected")
    if worst > _SOME_LOSS:
        said = f"Types are less distinct than in the counts, most of all {type_}: {compared}. {_WHY[cause]}"
        return Finding(key, title, "look" if worst <= _MUCH_LOSS else "poor", said, tuple(rows), cause)
    # Types that their own counts do not tell apart cannot be asked to meet across batches.
    missed = [k for k in range(n) if across[k] < 0.5 and distinct[k] > across[k] + _SWALLOWED]
    if missed:
        k = min(missed, key=lambda k: across[k])
        said = (
            f"Types are kept within batches, but {names[k]} meets other types across batches: {_percent(across[k])} of its cells "
            "have their own type as neighbours in other batches."
        )
        return Finding(key, title, "look", said, tuple(rows))
    return Finding(key, title, "good", f"Types are kept as well as in the counts: {compared}.", tuple(rows))


def _swallowed(sampled: Sampled, n: int) -> list[tuple[int, float, float]]:
    """Types that are distinct within a batch, but not among the cells of all; the most harmed first."""
    assert sampled.label is not None
    within = measures.types_within(sampled.c, sampled.batch, sampled.label, n)
    among = measures.types_among_all(sampled.c, sampled.label, n)
    found = [(k, float(within[k]), float(among[k])) for k in range(n) if within[k] - among[k] > _SWALLOWED]
    return sorted(found, key=lambda row: row[2] - row[1])


def _share(pairs: NDArray[np.float64]) -> float:
    known = pairs[np.isfinite(pairs)]
    return float(known.mean()) if len(known) else np.nan


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
