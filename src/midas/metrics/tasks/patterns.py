"""Which modalities each batch keeps in a mosaic task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from midas.modality import PRESETS, preset

_TRIMODAL: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "full": ("ARD",),
        "paired+full": ("AR", "AD", "RD", "ARD"),
        "paired-abc": ("AR", "RD", "AD", "RD"),
        "paired-ab": ("AR", "AD", "AR", "AD"),
        "paired-ac": ("AR", "RD", "AR", "RD"),
        "paired-bc": ("AD", "RD", "AD", "RD"),
        "diagonal+full": ("A", "R", "D", "ARD"),
        "diagonal": ("A", "R", "D", "D"),
        "paired-a": ("AR",),
        "paired-b": ("AD",),
        "paired-c": ("RD",),
    }
)
_LETTERS: Final = {"R": "rna", "D": "adt", "A": "atac"}


def patterns_of(modalities: Sequence[str]) -> dict[str, list[tuple[str, ...]]]:
    """By the name of a task, what each batch keeps; of two or three modalities."""
    if len(modalities) == 2:
        x, y = _ordered(modalities)
        return {
            "paired": [(x, y)],
            f"{x}+paired": [(x,), (x, y)],
            f"{y}+paired": [(y,), (x, y)],
            "diagonal+paired": [(x,), (y,), (x, y)],
            "diagonal": [(x,), (y,)],
        }
    if len(modalities) != 3:
        return {}
    by_letter = dict(zip("RDA", _ordered(modalities), strict=True))
    found = {name: [tuple(by_letter[letter] for letter in of) for of in row] for name, row in _TRIMODAL.items()}
    return found | {name: [(name,)] for name in (by_letter[letter] for letter in "ARD")}


def _ordered(modalities: Sequence[str]) -> list[str]:
    """RNA, proteins, chromatin where the names tell all of them, else as given."""
    presets = {name: preset(name) for name in modalities}
    order = [PRESETS[role] for role in _LETTERS.values()]
    if any(kind is None for kind in presets.values()):
        return list(modalities)
    return sorted(modalities, key=lambda name: next(i for i, kind in enumerate(order) if kind is presets[name]))
