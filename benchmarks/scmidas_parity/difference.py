"""How far apart two sides are, quantity by quantity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scmidas_parity.peer import Tensors


@dataclass(frozen=True)
class Difference:
    """How far two arrays are apart: largest absolute difference, and that over the largest value of scmidas."""

    absolute: float
    relative: float

    @classmethod
    def of(cls, ours: Tensor, theirs: Tensor) -> Difference:
        """Compare; arrays of unlike shapes, or that are not finite, are infinitely far apart."""
        if ours.shape != theirs.shape or not bool(torch.isfinite(ours).all() & torch.isfinite(theirs).all()):
            return cls(float("inf"), float("inf"))
        absolute = float((ours.double() - theirs.double()).abs().max())
        scale = float(theirs.abs().max())
        return cls(absolute, 0.0 if absolute == 0 else absolute / scale if scale else float("inf"))


MISSING = Difference(float("inf"), float("inf"))

# First words of the names of quantities, in the order of the table.
KINDS = ("counts", "mask", "expert", "joint", "single", "batch", "decoded", "loss", "gradient", "training")


def compare(ours: Tensors, theirs: Tensors) -> dict[str, Difference]:
    """Worst difference of each quantity; one that only one side has differs."""
    out: dict[str, Difference] = {}
    for name in sorted(set(ours) | set(theirs)):
        found = Difference.of(ours[name], theirs[name]) if name in ours and name in theirs else MISSING
        keep_worst(out, quantity(name), found)
    return out


def keep_worst(worst: dict[str, Difference], name: str, found: Difference) -> None:
    """Enter a difference if it is larger than what is there."""
    old = worst.get(name, Difference(0.0, 0.0))
    worst[name] = Difference(max(old.absolute, found.absolute), max(old.relative, found.relative))


def quantity(name: str) -> str:
    """Name of the row of the table that an array belongs to; parameters of a part of the model share one."""
    kind, _, rest = name.partition(".")
    if kind == "gradient":
        module, part = rest.split(".")[:2]
        rest = "discriminators" if module == "dsc" else part
    return " ".join([kind + ":" * (kind in {"loss", "gradient", "training"}), *rest.split(".")]).strip()


def place(name: str) -> tuple[int, str]:
    """Sort key of a quantity in the table."""
    return KINDS.index(name.split(maxsplit=1)[0].rstrip(":")), name
