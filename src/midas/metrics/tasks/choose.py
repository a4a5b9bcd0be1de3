"""Tasks by name, and custom tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import mudata as md

from midas.metrics.tasks.build import build
from midas.metrics.tasks.change import thinned, without_types
from midas.metrics.tasks.hide import all_of, hide, start, take_apart, unpair
from midas.metrics.tasks.patterns import patterns_of
from midas.metrics.tasks.read import read
from midas.metrics.tasks.record import Task, obs_column

if TYPE_CHECKING:
    from midas.modality import Modality

_DEPTH: Final = re.compile(r"depth-(\d+)")


def names(mdata: md.MuData, *, batch_key: str = "batch") -> tuple[str, ...]:
    """List the tasks that the data allow.

    The mosaic tasks need two or three modalities measured in all cells. Other data are a mosaic already: they allow ``given``,
    and ``split`` if a batch has all modalities. ``depth-<percent>`` accepts any percentage.
    """
    n, n_batches = len(mdata.mod), obs_column(mdata, batch_key).nunique()
    is_whole = all(mod.n_obs == mdata.n_obs for mod in mdata.mod.values())
    found = list(patterns_of(list(mdata.mod))) if is_whole and n in {2, 3} else ["given"]
    if n > 1:
        paired = all_of([mdata.obs_names.isin(mod.obs_names) for mod in mdata.mod.values()])
        batch = obs_column(mdata, batch_key)
        if any(paired[batch == b].all() for b in batch.unique()):
            found.append("split")
        if paired.any():
            found.append("unpaired")
    found.append("depth-25")
    return (*found, "missing-types") if n_batches > 1 else tuple(found)


def make(
    mdata: md.MuData,
    name: str,
    *,
    batch_key: str = "batch",
    label_key: str | None = "cell_type",
    n_cells: int | None = None,
    seed: int = 0,
    modalities: Mapping[str, Modality] | None = None,
) -> Task:
    """Make a task by its name.

    Parameters
    ----------
    mdata
        The data, with raw counts in ``X``; not changed.
    name
        One of :func:`names`.
    batch_key, label_key
        Columns of obs; `label_key` may be None for data without labels.
    n_cells
        Use this many cells, drawn from each batch in proportion.
    seed
        Seed of all random draws.
    modalities
        Kinds of the modalities, if their names do not identify them.

    Raises
    ------
    KeyError, ValueError
        If the data do not allow the task, or lack a column.
    """
    data = read(mdata, batch_key, label_key, modalities)
    cells = start(data, n_cells, seed)
    whole = all(seen.all() for seen in cells.seen.values())
    patterns = patterns_of(list(mdata.mod)) if whole else {}
    if name in patterns:
        return build(data, hide(cells, patterns[name], seed), name)
    if name == "split":
        return build(data, take_apart(cells, None), name)
    if name == "unpaired":
        return build(data, unpair(cells, 0.5, seed), name)
    depth = _DEPTH.fullmatch(name)
    if name == "given" or depth or name == "missing-types":
        task = build(data, cells, name)
        if depth:
            return replace(thinned(task, int(depth[1]) / 100, seed=seed), name=name)
        return replace(without_types(task), name=name) if name == "missing-types" else task
    there = ", ".join(("given", *patterns, "split", "unpaired", "depth-<percent>", "missing-types"))
    why = "" if whole else " The mosaic tasks want all modalities of all cells, which these data lack."
    msg = f"Expected a task out of {there}, found {name!r}.{why}"
    raise ValueError(msg)


def mosaic(
    mdata: md.MuData,
    seen: Sequence[Sequence[str]] | Mapping[str, Sequence[str]],
    *,
    name: str = "mosaic",
    batch_key: str = "batch",
    label_key: str | None = "cell_type",
    n_cells: int | None = None,
    seed: int = 0,
) -> Task:
    """Make a custom mosaic.

    Parameters
    ----------
    mdata
        As in :func:`make`, as are the other parameters.
    seen
        The modalities that each batch keeps: by batch name, or a list in the order of the names. The list repeats if there are
        more batches; batches are split if there are fewer.
    """
    data = read(mdata, batch_key, label_key, None)
    cells = start(data, n_cells, seed)
    known = set(cells.seen)
    kept = list(seen.values()) if isinstance(seen, Mapping) else list(seen)
    unexpected = sorted({m for of in kept for m in of} - known)
    if unexpected or not kept or not all(kept):
        msg = f"Expected for each batch some of the modalities {', '.join(sorted(known))}, found {unexpected or kept}."
        raise ValueError(msg)
    if isinstance(seen, Mapping):
        batches = sorted(set(cells.batch))
        if set(batches) != set(map(str, seen)):
            msg = f"Expected modalities for the batches {', '.join(batches)}, found {', '.join(map(str, seen))}."
            raise ValueError(msg)
        kept = [seen[b] for b in batches]
    return build(data, hide(cells, [tuple(of) for of in kept], seed), name)


def split(
    mdata: md.MuData,
    batch: str | None = None,
    *,
    batch_key: str = "batch",
    label_key: str | None = "cell_type",
    n_cells: int | None = None,
    seed: int = 0,
) -> Task:
    """Split one paired batch into a batch per modality: ``b_rna`` with the cells ``name_rna``, ``b_adt`` with ``name_adt``.

    Parameters
    ----------
    mdata
        As in :func:`make`, as are the other parameters. Modalities may be missing in other batches.
    batch
        Batch to split; None for the last one, by name, whose cells all have all modalities.
    """
    data = read(mdata, batch_key, label_key, None)
    return build(data, take_apart(start(data, n_cells, seed), batch), "split")


def unpaired(
    mdata: md.MuData,
    fraction: float = 0.5,
    *,
    batch_key: str = "batch",
    label_key: str | None = "cell_type",
    n_cells: int | None = None,
    seed: int = 0,
) -> Task:
    """Hide, for a fraction of each batch's paired cells, that their measurements belong to one cell.

    ``name`` becomes the cells ``name_rna`` and ``name_atac`` of the same batch. Parameters as in :func:`make`.
    """
    data = read(mdata, batch_key, label_key, None)
    return build(data, unpair(start(data, n_cells, seed), fraction, seed), "unpaired")
