"""Content of the page, gathered from a model and its data; independent of HTML."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tomli_w
import torch

from midas.columns import all_columns, as_text
from midas.data.summary import MosaicSummary
from midas.expect import sklearn_seed
from midas.inference import device_of
from midas.reporting.advise import Advice
from midas.reporting.choices import Choices, columns_of, label_of
from midas.reporting.colours import Column, Feature, choose_features, pack_column, pack_features
from midas.reporting.diagnostics import best_epoch
from midas.reporting.finding import Finding
from midas.reporting.judge import as_types, epochs_of, judge
from midas.reporting.sample import plane
from midas.results import check_rows

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    from midas.model import MIDAS

_CLUSTERS = 12
_LIBRARIES = ("midas-mosaic", "torch", "anndata", "mudata", "numpy", "scikit-learn", "umap-learn")


@dataclass(frozen=True)
class Plot:
    """The embedding in two dimensions, and what to colour it by.

    Attributes
    ----------
    xy
        `(n_drawn, 2)`.
    method
        Layout method.
    names
        Names of the cells, `(n_drawn,)`; empty if they are not included in the page.
    columns
        Batch and modalities as in the model first; columns of obs with these names but other values end in ``(yours)``.
    label
        Name of the column with cell types, if shown.
    features
        Features of all modalities.
    n_cells, n_lost
        Number of cells in the data, and of cells without any measurement, which have no position.
    left_out
        Columns of obs that are not in the page.
    """

    xy: NDArray[np.float32]
    method: str
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    label: str | None
    features: tuple[Feature, ...]
    n_cells: int
    n_lost: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """Record of the training.

    Attributes
    ----------
    history
        One record per epoch.
    best
        Index of the best epoch; None if no cells were held out.
    device
        Device of the model.
    """

    history: pd.DataFrame
    best: int | None
    device: str

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return float(self.history["seconds"].iloc[-1]) if "seconds" in self.history and len(self.history) else None


@dataclass(frozen=True)
class Origin:
    """Provenance of the page: versions, seed, configuration in TOML, and how to repeat the run."""

    versions: dict[str, str]
    seed: int
    config: str
    command: str
    created: str


@dataclass(frozen=True)
class Content:
    """All content of the page."""

    title: str
    summary: MosaicSummary
    model_features: dict[str, int]
    training: Training
    plot: Plot
    findings: tuple[Finding, ...]
    advice: tuple[Advice, ...]
    n_judged: int
    judged_by: str | None
    origin: Origin


def gather_content(
    model: MIDAS,
    data: MuData | AnnData,
    choices: Choices,
    *,
    seed: int = 0,
    title: str = "MIDAS integration",
    command: str | None = None,
) -> Content:
    """Gather the content of the page.

    Parameters
    ----------
    model
        Trained model.
    data
        The model's own data, or new cells.
    choices
        What the page shows.
    seed
        Seed of samples and layout.
    title
        Title of the page.
    command
        Command that repeats the run; None for lines of Python.
    """
    mosaic = model.read(data)
    check_rows(mosaic.cells, data)
    obs = all_columns(data)
    label = label_of(obs, choices.label)
    columns, left_out = columns_of(obs, choices)
    if label is not None:
        obs[label] = as_types(obs[label])
    judged = judge(model, mosaic, obs[label] if label is not None else None, seed=seed)
    sampled, z = judged.sampled, judged.z
    drawn = judged.draw(choices.most_cells, seed)
    clusters = _clusters(sampled.c, seed)
    groups = clusters if sampled.label is None else sampled.label
    features = choose_features(mosaic, sampled.cells, groups, choices.features, len(drawn), spare=clusters)
    dim_c = model.config.network.dim_c
    xy, method = plane(z[drawn, :dim_c], seed)
    own = {
        "batch": pd.Series(
            pd.Categorical(np.asarray(mosaic.batches)[mosaic.batch[drawn]], categories=list(mosaic.batches))
        ),
        "modalities": mosaic.combinations().iloc[drawn].reset_index(drop=True),
    }
    titles = {
        name: f"{name} (yours)" if name in own else name
        for name in columns
        if name != model.batch_key and not (name in own and _same(obs[name].iloc[drawn], own[name]))
    }
    shown = {title: obs[name].iloc[drawn] for name, title in titles.items()}
    plot = Plot(
        xy=xy,
        method=method,
        names=tuple(mosaic.cells[drawn].astype(str)) if choices.cell_names else (),
        columns=tuple(pack_column(name, values) for name, values in {**own, **shown}.items()),
        label=None if label is None else titles.get(label),
        features=tuple(pack_features(model, mosaic, drawn, features)),
        n_cells=mosaic.n_cells,
        n_lost=mosaic.n_cells - len(judged.placed),
        left_out=tuple(name for name in left_out if name != model.batch_key),
    )
    return Content(
        title=title,
        summary=judged.summary,
        model_features={name: part.n_features for name, part in model.schema.modalities.items()},
        training=Training(model.history, best_epoch(epochs_of(model)), _device(model)),
        plot=plot,
        findings=judged.findings,
        advice=judged.advice,
        n_judged=len(sampled.cells),
        judged_by=None if sampled.label is None else label,
        origin=_origin(model, command),
    )


def _same(one: pd.Series, other: pd.Series) -> bool:
    return bool((as_text(one) == as_text(other)).all())


def _clusters(c: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import

    n = min(_CLUSTERS, len(np.unique(c, axis=0)))
    if n < 2:
        return np.zeros(len(c), dtype=np.int64)
    found: NDArray[np.int64] = KMeans(n, n_init=1, random_state=sklearn_seed(seed)).fit_predict(c).astype(np.int64)
    return found


def _device(model: MIDAS) -> str:
    device = device_of(model.vae)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def _origin(model: MIDAS, command: str | None) -> Origin:
    versions = {"Python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if command is None:
        layer = "" if model.layer is None else f", layer={model.layer!r}"
        command = (
            "import midas\n"
            'config = midas.Config.from_toml("config.toml")  # the configuration below\n'
            f"model = midas.MIDAS(data, batch_key={model.batch_key!r}{layer}, config=config, seed={model.seed}).fit()\n"
            'midas.report(model, data, "report.html")'
        )
    config = tomli_w.dumps(model.config.to_dict())
    return Origin(versions, model.seed, config, command, datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
