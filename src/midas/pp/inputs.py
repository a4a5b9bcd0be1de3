"""What the user gave, sorted out: which files, which batches, which modalities; raw counts checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from midas.data.checks import scan
from midas.data.measured import flags_in
from midas.data.parts import Part, counts_of
from midas.data.sources import open_source
from midas.io import DataFileError
from midas.keys import MEASURED_PREFIX
from midas.modality import PRESETS
from midas.pp.arrays import arrays_of
from midas.pp.mtx import find_mtx, read_mtx
from midas.pp.read import by_modality, read_any
from midas.pp.samples import Sample, csr, listed

Source: TypeAlias = str | Path | AnnData | MuData

# Names that say nothing about the sample: the folder above has the better one.
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
    sources: Mapping[str, Source] | Iterable[Source], *, batch_key: str = "batch", layer: str | None = None
) -> list[Sample]:
    """Read everything; one sample for each modality of each batch.

    Parameters
    ----------
    sources
        Files, folders and objects. In a dict the key is the batch. A text ``name=path`` names the batch likewise; the same name
        may be given twice, for files that hold different modalities of the same cells. Without a name the batch is what
        ``obs[batch_key]`` says, or else is called like the file.
    batch_key
        Column of obs that names batches, in ``.h5ad`` and ``.h5mu`` files and objects.
    layer
        Layer that holds the counts in these; X where there is no such layer.

    Raises
    ------
    DataFileError, CountsError, TypeError, ValueError
        When something cannot be read, is not raw counts, or is there twice.
    """
    if isinstance(sources, str | Path | AnnData | MuData):
        sources = [sources]
    pairs = list(sources.items()) if isinstance(sources, Mapping) else [named(source) for source in sources]
    if not pairs:
        raise ValueError("Expected files or folders to prepare, found none.")
    samples: list[Sample] = []
    for number, (name, source) in enumerate(pairs, 1):
        for data, label, kind, fallback in _open(source, number):
            samples += _samples(data, label, kind, name, fallback, batch_key, layer)
    kept = [sample for sample in samples if sample.modality in PRESETS]
    if not kept:
        found = listed(sorted({sample.modality for sample in samples}))
        msg = f"Expected RNA, proteins or peaks in the files, found only {found or 'no features'}."
        raise ValueError(msg)
    _check_once(kept)
    strangers = sorted({s.modality for s in samples if s.modality not in PRESETS})
    note = (f"Features of the type {listed(strangers)} are left out: MIDAS knows RNA, proteins and peaks.",)
    return [replace(kept[0], notes=kept[0].notes + note), *kept[1:]] if strangers else kept


def named(source: Source) -> tuple[str | None, Source]:
    """Split ``name=path``; a path that exists is never split."""
    if isinstance(source, str) and "=" in source and not Path(source).exists():
        name, path = source.split("=", 1)
        return name, path
    return None, source


def _open(source: Source, number: int) -> list[tuple[AnnData | MuData, str, str, str]]:
    """Read what one source holds: the data, what to call it, its kind, and the name of its batch if nothing better is said."""
    if isinstance(source, AnnData | MuData):
        return [(source, f"object {number}", type(source).__name__, f"batch{number}")]
    if not isinstance(source, str | Path):
        msg = f"Expected a file, a folder, an AnnData or a MuData, found {type(source).__name__}."
        raise TypeError(msg)
    path = Path(source)
    return _open_folder(path) if path.is_dir() else [(*_read(path), _batch_name(path))]


def _read(path: Path) -> tuple[AnnData | MuData, str, str]:
    data, kind = read_any(path)
    return data, str(path), kind


def _open_folder(folder: Path) -> list[tuple[AnnData | MuData, str, str, str]]:
    """A matrix, or several, or folders and files that hold one sample each."""
    here = find_mtx(folder)
    if here:
        return [
            (read_mtx(f), str(f.matrix if f.prefix else folder), "mtx", f.prefix.rstrip("._- ") or _batch_name(folder))
            for f in here
        ]
    inside = [
        path
        for path in sorted(folder.iterdir())
        if (path.is_dir() and _holds_samples(path)) or path.suffix in {".h5", ".h5ad", ".h5mu"}
    ]
    inside = _without_raw(inside)
    if not inside:
        there = listed(sorted(path.name for path in folder.iterdir())) or "nothing"
        msg = (
            f"{folder}: expected a folder with matrix.mtx, barcodes.tsv and features.tsv, or one that holds such folders or "
            f".h5, .h5ad or .h5mu files, found {there}."
        )
        raise DataFileError(msg)
    return [
        opened
        for path in inside
        for opened in (_open_folder(path) if path.is_dir() else [(*_read(path), _batch_name(path))])
    ]


def _holds_samples(folder: Path) -> bool:
    found = any(find_mtx(folder)) or any(p.suffix in {".h5", ".h5ad", ".h5mu"} for p in folder.iterdir())
    return found or any(p.is_dir() and _holds_samples(p) for p in folder.iterdir())


def _without_raw(paths: list[Path]) -> list[Path]:
    """Of the output of Cell Ranger, take the filtered cells alone, and the .h5 file rather than the folder of the same name."""
    names = {path.name for path in paths}
    filtered = any("filtered" in name and "bc_matrix" in name for name in names)
    if not filtered:
        return paths
    return [
        path
        for path in paths
        if "filtered" in path.name and "bc_matrix" in path.name and not (path.is_dir() and f"{path.name}.h5" in names)
    ]


def _batch_name(path: Path) -> str:
    """Name of the file without endings, or of a folder above it when that says nothing."""
    for place in (path, *path.absolute().parents):
        name = place.name.removesuffix(".gz")
        for ending in (".h5", ".h5ad", ".h5mu"):
            name = name.removesuffix(ending)
        for generic in sorted(_GENERIC - {""}, key=len, reverse=True):
            name = name.removesuffix(generic).rstrip("._- ")
        if name:
            return name
    return "batch1"


def _samples(
    data: AnnData | MuData,
    label: str,
    kind: str,
    name: str | None,
    fallback: str,
    batch_key: str,
    layer: str | None,
) -> list[Sample]:
    """Cut one object by modality and batch, and check its counts."""
    notes: list[str] = []
    if isinstance(data, AnnData) and not data.obs_names.is_unique:
        data = data.copy()
        notes.append(f"{label}: {int(data.obs_names.duplicated().sum()):,} barcodes occur again; they got -1, -2, ...")
        data.obs_names_make_unique()
    samples = []
    if isinstance(data, AnnData):
        data = _raw_counts(data, label, notes)
    for modality, adata in by_modality(data).items():
        if modality not in PRESETS:
            samples.append(Sample(label, kind, name or fallback, modality, adata, tuple(notes)))
            continue
        counts = _checked(adata, modality, label, layer)
        obs = _obs(data, adata)
        batch = _batch(obs, name, fallback, batch_key, label)
        arrays = arrays_of(data, adata)
        for one in batch.unique():
            cells = (batch == one).to_numpy()
            columns = _measured(adata, str(one))
            part = AnnData(
                counts[cells][:, columns],
                obs=obs.loc[cells].drop(columns=[batch_key], errors="ignore"),
                var=adata.var.loc[columns, [c for c in adata.var if not str(c).startswith(MEASURED_PREFIX)]],
                obsm={key: values[cells] for key, values in arrays.items()},
            )
            # A slash would part the names of columns in the file.
            samples.append(Sample(label, kind, str(one).replace("/", "_"), modality, part, tuple(notes)))
            notes = []
    return samples


def _raw_counts(adata: AnnData, label: str, notes: list[str]) -> AnnData:
    """Take the counts from ``raw`` where X was normalised and raw was not."""
    if adata.raw is None or _whole(adata.X) or not _whole(adata.raw.X):
        return adata
    notes.append(f"{label}: X is no counts; the counts were taken from raw.")
    return AnnData(adata.raw.X, obs=adata.obs, var=adata.raw.var, obsm=dict(adata.obsm))


def _whole(matrix: Any) -> bool:  # noqa: ANN401 - whatever AnnData holds
    values = csr(matrix).data if sp.issparse(matrix) else np.asarray(matrix)
    return bool((values == np.rint(values)).all())


def _checked(adata: AnnData, modality: str, label: str, layer: str | None) -> sp.csr_matrix:
    """Find the counts, refuse what is none, and what has repeated cells."""
    part = Part(modality, adata, f"{label}, {modality}", pd.Series("", index=adata.obs_names))
    counts = counts_of(part, layer if layer in adata.layers else None)
    scan(open_source(counts), "counts", part, np.zeros(adata.n_obs, dtype=np.int64), 1)
    if not adata.obs_names.is_unique:
        repeated = listed(adata.obs_names[adata.obs_names.duplicated()].tolist())
        msg = f"{label}, {modality}: expected each cell once, found repeated names: {repeated}. Give them unique names."
        raise ValueError(msg)
    return csr(counts)


def _obs(data: AnnData | MuData, adata: AnnData) -> pd.DataFrame:
    """Columns of the cells, those of the MuData first."""
    own: pd.DataFrame = adata.obs.copy()
    if isinstance(data, MuData):
        shared = data.obs
        if not shared.index.is_unique:
            return own
        for column in shared.columns:
            if ":" not in str(column):  # copies of the modalities' own columns
                own[column] = shared[column].reindex(own.index)
    return own


def _batch(obs: pd.DataFrame, name: str | None, fallback: str, batch_key: str, label: str) -> pd.Series:
    if name is not None or batch_key not in obs.columns:
        return pd.Series(name or fallback, index=obs.index)
    batch = obs[batch_key]
    if batch.isna().any():
        msg = f"{label}: expected a batch for every cell in {batch_key!r}, found {int(batch.isna().sum()):,} without."
        raise ValueError(msg)
    return batch.astype(str)


def _measured(adata: AnnData, batch: str) -> np.ndarray:
    flag = f"{MEASURED_PREFIX}{batch}"
    whole = np.ones(adata.n_vars, dtype=bool)
    return flags_in(adata.var[flag], f"var[{flag!r}]") if flag in adata.var.columns else whole


def _check_once(samples: list[Sample]) -> None:
    seen: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        other = seen.setdefault((sample.batch, sample.modality), sample)
        if other is not sample:
            msg = (
                f"Expected one {sample.modality} matrix for batch {sample.batch!r}, found two: {other.source} and "
                f"{sample.source}. Name the batches apart: {sample.batch}_1={other.source} {sample.batch}_2={sample.source}"
            )
            raise ValueError(msg)
