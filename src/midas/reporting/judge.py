"""Judge an integration: sample cells, run the diagnostics, and give advice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas import keys
from midas.columns import all_columns, as_text, group_names
from midas.data.combine import take_cells
from midas.data.summary import MosaicSummary, summarise
from midas.plane import is_number
from midas.reporting.advise import Advice, advise
from midas.reporting.choices import label_of
from midas.reporting.diagnostics import findings_of
from midas.reporting.finding import Finding, Sampled
from midas.reporting.sample import stratified

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    from midas.data import Mosaic
    from midas.model import MIDAS

# Number of cells used: a sample gives the same result, and its neighbours are found in seconds.
_MOST_JUDGED = 5_000


@dataclass(frozen=True)
class Judged:
    """Result of judging an integration.

    Attributes
    ----------
    z
        Posterior means of all cells, `(n_cells, dim_z)`; NaN for cells without any modality.
    placed
        Indices of the cells with a posterior mean.
    strata
        Codes of these cells by batch, combination of modalities and type, each `(n_placed,)`.
    sampled
        The sampled cells that were used.
    summary
        Summary of the mosaic.
    findings, advice
        Results of the diagnostics, and what to try next.
    """

    z: NDArray[np.float32]
    placed: NDArray[np.int64]
    strata: tuple[NDArray[np.int64], ...]
    sampled: Sampled
    summary: MosaicSummary
    findings: tuple[Finding, ...]
    advice: tuple[Advice, ...]

    def draw(self, n: int, seed: int) -> NDArray[np.int64]:
        """Indices of up to `n` cells, sampled in proportion by batch, combination and type, except for the rarest."""
        return self.placed[stratified(self.strata, n, seed)]


def diagnose(
    model: MIDAS, data: MuData | AnnData | None = None, *, label: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Judge an integration: whether batches mixed, structure was kept, modalities met, and training was long enough.

    Runs the diagnostics of :func:`midas.report` without the page; the thresholds are documented there.

    Parameters
    ----------
    model
        A trained model.
    data
        The model's own data, or new cells; None for the data that it was created with.
    label
        Column of obs with cell types, used to detect over-correction; None for the first one named ``cell_type`` or similar.
    seed
        Seed of the sample of cells.

    Returns
    -------
    One row per diagnostic, by its key: `level` (``good``, ``look`` for worth a look, ``poor``, ``none`` if it could not be
    judged), `title` and `sentence`. ``attrs["advice"]`` lists what to try next, most useful first.

    Examples
    --------
    >>> found = midas.diagnose(model)
    >>> found.index.tolist()
    ['batch', 'structure', 'alignment', 'bridges', 'technical', 'training']
    """
    mosaic = model.mosaic_of(data)
    obs = mosaic.obs if data is None else all_columns(data)
    name = label_of(obs, label)
    judged = judge(model, mosaic, None if name is None else obs[name], seed=seed)
    rows = [(f.key, f.level, f.title, f.sentence) for f in judged.findings]
    table = pd.DataFrame(rows, columns=["key", "level", "title", "sentence"]).set_index("key")
    table.attrs["advice"] = [" ".join(filter(None, (a.sentence, a.toml))) for a in judged.advice]
    return table


def judge(model: MIDAS, mosaic: Mosaic, types: pd.Series | None, *, seed: int) -> Judged:
    """Judge an integration on a sample of the cells of a mosaic.

    Parameters
    ----------
    model
        Trained model.
    mosaic
        The model's own mosaic, or one that it read.
    types
        Types of the cells, `(n_cells,)`; None if unknown.
    seed
        Seed of the sample.
    """
    z = model.posterior(mosaic, part="z").mean
    placed = np.flatnonzero(np.isfinite(z).all(1))
    codes, names = (np.zeros(mosaic.n_cells, dtype=np.int64), ()) if types is None else _codes(as_types(types))
    strata = (mosaic.batch[placed], pd.factorize(mosaic.combinations())[0][placed], codes[placed])
    cells = placed[stratified(strata, _MOST_JUDGED, seed)]
    sampled = _sampled(model, mosaic, z, cells, None if types is None else (codes, names))
    summary = summarise(replace(mosaic, notes=_notes(model, mosaic)))
    epochs = epochs_of(model)
    findings = findings_of(mosaic, summary, sampled, epochs)
    advice = advise(findings, model.config, len(epochs))
    return Judged(z, placed, strata, sampled, summary, tuple(findings), tuple(advice))


def epochs_of(model: MIDAS) -> list[dict[str, float]]:
    """Terms of the objective in each epoch of training."""
    return [{str(k): float(v) for k, v in row.items()} for row in model.history.to_dict("records")]


def as_types(values: pd.Series) -> pd.Series:
    """Convert numeric types to text for a legend instead of a colour scale; integers are 1 and not 1.0 if some are missing."""
    if not is_number(values):
        return values
    numbers = values.dropna()
    if (numbers % 1 == 0).all():
        values, numbers = values.astype("Int64"), numbers.astype("Int64")
    return values.astype(pd.CategoricalDtype(sorted(numbers.unique())))


def _notes(model: MIDAS, mosaic: Mosaic) -> tuple[str, ...]:
    own = () if model.mosaic is None else model.mosaic.notes
    return tuple(dict.fromkeys((*own, *mosaic.notes)))


def _codes(values: pd.Series) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    # These words mean that a type is missing; such cells are not a type that should lie together.
    names = [name for name in group_names(values) if name.lower() not in keys.NO_LABEL]
    return pd.Categorical(as_text(values), categories=names).codes.astype(np.int64), tuple(names)


def _sampled(
    model: MIDAS,
    mosaic: Mosaic,
    z: NDArray[np.float32],
    cells: NDArray[np.int64],
    types: tuple[NDArray[np.int64], tuple[str, ...]] | None,
) -> Sampled:
    dim_c = model.config.network.dim_c
    single = {}
    some = take_cells(mosaic, cells)  # the whole mosaic would take long if it is large
    for name in model.modalities if len(model.modalities) > 1 else ():
        single[name] = model.posterior(some, modalities=[name], part="c").mean
    return Sampled(
        cells=cells,
        c=z[cells, :dim_c],
        u=z[cells, dim_c:],
        single=single,
        batch=mosaic.batch[cells],
        label=None if types is None or len(types[1]) < 2 else types[0][cells],
        label_names=() if types is None else types[1],
    )
