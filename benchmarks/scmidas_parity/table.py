"""What was compared and what came out, as a page."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from midas.data import Mosaic
from scmidas_parity.cases import Case
from scmidas_parity.difference import Difference
from scmidas_parity.peer import Peer


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    case: str
    quantity: str
    difference: Difference
    ok: Literal["yes", "NO", "known"]


def judge(name: str, found: Difference, tolerance: float, *, mosaic: Mosaic) -> Literal["yes", "NO", "known"]:
    """Whether a quantity agrees; "known" for what difference 8 in ``parity.py`` explains."""
    if found.relative <= tolerance:
        return "yes"
    lacking = not all(all(there) for there in mosaic.schema.batches_with.values())
    return "known" if lacking and name.startswith("training as is") else "NO"


def describe(case: Case, mosaic: Mosaic, peer: Peer) -> str:
    """One line: data, minibatches and their modalities, features that were masked."""
    parts = []
    for b, batch in enumerate(mosaic.batches):
        has = [name for name, rows in mosaic.schema.batches_with.items() if rows[b]]
        masked = {m: int((~mosaic.modalities[m].measured[b]).sum()) for m in has}
        notes = "".join(f", {n} {m} features masked" for m, n in masked.items() if n)
        parts.append(f"{batch} ({'+'.join(has)}, {len(peer.meta['cells'][batch])} cells{notes})")
    return f"{case.name}: {case.file}, scmidas {peer.meta['scmidas']}; " + "; ".join(parts)


def table(rows: Sequence[Row]) -> str:
    """Format the rows as a markdown table that also reads well on a terminal."""
    cells = [("case", "quantity", "max abs diff", "max rel diff", "ok")]
    cells += [(r.case, r.quantity, f"{r.difference.absolute:.1e}", f"{r.difference.relative:.1e}", r.ok) for r in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def report(rows: Sequence[Row], notes: Sequence[str], args: argparse.Namespace) -> str:
    """Heading, what was compared, and the table."""
    count = Counter(row.ok for row in rows)
    verdict = f"{count['yes']} of {len(rows)} quantities agree to {args.tolerance:g}, {count['NO']} do not"
    if count["known"]:
        verdict += f", {count['known']} differ for a known reason (difference 8 in benchmarks/parity.py)"
    head = (
        f"Parity with scmidas: {verdict}. Relative differences are to the largest absolute value of a quantity. Each row is "
        "the worst of all minibatches, with the batch seen and hidden; of all steps in turn where it says training."
    )
    return "\n".join([head, "", *(f"- {note}" for note in notes), "", table(rows), ""])
