"""What the page says, gathered from a model and its data; nothing here knows of HTML."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tomli_w
import torch

from midas import keys
from midas.columns import all_columns
from midas.data.summary import MosaicSummary, summarise
from midas.inference import device_of
from midas.reporting.advise import Advice, advise
from midas.reporting.choices import Choices, columns_of, is_number, label_of
from midas.reporting.colours import Column, Feature, choose_features, pack_column, pack_features
from midas.reporting.diagnose import best_epoch, diagnose
from midas.reporting.finding import Finding, Sampled
from midas.reporting.sample import plane, stratified
from midas.results import check_rows

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    from midas.data import Mosaic
    from midas.model import MIDAS

# Cells that the diagnostics look at: neighbours of a sample are found in seconds and say the same.
_MOST_JUDGED = 5_000
_CLUSTERS = 12
_LIBRARIES = ("midas-mosaic", "torch", "anndata", "mudata", "numpy", "scikit-learn", "umap-learn")


@dataclass(frozen=True)
class Plot:
    """The embedding in two dimensions and what to colour it by.

    Attributes
    ----------
    xy
        `(n_drawn, 2)`.
    method
        How it was laid out.
    names
        Of the cells, `(n_drawn,)`; empty when they are kept out of the page.
    columns
        Batch and modalities first.
    label
        Name of the column with the types, if it is shown.
    features
        Of all modalities.
    n_cells, n_lost
        Cells of the data; those without any measurement, which have no place.
    left_out
        Columns of obs that the page does not have.
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
    """How training went.

    Attributes
    ----------
    history
        One record per epoch.
    best
        Position of the best epoch; None when no cells were held out.
    device
        Where the model is.
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
    """Where the page comes from: versions, seed, configuration in TOML, and how to repeat it."""

    versions: dict[str, str]
    seed: int
    config: str
    command: str
    created: str


@dataclass(frozen=True)
class Content:
    """All that the page says."""

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
    """Gather what the page says.

    Parameters
    ----------
    model
        Trained.
    data
        Its own data, or new cells.
    choices
        What goes onto the page.
    seed
        Of samples and layout.
    title
        Of the page.
    command
        What repeats the run; None for lines of Python.
    """
    mosaic = model.read(data)
    check_rows(mosaic.cells, data)
    obs = all_columns(data)
    label = label_of(obs, choices.label)
    columns, left_out = columns_of(obs, choices)
    if label is not None:
        obs[label] = _as_types(obs[label])
    z = model.posterior(mosaic, part="z").mean
    placed = np.flatnonzero(np.isfinite(z).all(1))
    types = _codes(obs, label)
    strata = (mosaic.batch[placed], pd.factorize(mosaic.combinations())[0][placed], types[0][placed])
    drawn = placed[stratified(strata, choices.most_cells, seed)]
    judged = placed[stratified(strata, _MOST_JUDGED, seed)]
    sampled = _sampled(model, mosaic, z, judged, types if label is not None else None)
    summary = summarise(replace(mosaic, notes=_notes(model, mosaic)))
    history = [{str(k): float(v) for k, v in row.items()} for row in model.history.to_dict("records")]
    findings = diagnose(mosaic, summary, sampled, history)
    clusters = _clusters(sampled.c, seed)
    groups = clusters if sampled.label is None else sampled.label
    features = choose_features(mosaic, judged, groups, choices.features, len(drawn), spare=clusters)
    dim_c = model.config.network.dim_c
    xy, method = plane(z[drawn, :dim_c], seed)
    own = {
        "batch": pd.Series(
            pd.Categorical(np.asarray(mosaic.batches)[mosaic.batch[drawn]], categories=list(mosaic.batches))
        ),
        "modalities": mosaic.combinations().iloc[drawn].reset_index(drop=True),
    }
    shown = {name: obs[name].iloc[drawn] for name in columns if name not in {model.batch_key, *own}}
    plot = Plot(
        xy=xy,
        method=method,
        names=tuple(mosaic.cells[drawn].astype(str)) if choices.cell_names else (),
        columns=tuple(pack_column(name, values) for name, values in {**own, **shown}.items()),
        label=label if label in shown else None,
        features=tuple(pack_features(model, mosaic, drawn, features)),
        n_cells=mosaic.n_cells,
        n_lost=mosaic.n_cells - len(placed),
        left_out=tuple(name for name in left_out if name != model.batch_key),
    )
    return Content(
        title=title,
        summary=summary,
        model_features={name: part.n_features for name, part in model.schema.modalities.items()},
        training=Training(model.history, best_epoch(history), _device(model)),
        plot=plot,
        findings=tuple(findings),
        advice=tuple(advise(findings, model.config)),
        n_judged=len(judged),
        judged_by=None if sampled.label is None else label,
        origin=_origin(model, command),
    )


def _notes(model: MIDAS, mosaic: Mosaic) -> tuple[str, ...]:
    own = () if model.mosaic is None else model.mosaic.notes
    return tuple(dict.fromkeys((*own, *mosaic.notes)))


def _codes(obs: pd.DataFrame, label: str | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if label is None:
        return np.zeros(len(obs), dtype=np.int64), ()
    values = obs[label]
    text = values.astype(object).where(values.notna(), None).map(lambda value: None if value is None else str(value))
    # Such words say that a type is missing; they are no type whose cells should lie together.
    text = text.where(~text.astype(str).str.lower().isin(keys.NO_LABEL), None)
    codes, names = pd.factorize(text, sort=True)
    return codes.astype(np.int64), tuple(map(str, names))


def _as_types(values: pd.Series) -> pd.Series:
    """Types that are numbers get a legend, not a colour scale; whole ones are 1 and not 1.0 where some are missing."""
    if not is_number(values):
        return values
    numbers = values.dropna()
    if (numbers % 1 == 0).all():
        values, numbers = values.astype("Int64"), numbers.astype("Int64")
    return values.astype(pd.CategoricalDtype(sorted(numbers.unique())))


def _sampled(
    model: MIDAS,
    mosaic: Mosaic,
    z: NDArray[np.float32],
    cells: NDArray[np.int64],
    types: tuple[NDArray[np.int64], tuple[str, ...]] | None,
) -> Sampled:
    dim_c = model.config.network.dim_c
    single = {}
    for name in model.modalities if len(model.modalities) > 1 else ():
        single[name] = model.posterior(mosaic, modalities=[name], part="c").mean[cells]
    return Sampled(
        cells=cells,
        c=z[cells, :dim_c],
        u=z[cells, dim_c:],
        single=single,
        batch=mosaic.batch[cells],
        label=None if types is None or len(types[1]) < 2 else types[0][cells],
        label_names=() if types is None else types[1],
    )


def _clusters(c: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import

    n = min(_CLUSTERS, len(np.unique(c, axis=0)))
    if n < 2:
        return np.zeros(len(c), dtype=np.int64)
    found: NDArray[np.int64] = KMeans(n, n_init=1, random_state=seed).fit_predict(c).astype(np.int64)
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
