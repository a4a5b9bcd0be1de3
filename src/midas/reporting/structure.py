"""Preservation of structure: types, and within-batch neighbourhoods, in the embedding compared with the counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midas.reporting import measures
from midas.reporting.finding import Cause, Finding, Level, Sampled, Space, listed, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

# Share of reliable neighbours kept (those that two halves of the counts agree on): at least 0.73 in good integrations, at most
# 0.65 in bad ones.
_KEPT, _HALF_KEPT = 0.7, 0.5
# Below this agreement of the halves, a modality's neighbours are noise (sparse peaks, real and simulated: 0.09 to 0.24).
_TOO_NOISY = 0.3
# Loss of types within batches: at most 0.02 in good integrations.
_SOME_LOSS, _MUCH_LOSS = 0.05, 0.15
# Decrease for a type that is absorbed by other batches' cells; in good integrations no type decreased by 0.05.
_SWALLOWED = 0.25

_WHY = {
    "over-corrected": "The batch may be over-corrected.",
    "not learned": "There is one batch, so this is no price of mixing: the model has not learned enough.",
    "under-trained": "As batches are not mixed either, the model has not learned enough yet.",
}


def structure_kept(sampled: Sampled, spaces: Mapping[str, Space], *, mixed: bool | None = True) -> Finding:
    """Whether types and within-batch neighbourhoods of the data's own components are preserved in the embedding.

    `mixed` says whether batches are mixed, None if there is only one: if they are not, lost structure is not the price of mixing.
    """
    key, title = "structure", "Structure kept"
    cause: Cause = "not learned" if mixed is None else "over-corrected" if mixed else "under-trained"
    if not spaces:
        return Finding(key, title, "none", "There are too few cells to judge structure.")
    kept = _neighbours_kept(sampled, spaces)
    rows = [(f"{name}: reliable neighbours kept", percent(value)) for name, value in kept.items()]
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
        labels = "no" if sampled.label is None else "too few"
        said = (
            f"Structure cannot be judged: there are {labels} labels, and too few cells in each batch or too few counts in each "
            "cell."
        )
        return Finding(key, title, "none", said, tuple(rows))
    share = (
        f"of the neighbours that a cell reliably has in the {low} counts of its batch, {percent(kept[low])} are kept"
    )
    first = "" if typed is None else f"{typed.sentence} "
    if kept[low] >= _KEPT:
        level: Level = "good" if typed is None else typed.level
        return Finding(key, title, level, f"{first}Neighbourhoods are kept: {share}, or more.", tuple(rows))
    level = "look" if kept[low] >= _HALF_KEPT else "poor"
    many = "some" if level == "look" else "many"
    said = f"{first}{'But ' + many if first else many.capitalize()} neighbourhoods are lost: {share}."
    return Finding(key, title, level, f"{said} {_WHY[cause]}", tuple(rows), cause)


def _neighbours_kept(sampled: Sampled, spaces: Mapping[str, Space]) -> dict[str, float]:
    """By modality, share of the reliable neighbours in its counts that the embedding keeps."""
    found = {}
    for name, space in spaces.items():
        shared = measures.shared_neighbours(space.components, sampled.c[space.at], sampled.batch[space.at])
        if shared is not None and space.reliability is not None and space.reliability >= _TOO_NOISY:
            found[name] = min(1.0, max(0.0, shared / space.reliability))
    return found


def _types_kept(sampled: Sampled, spaces: Mapping[str, Space], cause: Cause) -> Finding | None:
    """Judge structure by types; None if that is not possible."""
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
            rows.append((f"{name}: types agree, counts → embedding", f"{percent(own)} → {percent(now)}"))
            distinct = np.fmax(distinct, before)
    if not losses:
        return None
    worst, name, own, now, type_ = max(losses)
    compared = (
        f"{percent(own)} of cells, averaged over types, lie among their own type in the {name} counts of their batch, "
        f"{percent(now)} in the embedding"
    )
    swallowed = _swallowed(sampled, n)
    across = measures.types_across(sampled.c, sampled.batch, sampled.label, n)
    if np.isfinite(across).any():
        rows.append(("types agree with neighbours of other batches", percent(float(np.nanmean(across)))))
    if swallowed:
        harmed = listed(
            [f"{names[k]} ({percent(a)}, but {percent(b)} when all batches count)" for k, a, b in swallowed[:4]]
        )
        said = (
            f"Types are mixed with other types of other batches: cells that lie among their own type within their batch are "
            f"{harmed}. The batch is over-corrected, as happens where batches do not share these types."
        )
        return Finding(key, title, "poor", said, tuple(rows), "over-corrected")
    if worst > _SOME_LOSS:
        said = f"Types are less distinct than in the counts, most of all {type_}: {compared}. {_WHY[cause]}"
        return Finding(key, title, "look" if worst <= _MUCH_LOSS else "poor", said, tuple(rows), cause)
    # Types that their own counts do not distinguish cannot be expected to match across batches.
    missed = [k for k in range(n) if across[k] < 0.5 and distinct[k] > across[k] + _SWALLOWED]
    if missed:
        k = min(missed, key=lambda k: across[k])
        said = (
            f"Types are kept within batches, but {names[k]} meets other types across batches: {percent(across[k])} of its cells "
            "have their own type as neighbours in other batches."
        )
        return Finding(key, title, "look", said, tuple(rows))
    return Finding(key, title, "good", f"Types are kept as well as in the counts: {compared}.", tuple(rows))


def _swallowed(sampled: Sampled, n: int) -> list[tuple[int, float, float]]:
    """Types that are distinct within a batch, but not among all cells; the worst affected first."""
    assert sampled.label is not None
    within = measures.types_within(sampled.c, sampled.batch, sampled.label, n)
    among = measures.types_among_all(sampled.c, sampled.label, n)
    found = [(k, float(within[k]), float(among[k])) for k in range(n) if within[k] - among[k] > _SWALLOWED]
    return sorted(found, key=lambda row: row[2] - row[1])
