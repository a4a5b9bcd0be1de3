"""Batch mixing: how far batches are separated in the embedding, compared with the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midas.reporting import measures
from midas.reporting.finding import Finding, Level, Sampled, Space, listed, percent, some

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from midas.data import Mosaic

# Separation by batch: up to 0.17 in good integrations, 0.25 and more without the adversarial term.
_SOME_BATCH, _MUCH_BATCH = 0.2, 0.4
# For a single pair of batches: up to 0.47 in good integrations, 0.57 and more without the adversarial term.
_ONE_PAIR = 0.5


def batch_left(mosaic: Mosaic, sampled: Sampled, spaces: Mapping[str, Space]) -> Finding:
    """How far the embedding is separated by batch, compared with the counts."""
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
    rows = [("embedding, all cells", percent(left)), (f"least mixed: {name}", percent(most))]
    before, more = [], []
    for modality, space in spaces.items():
        batch = sampled.batch[space.at]
        label = None if sampled.label is None else sampled.label[space.at]
        held = _share(measures.separation(space.components, batch, label))
        now = _share(measures.separation(sampled.c[space.at], batch, label))
        if np.isfinite(held):
            before.append(f"{percent(held)} in {modality}")
            more += [modality] if now > max(held + 0.05, 0.1) else []
            rows += [(f"{modality} counts", percent(held)), (f"embedding, cells with {modality}", percent(now))]
    scale = f"two of them are {percent(left)} apart on average{' within types' if sampled.label is not None else ''}"
    scale += " (0% is as by chance, 100% wholly apart)"
    scale += (
        f", their counts {listed(before)}." if before else ". No two share a modality, so counts cannot be compared."
    )
    scale += _without_labels(mosaic, sampled)
    level: Level = (
        "poor" if left >= _MUCH_BATCH else "look" if left >= _SOME_BATCH or most >= _ONE_PAIR or more else "good"
    )
    if level == "good":
        said = f"Batches are well mixed: {scale}"
        said += "" if sampled.label is not None else " Whether wrong types were mixed cannot be seen without labels."
        return Finding(key, title, level, said, tuple(rows))
    said = (
        f"{'Much' if level == 'poor' else 'Some'} of the batch is left, most between {name} ({percent(most)}): {scale}"
    )
    said += f" That is more than in the counts of {listed(more)}." if more else ""
    said += "" if sampled.label is not None else " Without labels this may also be types that only some batches have."
    return Finding(key, title, level, said, tuple(rows), "batch left")


def _without_labels(mosaic: Mosaic, sampled: Sampled) -> str:
    """State which batches were compared without labels although others have some."""
    if sampled.label is None:
        return ""
    bare = np.unique(sampled.batch)[measures.unlabelled(sampled.batch, sampled.label)]
    if not len(bare):
        return ""
    has = "has" if len(bare) == 1 else "have"
    return (
        f" {some([mosaic.batches[b] for b in bare])} {has} hardly a label and {'was' if len(bare) == 1 else 'were'} compared "
        "without: types that only some batches have count as batch there."
    )


def _share(pairs: NDArray[np.float64]) -> float:
    known = pairs[np.isfinite(pairs)]
    return float(known.mean()) if len(known) else np.nan
