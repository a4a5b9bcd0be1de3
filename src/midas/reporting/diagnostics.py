"""Are batches mixed, is structure kept, is anything disconnected? Scores with a plain sentence each.

The thresholds were set on integrations of real and simulated cells known to be good or bad; the documentation's page on reports
has the table.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from midas.data.summary import WEAK_BRIDGE
from midas.reporting import measures
from midas.reporting.finding import Finding, Level, Sampled, Space, percent, some
from midas.reporting.mixing import batch_left
from midas.reporting.structure import structure_kept

if TYPE_CHECKING:
    from midas.data import Mosaic
    from midas.data.summary import MosaicSummary

# Share of the total decrease of the objective in the last tenth of training: up to 0.003 in full runs, 0.08 in a truncated one.
_STILL_FALLING = 0.03


def findings_of(
    mosaic: Mosaic, summary: MosaicSummary, sampled: Sampled, history: list[dict[str, float]]
) -> list[Finding]:
    """Run all diagnostics on one integration."""
    spaces = spaces_of(mosaic, sampled)
    batch = batch_left(mosaic, sampled, spaces)
    return [
        batch,
        structure_kept(sampled, spaces, mixed=batch.level != "poor" if len(mosaic.batches) > 1 else None),
        alignment(sampled),
        bridges(mosaic, summary),
        technical(sampled),
        training(history),
    ]


def spaces_of(mosaic: Mosaic, sampled: Sampled) -> dict[str, Space]:
    """Components of each modality that enough cells have."""
    found = {}
    for name, part in mosaic.modalities.items():
        at = np.flatnonzero(part.present[sampled.cells])
        if len(at) >= measures.FEW:
            counts = measures.counts_of(mosaic, name, sampled.cells[at])
            reliable = measures.reliability(counts, sampled.batch[at])
            found[name] = Space(at, measures.components(counts), reliable)
    return found


def alignment(sampled: Sampled) -> Finding:
    """Whether the latents of a cell agree when each modality is encoded alone."""
    from midas.metrics import foscttm  # noqa: PLC0415 - slow to import

    key, title = "alignment", "Modalities aligned"
    rows = []
    for a, b in combinations(sampled.single, 2):
        both = np.isfinite(sampled.single[a]).all(1) & np.isfinite(sampled.single[b]).all(1)
        if both.sum() >= measures.FEW:
            rows.append((f"{a} and {b}", foscttm(sampled.single[a][both], sampled.single[b][both])))
    if not rows:
        why = "there is one modality" if len(sampled.single) < 2 else "too few cells have two modalities to check it by"
        return Finding(key, title, "none", f"Alignment of modalities was not judged: {why}.")
    pair, worst = max(rows, key=lambda row: row[1])
    shown = tuple((name, percent(value)) for name, value in rows)
    level: Level = "good" if worst < 0.1 else "look" if worst < 0.25 else "poor"
    how = {"good": "meet well", "look": "meet, but not closely", "poor": "do not meet", "none": ""}[level]
    said = (
        f"Encoded from one modality alone, the same cells {how}: for {pair}, {percent(worst)} of other cells lie closer than "
        "the cell itself (0% is perfect, 50% chance)."
    )
    return Finding(key, title, level, said, shown)


def bridges(mosaic: Mosaic, summary: MosaicSummary) -> Finding:
    """Whether every batch is connected to the others, through shared modalities or through cells that bridge modalities."""
    key, title = "bridges", "Bridges"
    islands = measures.batch_islands(mosaic)
    rows = tuple((f"cells with {a} and {b}", f"{n:,}") for (a, b), n in summary.bridges.items())
    if len(mosaic.batches) < 2:
        return Finding(key, title, "none", "There is one batch, so nothing has to be bridged.", rows)
    if len(islands) > 1:
        lone = islands[1:]
        named = "; ".join(some([mosaic.batches[b] for b in group]) for group in lone)
        said = (
            f"Nothing in the data ties {named} to the other batches: they share no modality, and no cell bridges their "
            "modalities. Cells matched by genes that both speak of may tie them (the log and `midas inspect` say so); such pairs "
            "are of one type at best, so hold the result against known markers."
        )
        return Finding(key, title, "poor", said, rows)
    weak = [f"{a} and {b} ({n:,} cells)" for (a, b), n in summary.bridges.items() if 0 < n < WEAK_BRIDGE]
    if weak:
        return Finding(
            key, title, "look", f"Every batch is tied to the others, but weakly between {'; '.join(weak)}.", rows
        )
    return Finding(
        key, title, "good", "Every batch is tied to the others by modalities or by cells that bridge them.", rows
    )


def technical(sampled: Sampled) -> Finding:
    """Whether u, the technical noise, encodes the batch."""
    key, title = "technical", "Technical noise holds the batch"
    if len(np.unique(sampled.batch)) < 2 or len(sampled.cells) < measures.FEW:
        return Finding(key, title, "none", "Not judged: it takes two batches and enough cells.")
    found = measures.batch_told(sampled.u, sampled.batch)
    rows = (("batch told from u", percent(found)),)
    if found >= 0.8:
        return Finding(key, title, "good", f"{percent(found)} of the batch can be told from u, as it should be.", rows)
    said = f"Only {percent(found)} of the batch can be told from u: batch effects may have no place to go but the embedding."
    return Finding(key, title, "look", said, rows)


def training(history: list[dict[str, float]]) -> Finding:
    """Whether training converged."""
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
    """Index of the epoch whose weights were kept; None if no cells were held out."""
    kept = [i for i, record in enumerate(history) if record.get("val_kept") == 1]
    if kept:
        return kept[-1]
    values = [record.get("val_total", np.nan) for record in history]
    return int(np.nanargmin(values)) if np.isfinite(values).any() else None
