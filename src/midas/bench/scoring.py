"""How a result is scored: integration of the embedding, alignment of modalities, hidden counts, known state."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from itertools import combinations, permutations
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from midas import metrics
from midas.bench.data import Source
from midas.bench.grid import Instrument, Settings
from midas.bench.registry import SCRIPTS, Shape
from midas.bench.tasks import LABEL, ORIGIN, write_task
from midas.io import read_file
from midas.keys import MEASURED_PREFIX

if TYPE_CHECKING:
    from mudata import MuData
    from numpy.typing import NDArray

OVERALL: Final = "overall"
UNLABELLED: Final = ("unknown",)
_SCIB = {"Batch correction": "batch", "Bio conservation": "bio", "Total": OVERALL}
COLUMNS: Final = (
    OVERALL, "batch", "bio", "foscttm", "label_f1", "latent_foscttm", "r_rna", "r_adt", "auroc_atac", "state_r2",
)  # fmt: skip
TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        OVERALL: "overall",
        "batch": "batch",
        "bio": "bio",
        "foscttm": "FOSCTTM (copies)",
        "label_f1": "label F1 (copies)",
        "latent_foscttm": "FOSCTTM (single modalities)",
        "r_rna": "r RNA",
        "r_adt": "r ADT",
        "auroc_atac": "AUROC ATAC",
        "state_r2": "state R2",
    }
)


def instrument(data: Path | None) -> Instrument:
    """Tasks from the files in a folder, and the scores of this module."""

    def make(source: Source, task: str, settings: Settings, folder: Path) -> Shape:
        return write_task(source.load(data), task, settings.cells, folder)

    return Instrument(make, score)


def score(_: Source, __: str, folder: Path, result: Path) -> dict[str, float]:
    """Score one result.

    Parameters
    ----------
    folder
        With ``task.h5mu`` and ``truth.h5mu``.
    result
        What a method wrote.

    Returns
    -------
    Scores by name; those that the result has nothing for are left out.
    """
    mosaic, truth = read_file(folder / "task.h5mu"), read_file(folder / "truth.h5mu")
    found: dict[str, float] = {}
    with np.load(result) as arrays:
        cells = pd.Index(arrays["cells"])
        at = cells.get_indexer(truth.obs_names)
        if (at < 0).any():
            msg = f"Expected all {truth.n_obs} cells of the task in the result, found {int((at >= 0).sum())}."
            raise ValueError(msg)
        if "embedding" in arrays:
            z = arrays["embedding"][at]
            found |= integration(z, truth.obs, before_integration(folder / "task.h5mu", truth.obs_names))
            found |= copies(z, truth.obs)
            if "X_truth" in truth.obsm:
                found["state_r2"] = recovered_state(z, np.asarray(truth.obsm["X_truth"]))
        found |= single_modalities(arrays)
        for name in mosaic.mod:
            if f"imputed/{name}" in arrays:
                features = pd.Index(arrays[f"features/{name}"])
                found |= hidden_counts(arrays[f"imputed/{name}"][at], features, name, mosaic, truth)
    return found


def integration(z: NDArray[Any], obs: pd.DataFrame, before: NDArray[Any]) -> dict[str, float]:
    """ScIB's metrics by scib-metrics; batch and bio are the means of theirs, overall = 0.4 batch + 0.6 bio.

    Cells without a label are left out. One batch, or one type, has nothing to score.
    """
    try:
        from scib_metrics.benchmark import BatchCorrection, Benchmarker, BioConservation  # noqa: PLC0415
    except ModuleNotFoundError as error:
        msg = "Expected scib-metrics for the scores, found none. Install it with: pip install 'midas-mosaic[bench]'"
        raise ValueError(msg) from error
    import anndata as ad  # noqa: PLC0415

    keep = ~obs["cell_type"].isin(UNLABELLED).to_numpy()
    kept = obs.loc[keep, ["batch", "cell_type"]].astype(str).astype("category")
    if not np.isfinite(z).all():
        raise ValueError("Expected an embedding of finite numbers, found others.")
    if kept.nunique().min() < 2:
        return {}
    adata = ad.AnnData(obs=kept)
    adata.obsm["X_before"], adata.obsm["X"] = before[keep], np.ascontiguousarray(z[keep])
    bench = Benchmarker(
        adata,
        batch_key="batch",
        label_key="cell_type",
        embedding_obsm_keys=["X"],
        bio_conservation_metrics=BioConservation(nmi_ari_cluster_labels_leiden=True),
        batch_correction_metrics=BatchCorrection(),
        pre_integrated_embedding_obsm_key="X_before",
        n_jobs=1,
        progress_bar=False,
    )
    bench.prepare()
    bench.benchmark()
    row = bench.get_results(min_max_scale=False).loc["X"].astype(float)
    return {_SCIB.get(str(name), f"scib: {name}"): float(value) for name, value in row.items() if np.isfinite(value)}


def before_integration(task: Path, cells: pd.Index) -> NDArray[np.float32]:
    """The joined principal components that the method `pca` gives."""
    scripts = _scripts()
    whole = scripts.read(task)
    components: NDArray[np.float32] = scripts.joined_components(whole, 0)[whole.cells.get_indexer(cells)]
    return components


def _scripts() -> ModuleType:
    """The file that the method scripts share; it lies outside of the package, so it is loaded by its place."""
    name = "midas_bench_task_file"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / "task_file.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def copies(z: NDArray[Any], obs: pd.DataFrame) -> dict[str, float]:
    """Alignment of cells that were taken apart, one copy for each modality: how near copies of one cell are.

    Empty when the task took none apart.
    """
    origin, names = obs[ORIGIN].astype(str).to_numpy(), obs.index.astype(str)
    suffix = pd.Series([n.removeprefix(o) for n, o in zip(names, origin, strict=True)])
    parts = {p: np.flatnonzero(suffix == p) for p in sorted(set(suffix) - {""})}
    types = obs[LABEL].astype(str).to_numpy()
    distances, f1 = [], []
    for left, right in permutations(parts, 2):
        a = parts[left]
        b = parts[right][pd.Index(origin[parts[right]]).get_indexer(pd.Index(origin[a]))]
        distances.append(metrics.foscttm(z[a], z[b]))
        known = ~np.isin(types[a], UNLABELLED)
        f1.append(metrics.label_transfer_f1(z[a[known]], types[a[known]], z[b[known]], types[b[known]]))
    return {"foscttm": float(np.mean(distances)), "label_f1": float(np.mean(f1))} if distances else {}


def single_modalities(arrays: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Mean FOSCTTM between the embeddings that a method gives to the same cells from each modality alone."""
    spaces = {
        key.removeprefix("latent/"): (pd.Index(arrays[key.replace("latent/", "latent_cells/")]), arrays[key])
        for key in arrays
        if key.startswith("latent/")
    }
    values = []
    for (left, a), (right, b) in combinations(spaces.values(), 2):
        both = left.intersection(right)
        if len(both) > 1:
            values.append(metrics.foscttm(a[left.get_indexer(both)], b[right.get_indexer(both)]))
    return {"latent_foscttm": float(np.mean(values))} if values else {}


def hidden_counts(
    imputed: NDArray[Any], features: pd.Index, name: str, mosaic: MuData, truth: MuData
) -> dict[str, float]:
    """Imputed against true counts where the task hid them: correlation per feature, or AUROC of all entries for ATAC.

    Features that a batch did not measure, or that the method gives nothing for, do not count; batches count by their cells.
    """
    true = truth[name]
    hidden = true.obs_names.difference(mosaic[name].obs_names, sort=False)
    batch = truth.obs["batch"].astype(str)
    shared = features.intersection(true.var_names)
    values, weights = [], []
    for label, group in batch.reindex(hidden).groupby(batch.reindex(hidden)):
        rows = truth.obs_names.get_indexer(group.index)
        guess = imputed[rows][:, features.get_indexer(shared)]
        given = np.isfinite(guess).all(1)
        if not given.any():
            continue
        counts = np.asarray(sp.csr_matrix(true[group.index[given], shared].X).todense())
        column = f"{MEASURED_PREFIX}{label}"
        measured = true.var.loc[shared, column].to_numpy(bool) if column in true.var else np.ones(len(shared), bool)
        values.append(_agreement(guess[given], counts, measured, name))
        weights.append(int(given.sum()))
    key = "auroc_atac" if name == "atac" else f"r_{name}"
    return {key: float(np.average(values, weights=weights))} if values else {}


def _agreement(guess: NDArray[Any], true: NDArray[Any], measured: NDArray[np.bool_], name: str) -> float:
    if name == "atac":
        from sklearn.metrics import roc_auc_score  # noqa: PLC0415

        return float(roc_auc_score(true[:, measured].ravel() > 0, guess[:, measured].ravel()))
    return metrics.feature_correlation(guess, true, measured=measured)


def recovered_state(z: NDArray[Any], state: NDArray[Any]) -> float:
    """Share of the true state's variance that ridge regression on the embedding predicts in cells left out, from 0 to 1."""
    from sklearn.linear_model import RidgeCV  # noqa: PLC0415
    from sklearn.model_selection import KFold, cross_val_predict  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 7)))
    folds = KFold(5, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, z, state, cv=folds)
    residual = ((state - predicted) ** 2).sum()
    return float(max(0.0, 1 - residual / ((state - state.mean(0)) ** 2).sum()))
