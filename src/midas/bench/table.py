"""Summarise runs in one table: mean and spread over seeds, as CSV (all scores) and as markdown (selected ones)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from midas.bench.data import SOURCES
from midas.bench.registry import METHODS
from midas.files import replacing

KEYS: Final = ("dataset", "task", "method")
COST: Final = ("train_cpu_s", "cpu_s", "wall_s", "rss_mb")
_LIMITED: Final = "† "
_COST_TITLES: Final = {"train_cpu_s": "training CPU s", "cpu_s": "CPU s", "wall_s": "wall s", "rss_mb": "peak MB"}


def runs(out: Path) -> pd.DataFrame:
    """All runs in a folder: one row each, with status, costs, and ``score:<name>`` columns."""
    rows = []
    for file in sorted((out / "runs").glob("*/*/*/*/run.json")):
        row: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        path = file.relative_to(out / "runs").parts
        row |= dict(zip((*KEYS, "seed"), (*path[:3], int(path[3])), strict=True))
        scores = file.with_name("scores.json")
        if scores.is_file():
            found = json.loads(scores.read_text(encoding="utf-8"))
            row |= {f"score:{name}": value for name, value in found.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds.

    Parameters
    ----------
    table
        Result of :func:`runs`.

    Returns
    -------
    One row per data set, task and method, in the order of the registries: ``limited`` (by time), ``status`` (of the worst seed),
    ``reason``, ``seeds`` (number of successful ones), and for each cost and score its mean under its name and the standard
    deviation under ``<name> sd`` (NaN for one seed).
    """
    if table.empty:
        return pd.DataFrame(columns=[*KEYS, "limited", "status", "reason", "seeds"])
    values = [c for c in (*COST, *(c for c in table if str(c).startswith("score:"))) if c in table]
    worst = ("failed", "timeout", "missing", "cannot", "ok")
    rows = []
    for key, group in table.groupby(list(KEYS), sort=False):
        good = group[group["status"] == "ok"]
        statuses = set(group["status"])
        status = next(s for s in worst if s in statuses)
        reasons = group.loc[group["status"] == status, "reason"]
        row: dict[str, Any] = dict(zip(KEYS, key, strict=True))
        limits = pd.to_numeric(good["limit_s"], errors="coerce") if "limit_s" in good else pd.Series(dtype=float)
        row |= {"limited": bool(limits.notna().any())}
        row |= {"status": status, "reason": reasons.iloc[0] if status != "ok" else None, "seeds": len(good)}
        for name in values:
            numbers = pd.to_numeric(good[name], errors="coerce").dropna()
            row[str(name).removeprefix("score:")] = numbers.mean() if len(numbers) else np.nan
            row[f"{str(name).removeprefix('score:')} sd"] = numbers.std(ddof=1) if len(numbers) > 1 else np.nan
        rows.append(row)
    found = pd.DataFrame(rows)
    return found.loc[sorted(found.index, key=lambda at: _order(*found.loc[at, list(KEYS)]))].reset_index(drop=True)


def _order(*key: str) -> tuple[tuple[int, str], ...]:
    """Registered names in their order, followed by others sorted by name."""
    tasks = SOURCES[key[0]].tasks if key[0] in SOURCES else ()
    lists: tuple[Sequence[str], ...] = (list(SOURCES), tasks, list(METHODS))
    return tuple(
        (known.index(name) if name in known else len(known), name) for known, name in zip(lists, key, strict=True)
    )


def scores_in(summary: pd.DataFrame) -> list[str]:
    """Names of the scores of a summary, in its order."""
    known = {*KEYS, "limited", "status", "reason", "seeds", *COST}
    return [str(c) for c in summary if c not in known and not str(c).endswith(" sd")]


def markdown(summary: pd.DataFrame, scores: Sequence[str], titles: Mapping[str, str]) -> str:
    """One table per data set and task, followed by methods that could not be run, with the reason, and the data set's note."""
    lines: list[str] = []
    for (dataset, task), part in summary.groupby(["dataset", "task"], sort=False):
        shown = [name for name in scores if name in part and part[name].notna().any()]
        ran = part[part["seeds"] > 0]
        costs = [name for name in COST if name in part and part[name].notna().any()]
        lines += [f"### {dataset}, {task}", ""]
        header = ["method", *(titles.get(name, name) for name in shown), *(_COST_TITLES[name] for name in costs)]
        lines += ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
        for _, row in ran.iterrows():
            best = {n for n in shown if pd.notna(row[n]) and np.isclose(row[n], _best(ran[n], n))}
            cells = [_cell(row, name, bold=name in best) for name in shown]
            cells += [_cell(row, name, digits=1 if name != "rss_mb" else 0) for name in costs]
            lines.append("| " + " | ".join([_LIMITED * row["limited"] + str(row["method"]), *cells]) + " |")
        lines.append("")
        for _, row in part[part["status"] != "ok"].iterrows():
            lines.append(f"- {row['method']}: {_word(row)}; {row['reason']}")
        lines.append("")
    return "\n".join(lines)


def _word(row: pd.Series[Any]) -> str:
    words = {"cannot": "cannot", "failed": "failed", "timeout": "ended", "missing": "not run"}
    return words[row["status"]] + (f" ({row['seeds']} seeds succeeded)" if row["seeds"] else "")


def _best(values: pd.Series[Any], name: str) -> float:
    return float(values.min() if lower_is_better(name) else values.max())


def lower_is_better(name: str) -> bool:
    """Whether a score measures distance from the truth."""
    return name.endswith("foscttm")


def _cell(row: pd.Series[Any], name: str, *, digits: int = 3, bold: bool = False) -> str:
    if pd.isna(row[name]):
        return "·"
    text = f"{row[name]:.{digits}f}"
    spread = row.get(f"{name} sd")
    text = f"**{text}**" if bold else text
    return text if spread is None or pd.isna(spread) else f"{text} ± {spread:.{digits}f}"


def write_tables(
    out: Path, *, scores: Sequence[str] | None = None, titles: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Write ``table.csv`` (all scores) and ``table.md`` (`scores`, with notes) into `out`.

    Parameters
    ----------
    out
        Folder of the runs.
    scores
        Columns of the markdown table; None for all.
    titles
        Headings of scores.

    Returns
    -------
    Result of :func:`summarise`.
    """
    summary = summarise(runs(out))
    with replacing(out / "table.csv") as scratch:
        summary.to_csv(scratch, index=False)
    text = markdown(summary, scores if scores is not None else scores_in(summary), titles or {})
    with replacing(out / "table.md") as scratch:
        scratch.write_text(text + "\n" + notes(out, summary) + "\n", encoding="utf-8")
    return summary


def notes(out: Path, summary: pd.DataFrame) -> str:
    """Notes for the reader of the table: settings, methods, data sets."""
    lines = [
        "Mean over seeds, ± standard deviation where there are several. Best of a column in bold. `·`: the method gives none."
    ]
    file = out / "settings.json"
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        cells = f"at most {found['cells']:,} cells of each task" if found["cells"] else "all cells"
        limit = "their own advice on epochs"
        if found["seconds"]:
            limit = f"no more than {found['seconds']:g} CPU seconds of training for methods that train in epochs"
        lines.append(f"Settings: {cells}; {limit}; {found['threads']} thread(s) a method, one method at a time.")
    if summary["limited"].any():
        lines.append(
            f"{_LIMITED.strip()}: stopped after a given time of training, most often long before its own advice; its scores are "
            "those of that budget and say nothing of how good it gets. Methods without the mark ran to their own end, so compare "
            "their seconds too."
        )
    lines.append(
        "CPU and memory are of the whole process, results included: a method that gives more kinds of results writes more."
    )
    lines += ["", "Methods:", ""]
    lines += [f"- {name}: {METHODS[name].description}" for name in METHODS if name in set(summary["method"])]
    lines += ["", "Data:", ""]
    lines += [f"- {name}: {SOURCES[name].note}" for name in SOURCES if name in set(summary["dataset"])]
    return "\n".join(lines)
