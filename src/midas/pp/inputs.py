"""Resolve the user's input into files, batches and modalities, and check for raw counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from anndata.utils import make_index_unique
from mudata import MuData

from midas.columns import as_text
from midas.data.checks import CountsError, scan
from midas.data.joint import joint
from midas.data.measured import flags_in
from midas.data.parts import Layer, Part, counts_of, is_modalities, rows_in
from midas.data.sources import open_source
from midas.keys import INPUT_BATCH, MEASURED_PREFIX
from midas.modality import PRESETS, canonical
from midas.pp.arrays import arrays_of
from midas.pp.beside import proteins_beside
from midas.pp.folders import in_folder
from midas.pp.mtx import MtxFiles, read_mtx
from midas.pp.pairing import paired
from midas.pp.read import by_modality, read_any
from midas.pp.samples import Sample, csr, listed
from midas.text import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

PrepareInput: TypeAlias = str | Path | AnnData | MuData

BATCH_KEY = "batch"  # default column of the input, and column of the mosaic
# Names that do not identify the sample: the parent folder has a better one.
_GENERIC = {
    "filtered_feature_bc_matrix",
    "raw_feature_bc_matrix",
    "sample_filtered_feature_bc_matrix",
    "filtered_gene_bc_matrices",
    "filtered_peak_bc_matrix",
    "cellranger_arc",
    "matrix",
    "outs",
    "count",
    "",
}


def collect(
    sources: Mapping[str, PrepareInput] | Iterable[PrepareInput],
    *,
    batch_key: str | None = "batch",
    layer: Layer = None,
) -> list[Sample]:
    """Read all sources; returns one sample for each modality of each batch.

    Parameters
    ----------
    sources
        Files, folders and objects. In a dict the key is the batch, unless all keys are modalities (``{"rna": adata, ...}``): then
        the dict is one object, like a dict of AnnData by modality under a batch. A string ``name=path`` also names the batch; the
        same name may be given twice, for files with different modalities of the same cells. Without a name, the batch is taken
        from ``obs[batch_key]``, or else from the file name.
    batch_key
        Column of obs that names batches, in ``.h5ad`` and ``.h5mu`` files and objects. Any column other than the default
        ``batch`` must exist in at least one of them. None if each file or object is one batch.
    layer
        Layer of these with the counts, or a dict of layers by modality (X for modalities left out); X if there is no such layer.

    Raises
    ------
    DataFileError, CountsError, TypeError, ValueError
        If something cannot be read, is not raw counts, or is given twice.
    """
    if isinstance(sources, str | Path | AnnData | MuData):
        sources = [sources]
    elif is_modalities(sources):
        sources = [joint(sources)]
    elif isinstance(sources, Mapping):
        sources = {batch: joint(source) if is_modalities(source) else source for batch, source in sources.items()}
    pairs = list(sources.items()) if isinstance(sources, Mapping) else [named(source) for source in sources]
    if not pairs:
        raise ValueError("Expected files or folders to prepare, found none.")
    samples: list[Sample] = []
    wanted = _by_modality(layer)
    layers: set[str] = set()  # that the objects have
    columns: set[str] = set()
    for number, (name, source) in enumerate(pairs, 1):
        for opened in _open(source, number):
            layers |= opened.layers
            columns |= opened.columns
            samples += _samples(opened, name, batch_key, wanted)
    if batch_key is not None and batch_key not in {BATCH_KEY, *columns}:
        there = listed(sorted(columns), 20) or "none"
        msg = f"Expected a column {batch_key!r} in obs of some of the input, found the columns: {there}."
        raise ValueError(msg)
    lost = sorted(set(wanted.values()) - layers)
    if lost:
        there = ", ".join(sorted(layers)) or "none"
        msg = f"Expected a layer {lost[0]!r} in some of the input, found the layers: {there}."
        raise ValueError(msg)
    kept = [sample for sample in samples if sample.modality in PRESETS]
    if not kept:
        found = listed(sorted({sample.modality for sample in samples}))
        msg = f"Expected RNA, proteins or peaks in the files, found only {found or 'no features'}."
        raise ValueError(msg)
    _check_once(kept, batch_key)
    strangers = sorted({s.modality for s in samples if s.modality not in PRESETS})
    note = (f"Features of the type {listed(strangers)} are left out: MIDAS knows RNA, proteins and peaks.",)
    kept = [replace(kept[0], notes=kept[0].notes + note), *kept[1:]] if strangers else kept
    return paired(kept)


def _by_modality(layer: Layer) -> dict[str, str]:
    """Layer of the counts in each modality, for those that store them in one."""
    named = layer if isinstance(layer, Mapping) else dict.fromkeys(PRESETS, layer)
    strangers = [name for name in named if canonical(name) not in PRESETS]
    if strangers:
        msg = f"Expected layer= by modality ({', '.join(PRESETS)}), found {', '.join(strangers)}."
        raise ValueError(msg)
    return {canonical(name): key for name, key in named.items() if key is not None and key != "X"}


def named(source: PrepareInput) -> tuple[str | None, PrepareInput]:
    """Split ``name=path``; an existing path is never split."""
    if isinstance(source, str) and "=" in source and not Path(source).exists():
        name, path = source.split("=", 1)
        return name, path
    return None, source


@dataclass(frozen=True)
class _Opened:
    """Content of one file or object.

    Attributes
    ----------
    data
        The object.
    label
        Name used in messages.
    kind
        Type of file, in words.
    batch
        Name of its batch by default.
    notes
        Messages for the user.
    """

    data: AnnData | MuData
    label: str
    kind: str
    batch: str
    notes: tuple[str, ...] = ()

    @property
    def layers(self) -> set[str]:
        """Names of its layers, in any modality."""
        return {str(name) for adata in self._parts for name in adata.layers}

    @property
    def columns(self) -> set[str]:
        """Names of its columns of obs, in any modality."""
        return {str(name) for part in (self.data, *self._parts) for name in part.obs.columns}

    @property
    def _parts(self) -> list[AnnData]:
        return list(self.data.mod.values()) if isinstance(self.data, MuData) else [self.data]


def _open(source: PrepareInput, number: int) -> list[_Opened]:
    if isinstance(source, AnnData | MuData):
        return [_Opened(source, f"object {number}", type(source).__name__, f"batch{number}")]
    if not isinstance(source, str | Path):
        msg = f"Expected a file, a folder, an AnnData or a MuData, found {type(source).__name__}."
        raise TypeError(msg)
    path = Path(source)
    if not path.is_dir():
        return [_read(path)]
    found, notes = in_folder(path)
    first, *others = [_read(each) for each in found]
    return [replace(first, notes=tuple(notes)), *others]


def _read(place: Path | MtxFiles) -> _Opened:
    if isinstance(place, MtxFiles):
        label = str(place.matrix if place.prefix else place.folder)
        return _Opened(read_mtx(place), label, "mtx", place.prefix.rstrip("._- ") or _batch_name(place.folder))
    data, kind = read_any(place)
    return _Opened(data, str(place), kind, _batch_name(place))


def _batch_name(path: Path) -> str:
    """Name of the file without extensions, or of a parent folder if it does not identify the sample."""
    for place in (path, *path.absolute().parents):
        name = place.name.removesuffix(".gz")
        for ending in (".h5", ".h5ad", ".h5mu"):
            name = name.removesuffix(ending)
        for generic in sorted(_GENERIC - {""}, key=len, reverse=True):
            # Only as a separate word: "discount" is a name, "d1_count" is a name followed by such a word.
            name = re.sub(rf"(^|[._\- ]){generic}$", "", name).rstrip("._- ")
        if name:
            return name
    return "batch1"


def _samples(opened: _Opened, name: str | None, batch_key: str | None, layers: Mapping[str, str]) -> list[Sample]:
    """Split one object by modality and batch, and check its counts, which some modalities store in `layers`."""
    data, label, kind, notes = opened.data, opened.label, opened.kind, list(opened.notes)
    if isinstance(data, AnnData) and not opened.layers.intersection(layers.values()):
        data = _raw_counts(data, label, notes)
    samples = []
    parts, taken = _modalities(data, label, notes)
    if isinstance(data, AnnData) and opened.layers:
        lost = dict.fromkeys(layers[m] for m in parts if m in layers and layers[m] not in opened.layers)
        notes += [f"{label}: there is no layer {one!r}; the counts were taken from X." for one in lost]
    for modality, (adata, obs) in parts.items():
        if modality not in PRESETS:
            samples.append(Sample(label, kind, name or opened.batch, modality, adata, tuple(notes)))
            continue
        counts = _checked(adata, modality, label, layers.get(modality))
        batch = _batch(obs, name, opened.batch, batch_key, label)
        if name is not None and batch_key in obs.columns and (batch_key != BATCH_KEY or obs[batch_key].nunique() > 1):
            notes.append(_named_note(obs[batch_key], name, label))
        every = _with_batch(obs, batch, batch_key, label, notes, named=name is not None)
        arrays = {key: values for key, values in arrays_of(data, adata).items() if key != taken}
        for one in dict.fromkeys(batch):
            cells = batch == one
            columns = _measured(adata, one)
            told = every.loc[cells]
            told.index = _told_apart(told.index, data, f"{label}, {modality}, batch {one!r}", notes)
            part = AnnData(
                counts[cells][:, columns],
                obs=told,
                var=adata.var.loc[columns, [c for c in adata.var if not str(c).startswith(MEASURED_PREFIX)]],
                obsm={key: values[cells] for key, values in arrays.items()},
            )
            samples.append(Sample(label, kind, _written(one), modality, part, tuple(notes)))
            notes = []
    return samples


def _modalities(
    data: AnnData | MuData, label: str, notes: list[str]
) -> tuple[dict[str, tuple[AnnData, pd.DataFrame]], str | None]:
    """Return the modalities with their cells' columns, and the obsm key from which proteins were taken, if any."""
    own = {name: (adata, _obs(data, adata)) for name, adata in by_modality(data).items()}
    if "adt" not in own:
        for adata, obs in own.values() if isinstance(data, MuData) else [(data, data.obs)]:
            beside = proteins_beside(adata, obs, label, notes)
            if beside is not None:
                return {**own, "adt": (beside.adata, beside.adata.obs)}, beside.key
    return own, None


def _with_batch(
    obs: pd.DataFrame, batch: NDArray[np.object_], batch_key: str | None, label: str, notes: list[str], *, named: bool
) -> pd.DataFrame:
    """Columns of the cells, with the batch in `batch_key`; the mosaic's own batch column is left free."""
    table = obs.copy()
    if BATCH_KEY in table.columns:
        own = table.pop(BATCH_KEY)
        if (as_text(own) != batch).any():
            table[INPUT_BATCH] = own
            notes.append(f"{label}: its column {BATCH_KEY!r} is kept as {INPUT_BATCH!r}, as it names other batches.")
    if batch_key not in {None, BATCH_KEY} and not (named and batch_key in table.columns):
        table[batch_key] = [_written(one) for one in batch]
    return table


def _written(batch: str) -> str:
    """Name of a batch without slashes, which would split column names in the file."""
    return batch.replace("/", "_")


def _told_apart(names: pd.Index, data: AnnData | MuData, label: str, notes: list[str]) -> pd.Index:
    """Number the cells of one batch that share a name, unless modalities are to be matched by name."""
    if names.is_unique:
        return names
    if isinstance(data, MuData):
        repeated = listed(names[names.duplicated()].unique().tolist())
        msg = f"{label}: expected each cell once, found repeated names: {repeated}. Give them unique names."
        raise ValueError(msg)
    said = counted(int(names.duplicated().sum()), "barcode occurs again", "barcodes occur again")
    notes.append(f"{label}: {said}; -1, -2, ... were put behind.")
    unique: pd.Index = make_index_unique(names)
    return unique


def _raw_counts(adata: AnnData, label: str, notes: list[str]) -> AnnData:
    """Use the counts in ``raw`` if X was normalised and raw was not."""
    if adata.raw is None or (adata.X is not None and _whole(adata.X)) or not _whole(adata.raw.X):
        return adata
    notes.append(f"{label}: X is no counts; the counts were taken from raw.")
    return AnnData(adata.raw.X, obs=adata.obs, var=adata.raw.var, obsm=dict(adata.obsm), uns=dict(adata.uns))


def _whole(matrix: Any) -> bool:  # noqa: ANN401 - whatever AnnData holds
    values = csr(matrix).data if sp.issparse(matrix) else np.asarray(matrix)
    return bool((values == np.rint(values)).all())


def _checked(adata: AnnData, modality: str, label: str, layer: str | None) -> sp.csr_matrix:
    """Find the counts, in `layer` if it exists, and refuse values that are not counts, mentioning a missing layer."""
    part = Part(modality, adata, f"{label}, {modality}", pd.Series("", index=adata.obs_names))
    counts = counts_of(part, layer if layer in adata.layers else None)
    try:
        scan(open_source(counts), "counts", part, np.zeros(adata.n_obs, dtype=np.int64), 1)
    except CountsError as error:
        if layer is None or layer in adata.layers:
            raise
        msg = f"{part.label}: there is no layer {layer!r}, so X was looked at. {error}"
        raise CountsError(msg) from error
    return csr(counts)


def _obs(data: AnnData | MuData, adata: AnnData) -> pd.DataFrame:
    """Columns of the cells, those of the MuData first."""
    own: pd.DataFrame = adata.obs.copy()
    if isinstance(data, MuData):
        at = rows_in(data, next(name for name, each in data.mod.items() if each is adata))
        if at is None and data.obs_names.is_unique:
            at = data.obs_names.get_indexer(adata.obs_names)
        if at is not None:
            for column in data.obs.columns:
                if ":" not in str(column):  # these are copies of the modalities' own columns
                    own[column] = data.obs[column].array[at]
    return own


def _batch(
    obs: pd.DataFrame, name: str | None, fallback: str, batch_key: str | None, label: str
) -> NDArray[np.object_]:
    """Name of each cell's batch."""
    if name is not None or batch_key is None or batch_key not in obs.columns:
        return np.full(len(obs), name or fallback, dtype=object)
    batch = as_text(obs[batch_key])
    missing = obs[batch_key].isna().to_numpy() | (batch == "")  # files may store missing text as ""
    if missing.any():
        msg = f"{label}: expected a batch for every cell in {batch_key!r}, found {int(missing.sum()):,} without."
        raise ValueError(msg)
    return batch


def _named_note(column: pd.Series, name: str, label: str) -> str:
    n = column.nunique()
    several = f", though it names {n:,} batches: leave out the name to keep them apart" if n > 1 else ""
    return f"{label}: all of it is batch {name!r}, as named; its column {column.name!r} was not used{several}."


def _measured(adata: AnnData, batch: str) -> np.ndarray:
    flag = f"{MEASURED_PREFIX}{batch}"
    whole = np.ones(adata.n_vars, dtype=bool)
    return flags_in(adata.var[flag], f"var[{flag!r}]") if flag in adata.var.columns else whole


def _check_once(samples: list[Sample], batch_key: str | None) -> None:
    batches: dict[str, set[str]] = {}
    for sample in samples:
        batches.setdefault(sample.source, set()).add(sample.batch)
    seen: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        other = seen.setdefault((sample.batch, sample.modality), sample)
        if other is sample:
            continue
        if max(len(batches[other.source]), len(batches[sample.source])) == 1:
            advice = f"Name the batches apart: {sample.batch}_1={other.source} {sample.batch}_2={sample.source}"
        else:  # a name would merge all batches in the file into one
            advice = f"Give them different names in the column {batch_key!r} of obs, as they hold several batches."
        msg = (
            f"Expected one {sample.modality} matrix for batch {sample.batch!r}, found two: {other.source} and {sample.source}. "
            f"{advice}"
        )
        raise ValueError(msg)
