"""Tasks: what a method may see of data, and the truth that is kept from it.

The mosaic tasks of He et al. (2024) hide whole modalities of whole batches. With A, R and D for chromatin, RNA and proteins, and
a column for each batch, in the order of their names:

================ ===== ===== ===== =====
task             1     2     3     4
================ ===== ===== ===== =====
full             ARD   ARD   ARD   ARD
paired+full      AR    AD    RD    ARD
paired-abc       AR    RD    AD    RD
paired-ab        AR    AD    AR    AD
paired-ac        AR    RD    AR    RD
paired-bc        AD    RD    AD    RD
diagonal+full    A     R     D     ARD
diagonal         A     R     D     D
paired-a         AR    AR    AR    AR
paired-b         AD    AD    AD    AD
paired-c         RD    RD    RD    RD
atac             A     A     A     A
rna              R     R     R     R
adt              D     D     D     D
================ ===== ===== ===== =====

Of two modalities X and Y there are ``paired`` (XY in all), ``<x>+paired`` (X, XY), ``<y>+paired`` (Y, XY), ``diagonal+paired``
(X, Y, XY) and ``diagonal`` (X, Y). More batches than columns start again at the first column. With fewer, the batch with the
most cells per part is cut into one part more until there are enough; a cell's part is drawn at random, and the parts of batch
``b`` are the batches ``b.1``, ``b.2``, ...

Further tasks: ``given`` hides nothing. ``split`` makes of the last batch whose cells have all modalities one batch for each
modality, ``unpaired`` does the same with half of the cells of each batch, which stay in their batch: a link between measurements
is hidden, no count. ``depth-25`` keeps 25 percent of the counts, ``missing-types`` takes another type from every batch.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from midas import keys
from midas.data import read_mosaic
from midas.data.checks import describe_names
from midas.modality import PRESETS, preset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.modality import Modality

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
_DEPTH: Final = re.compile(r"depth-(\d+)")
_SUBSAMPLE, _CUT, _UNPAIR, _THIN = range(4)  # keys of the random generators


@dataclass(frozen=True)
class Task:
    """What a method may see, and the truth.

    Attributes
    ----------
    name
        Of the task.
    mdata
        What a method may see: counts, the batch of each cell in obs, the features' own table, and for each batch with the
        modality which features it measured, ``var["measured_<batch>"]``. No labels.
    truth
        The same cells under the same names in the same order, with all counts, labels and obsm of the data.
    batch_key
        Column of obs with the batch.
    label_key
        Column of the truth's obs with the labels; None if there are none.
    origin
        For each cell of the task its name in the data. Cells of one origin are measurements of one cell.
    """

    name: str
    mdata: md.MuData
    truth: md.MuData
    batch_key: str
    label_key: str | None
    origin: pd.Series

    @property
    def batch(self) -> pd.Series:
        """Each cell's batch."""
        return _obs(self.truth, self.batch_key)

    @property
    def labels(self) -> pd.Series | None:
        """Each cell's label, None if there are none."""
        return None if self.label_key is None else _obs(self.truth, self.label_key)

    def measured(self, modality: str) -> pd.DataFrame:
        """Which features each batch measured in truth: batches x features."""
        var: pd.DataFrame = self.truth[modality].var
        flags = [c for c in var.columns if str(c).startswith(keys.MEASURED_PREFIX)]
        return var[flags].astype(bool).T.rename(lambda flag: str(flag).removeprefix(keys.MEASURED_PREFIX))

    def __repr__(self) -> str:
        seen = ", ".join(f"{name} {mod.n_obs:,}" for name, mod in self.mdata.mod.items())
        return f"Task {self.name!r}: {self.mdata.n_obs:,} cells, {self.batch.nunique()} batches; {seen}"


def names(mdata: md.MuData, *, batch_key: str = "batch") -> tuple[str, ...]:
    """List the tasks that data allow.

    The mosaic tasks want two or three modalities measured in all cells. Other data are a mosaic already: ``given``, and
    ``split`` where a batch has all modalities. ``depth-<percent>`` can be had with any percentage.
    """
    n, n_batches = len(mdata.mod), _obs(mdata, batch_key).nunique()
    is_whole = all(mod.n_obs == mdata.n_obs for mod in mdata.mod.values())
    found = list(_patterns(list(mdata.mod))) if is_whole and n in {2, 3} else ["given"]
    if n > 1:
        paired = _all_of([mdata.obs_names.isin(mod.obs_names) for mod in mdata.mod.values()])
        batch = _obs(mdata, batch_key)
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
        Columns of obs; no labels with None.
    n_cells
        Take this many cells, of each batch in proportion.
    seed
        Of all that is drawn.
    modalities
        What the modalities are, where their names do not tell.

    Raises
    ------
    KeyError, ValueError
        When the data do not allow the task, or lack a column.
    """
    data = _read(mdata, batch_key, label_key, modalities)
    cells = _start(data, n_cells, seed)
    whole = all(seen.all() for seen in cells.seen.values())
    patterns = _patterns(list(mdata.mod)) if whole else {}
    if name in patterns:
        return _build(data, _hide(cells, patterns[name], seed), name)
    if name == "split":
        return _build(data, _split(cells, None), name)
    if name == "unpaired":
        return _build(data, _unpair(cells, 0.5, seed), name)
    depth = _DEPTH.fullmatch(name)
    if name == "given" or depth or name == "missing-types":
        task = _build(data, cells, name)
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
    """Make a mosaic of one's own.

    Parameters
    ----------
    mdata
        As in :func:`make`, as are the other parameters.
    seen
        The modalities that each batch keeps: by the batch's name, or a list in the order of their names, which starts again when
        there are more batches, and cuts batches when there are fewer.
    """
    data = _read(mdata, batch_key, label_key, None)
    cells = _start(data, n_cells, seed)
    known = set(cells.seen)
    kept = list(seen.values()) if isinstance(seen, Mapping) else list(seen)
    strange = sorted({m for of in kept for m in of} - known)
    if strange or not kept or not all(kept):
        msg = f"Expected for each batch some of the modalities {', '.join(sorted(known))}, found {strange or kept}."
        raise ValueError(msg)
    if isinstance(seen, Mapping):
        batches = sorted(set(cells.batch))
        if set(batches) != set(map(str, seen)):
            msg = f"Expected modalities for the batches {', '.join(batches)}, found {', '.join(map(str, seen))}."
            raise ValueError(msg)
        kept = [seen[b] for b in batches]
    return _build(data, _hide(cells, [tuple(of) for of in kept], seed), name)


def split(
    mdata: md.MuData,
    batch: str | None = None,
    *,
    batch_key: str = "batch",
    label_key: str | None = "cell_type",
    n_cells: int | None = None,
    seed: int = 0,
) -> Task:
    """Make of one paired batch a batch for each modality: ``b_rna`` with the cells ``name_rna``, ``b_adt`` with ``name_adt``.

    Parameters
    ----------
    mdata
        As in :func:`make`, as are the other parameters. Modalities may be missing in other batches.
    batch
        To be split; None for the last, by name, whose cells all have all modalities.
    """
    data = _read(mdata, batch_key, label_key, None)
    return _build(data, _split(_start(data, n_cells, seed), batch), "split")


def unpaired(
    mdata: md.MuData,
    fraction: float = 0.5,
    *,
    batch_key: str = "batch",
    label_key: str | None = "cell_type",
    n_cells: int | None = None,
    seed: int = 0,
) -> Task:
    """Hide of a fraction of each batch's paired cells that their measurements are of one cell.

    ``name`` becomes the cells ``name_rna`` and ``name_atac`` of the same batch. Parameters as in :func:`make`.
    """
    data = _read(mdata, batch_key, label_key, None)
    return _build(data, _unpair(_start(data, n_cells, seed), fraction, seed), "unpaired")


def thinned(task: Task, fraction: float, *, modalities: Sequence[str] | None = None, seed: int = 0) -> Task:
    """Keep each single count of a task with probability `fraction`, as a shallower sequencing run would; the truth stays.

    Parameters
    ----------
    task
        Any.
    fraction
        From 0 to 1.
    modalities
        To be thinned; None for all.
    seed
        Of the draws.
    """
    if not 0 < fraction <= 1:
        msg = f"Expected a fraction above 0 and up to 1, found {fraction}."
        raise ValueError(msg)
    wanted = set(task.mdata.mod) if modalities is None else set(modalities)
    if wanted - set(task.truth.mod):
        msg = f"Expected modalities out of {', '.join(task.truth.mod)}, found {', '.join(sorted(wanted))}."
        raise ValueError(msg)
    parts = {}
    for i, (name, mod) in enumerate(task.mdata.mod.items()):
        counts = mod.X
        if name in wanted:
            rng = np.random.default_rng([seed, _THIN, i])
            counts = sp.csr_matrix(counts, copy=True)
            counts.data = rng.binomial(np.rint(counts.data).astype(np.int64), fraction).astype(counts.dtype)
            counts.eliminate_zeros()
        parts[name] = ad.AnnData(counts, obs=mod.obs.copy(), var=mod.var.copy())
    thin = _mudata(parts, task.mdata.obs.copy(), {})
    return replace(task, name=f"{task.name}, {fraction:.0%} of the counts", mdata=thin)


def without_types(task: Task, *, unlabelled: Sequence[str] = ("unknown",)) -> Task:
    """Take one type from each batch of a task: from the first the most frequent one, from the second the next, and so on.

    Only types that other batches have too are taken. The cells leave the truth as well.

    Parameters
    ----------
    task
        With labels.
    unlabelled
        Labels that are no types.
    """
    if task.labels is None:
        raise ValueError("Expected a task with labels, found one without. Name their column with label_key=.")
    batch, labels = task.batch.to_numpy(), task.labels.to_numpy()
    batches = sorted(set(batch))
    table = pd.crosstab(labels, batch)
    common = table[(table > 0).sum(axis=1) > 1].drop(index=list(unlabelled), errors="ignore")
    types = common.sum(axis=1).sort_values(ascending=False, kind="stable").index.tolist()
    gone = np.zeros(len(batch), dtype=bool)
    left = (table > 0).sum(axis=1)
    for i, b in enumerate(batches):
        mine = [t for t in types[i % max(len(types), 1) :] + types if table.loc[t, b] > 0 and left[t] > 1]
        if mine:
            gone |= (batch == b) & (labels == mine[0])
            left[mine[0]] -= 1
    if not gone.any():
        raise ValueError("Expected types that several batches have, found none: no type can be taken from a batch.")
    return _subset(task, ~gone, f"{task.name}, a type missing in each batch")


# ------------------------------------------------------------------------------------------------- what is to be done


@dataclass(frozen=True)
class _Data:
    """Data as they were read.

    Attributes
    ----------
    mdata, batch_key, label_key
        As given.
    batch
        Each cell's batch, `(n_cells,)`.
    present
        By modality, whether each cell was measured.
    measured
        By modality, a table batches x features, columns in the order of var.
    """

    mdata: md.MuData
    batch_key: str
    label_key: str | None
    batch: NDArray[np.str_]
    present: Mapping[str, NDArray[np.bool_]]
    measured: Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class _Cells:
    """The cells of a task to be, `(n,)` each: row in the data, name, batch, its batch in the data, modalities seen."""

    row: NDArray[np.int64]
    name: NDArray[np.object_]
    batch: NDArray[np.object_]
    parent: NDArray[np.object_]
    seen: Mapping[str, NDArray[np.bool_]]

    def at(self, rows: NDArray[Any]) -> _Cells:
        seen = {m: s[rows] for m, s in self.seen.items()}
        return _Cells(self.row[rows], self.name[rows], self.batch[rows], self.parent[rows], seen)


def _read(mdata: md.MuData, batch_key: str, label_key: str | None, modalities: Mapping[str, Modality] | None) -> _Data:
    if not isinstance(mdata, md.MuData):
        msg = f"Expected a MuData, found {type(mdata).__name__}. Wrap an AnnData: mudata.MuData({{'rna': adata}})."
        raise TypeError(msg)
    if not mdata.obs_names.is_unique:
        repeated = describe_names(mdata.obs_names[mdata.obs_names.duplicated()])
        msg = f"Expected each cell once, found repeated names: {repeated}. Give them unique obs_names."
        raise ValueError(msg)
    if label_key is not None:
        _obs(mdata, label_key)
    read = read_mosaic(mdata, batch_key=batch_key, modalities=modalities)
    at = read.cells.get_indexer(mdata.obs_names.astype(str))
    measured = {
        name: pd.DataFrame(
            read.modalities[name].measured[:, read.modalities[name].columns[0]], index=list(read.batches)
        )
        for name in mdata.mod
    }
    present = {name: read.modalities[name].present[at] for name in mdata.mod}
    return _Data(mdata, batch_key, label_key, np.asarray(read.batches)[read.batch[at]], present, measured)


def _start(data: _Data, n_cells: int | None, seed: int) -> _Cells:
    """All cells as they are, or some of each batch."""
    batch = data.batch.astype(object)
    cells = _Cells(np.arange(len(batch)), data.mdata.obs_names.to_numpy().astype(object), batch, batch, data.present)
    return cells if n_cells is None else cells.at(sample(data.batch, n_cells, seed=seed))


def sample(groups: Sequence[str] | NDArray[Any], n: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Draw `n` positions, of each group in proportion to its size and at least one, in ascending order; all if fewer."""
    codes, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)[1:]
    if n < 1:
        msg = f"Expected to draw 1 cell or more, found {n}."
        raise ValueError(msg)
    if n >= len(codes):
        return np.arange(len(codes))
    share = n * sizes / len(codes)
    quota = np.floor(share).astype(np.int64)
    quota[np.argsort(quota - share, kind="stable")[: n - quota.sum()]] += 1
    rng = np.random.default_rng([seed, _SUBSAMPLE])
    drawn = [rng.permutation(np.flatnonzero(codes == g))[: max(q, 1)] for g, q in enumerate(quota)]
    return np.sort(np.concatenate(drawn))


def _patterns(modalities: Sequence[str]) -> dict[str, list[tuple[str, ...]]]:
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


def _hide(cells: _Cells, patterns: Sequence[tuple[str, ...]], seed: int) -> _Cells:
    """Let each batch keep the modalities of its pattern."""
    if len(patterns) > 1:
        cells = _cut(cells, len(patterns), seed)
    order = {b: i for i, b in enumerate(sorted(set(cells.batch)))}
    kind = np.array([order[b] % len(patterns) for b in cells.batch])
    seen = {m: s & np.array([m in of for of in patterns])[kind] for m, s in cells.seen.items()}
    return replace(cells, seen=seen)


def _cut(cells: _Cells, n_batches: int, seed: int) -> _Cells:
    """Cut large batches into parts until there are enough."""
    names_, sizes = np.unique(cells.batch.astype(str), return_counts=True)
    parts = np.ones(len(names_), dtype=np.int64)
    while parts.sum() < n_batches:
        parts[np.argmax(sizes / parts)] += 1
    if (parts > sizes).any():
        msg = f"Expected cells for {n_batches} batches, found {len(cells.row)} cells."
        raise ValueError(msg)
    rng = np.random.default_rng([seed, _CUT])
    batch = cells.batch.copy()
    for name, n in zip(names_[parts > 1], parts[parts > 1], strict=True):
        mine = rng.permutation(np.flatnonzero(cells.batch == name))
        for i, rows in enumerate(np.array_split(mine, n)):
            batch[rows] = _new(f"{name}.{i + 1}", names_)
    return replace(cells, batch=batch)


def _new(name: str, taken: NDArray[np.str_]) -> str:
    if name in taken:
        msg = f"Expected no batch {name!r}, as the task makes one of that name. Rename it."
        raise ValueError(msg)
    return name


def _split(cells: _Cells, batch: str | None) -> _Cells:
    paired = _all_of(list(cells.seen.values()))
    whole = [b for b in sorted(set(cells.batch)) if paired[cells.batch == b].all()]
    if len(cells.seen) < 2 or not whole or (batch is not None and batch not in whole):
        there = ", ".join(whole) or "none"
        msg = f"Expected a batch whose cells have two or more modalities ({there}), found {batch or 'none'}."
        raise ValueError(msg)
    chosen = cells.batch == (whole[-1] if batch is None else batch)
    taken = np.unique(cells.batch.astype(str))
    return _taken_apart(cells, chosen, lambda b, modality: _new(f"{b}_{modality}", taken))


def _unpair(cells: _Cells, fraction: float, seed: int) -> _Cells:
    if not 0 < fraction <= 1:
        msg = f"Expected a fraction above 0 and up to 1, found {fraction}."
        raise ValueError(msg)
    paired = np.flatnonzero(_all_of(list(cells.seen.values())))
    if len(cells.seen) < 2 or not len(paired):
        raise ValueError("Expected cells with two or more modalities, found none.")
    rng = np.random.default_rng([seed, _UNPAIR])
    chosen = np.zeros(len(cells.row), dtype=bool)
    for b in sorted(set(cells.batch)):
        mine = rng.permutation(paired[cells.batch[paired] == b])
        chosen[mine[: round(fraction * len(mine))]] = True
    return _taken_apart(cells, chosen, lambda b, _: b)


def _taken_apart(cells: _Cells, chosen: NDArray[np.bool_], batch_of: Callable[[str, str], str]) -> _Cells:
    """Make of each chosen cell one cell for each modality; the others come first."""
    pieces = [cells.at(~chosen)]
    for modality in cells.seen:
        piece = cells.at(chosen)
        renamed = {b: batch_of(b, modality) for b in sorted(set(piece.batch))}
        pieces.append(
            replace(
                piece,
                name=np.array([f"{name}_{modality}" for name in piece.name], dtype=object),
                batch=np.array([renamed[b] for b in piece.batch], dtype=object),
                seen={m: s & (m == modality) for m, s in piece.seen.items()},
            )
        )
    return _Cells(
        row=np.concatenate([p.row for p in pieces]),
        name=np.concatenate([p.name for p in pieces]),
        batch=np.concatenate([p.batch for p in pieces]),
        parent=np.concatenate([p.parent for p in pieces]),
        seen={m: np.concatenate([p.seen[m] for p in pieces]) for m in cells.seen},
    )


# --------------------------------------------------------------------------------------------------- and its carrying out


def _build(data: _Data, cells: _Cells, name: str) -> Task:
    index = pd.Index(cells.name.astype(str))
    if not index.is_unique:
        repeated = describe_names(index[index.duplicated()])
        msg = f"Expected that the cells' new names are free, found them taken: {repeated}. Rename the cells."
        raise ValueError(msg)
    obs = _all_obs(data).iloc[cells.row].set_axis(index)
    obs[data.batch_key] = cells.batch.astype(str)
    seen, true = {}, {}
    for modality, adata in data.mdata.mod.items():
        present = data.present[modality][cells.row]
        columns = [data.batch_key] if data.label_key is None else [data.batch_key, data.label_key]
        true[modality] = _rows(adata, data, cells, present, obs[columns], modality)
        if cells.seen[modality].any():
            seen[modality] = _rows(adata, data, cells, cells.seen[modality], obs[[data.batch_key]], modality)
    obsm = {k: v for k, v in data.mdata.obsm.items() if k not in data.mdata.mod}
    return Task(
        name=name,
        mdata=_mudata(seen, obs[[data.batch_key]].copy(), {}),
        truth=_mudata(true, obs, {k: _taken(v, cells.row) for k, v in obsm.items()}),
        batch_key=data.batch_key,
        label_key=data.label_key,
        origin=pd.Series(data.mdata.obs_names[cells.row].astype(str), index=index, name="origin"),
    )


def _rows(
    adata: ad.AnnData, data: _Data, cells: _Cells, keep: NDArray[np.bool_], obs: pd.DataFrame, modality: str
) -> ad.AnnData:
    """Some cells of one modality, under their new names and batches, with a mask for each batch."""
    rows = adata.obs_names.get_indexer(data.mdata.obs_names[cells.row[keep]])
    flags = [c for c in adata.var.columns if str(c).startswith(keys.MEASURED_PREFIX)]
    parents = dict(zip(cells.batch[keep], cells.parent[keep], strict=True))
    measured = {
        f"{keys.MEASURED_PREFIX}{b}": data.measured[modality].loc[str(parents[b])].to_numpy() for b in sorted(parents)
    }
    var = pd.concat([adata.var.drop(columns=flags), pd.DataFrame(measured, index=adata.var_names)], axis=1)
    return ad.AnnData(_taken(adata.X, rows), obs=obs[keep].copy(), var=var)


def _taken(values: Any, rows: NDArray[np.int64]) -> Any:  # noqa: ANN401 - whatever AnnData holds
    if isinstance(values, pd.DataFrame):
        return values.iloc[rows].to_numpy()
    return sp.csr_matrix(values)[rows] if sp.issparse(values) else np.asarray(values)[rows]  # type: ignore[call-overload]


def _subset(task: Task, keep: NDArray[np.bool_], name: str) -> Task:
    cells = task.truth.obs_names[keep]

    def part(mdata: md.MuData) -> md.MuData:
        parts = {}
        for modality, adata in mdata.mod.items():
            rows = np.flatnonzero(adata.obs_names.isin(cells))
            parts[modality] = ad.AnnData(_taken(adata.X, rows), obs=adata.obs.iloc[rows].copy(), var=adata.var.copy())
        obsm = {k: np.asarray(v)[keep] for k, v in mdata.obsm.items() if k not in mdata.mod}
        return _mudata(parts, mdata.obs[keep].copy(), obsm)

    return replace(task, name=name, mdata=part(task.mdata), truth=part(task.truth), origin=task.origin[keep])


def _mudata(parts: Mapping[str, ad.AnnData], obs: pd.DataFrame, obsm: Mapping[str, Any]) -> md.MuData:
    """Join modalities under cells in a given order."""
    with md.set_options(pull_on_update=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")  # a gene and its protein may share a name
        mdata = md.MuData(dict(parts), obs=pd.DataFrame(index=obs.index))
    for column in obs:
        mdata.obs[column] = obs[column]
    for key, values in obsm.items():
        mdata.obsm[key] = values
    return mdata


def _obs(mdata: md.MuData, column: str) -> pd.Series:
    """A column of obs of the MuData, or else of its modalities."""
    if column in mdata.obs.columns:
        whole: pd.Series = mdata.obs[column].astype(str)
        return whole
    having = [mod.obs[column].astype(str) for mod in mdata.mod.values() if column in mod.obs.columns]
    if not having:
        there = ", ".join(map(str, mdata.obs.columns)) or "none"
        msg = f"Expected a column {column!r} of obs, found the columns: {there}. Name it with batch_key= or label_key=."
        raise KeyError(msg)
    joined: pd.Series = pd.concat(having)
    return joined[~joined.index.duplicated()].reindex(mdata.obs_names)


def _all_obs(data: _Data) -> pd.DataFrame:
    prefixes = tuple(f"{name}:" for name in data.mdata.mod)
    obs: pd.DataFrame = data.mdata.obs[[c for c in data.mdata.obs.columns if not str(c).startswith(prefixes)]].copy()
    obs[data.batch_key] = data.batch
    if data.label_key is not None:
        obs[data.label_key] = _obs(data.mdata, data.label_key)
    return obs


def _all_of(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    every: NDArray[np.bool_] = np.logical_and.reduce(masks)
    return every
