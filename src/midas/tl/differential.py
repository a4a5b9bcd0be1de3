"""Differential features between groups according to the model, with their uncertainty."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm

from midas.columns import as_text, group_names
from midas.decoding import States, decode
from midas.expect import expect
from midas.likelihoods import LIKELIHOODS
from midas.text import describe_names
from midas.tl.inputs import by_cell, column_of, known_names
from midas.tl.model_error import model_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from midas.data import Mosaic, MosaicData
    from midas.inference import Posterior
    from midas.model import MIDAS

logger = logging.getLogger(__name__)

_FEW = 5  # fewer cells do not show the spread of a group


@dataclass(frozen=True)
class Comparison:
    """Settings of a comparison.

    Attributes
    ----------
    delta
        Smallest absolute log2 fold change of interest.
    fdr
        Expected share of false calls, wrong signs included, among the features called.
    interval
        Coverage probability of the interval of the fold change.
    draws
        Number of draws of the fold change.
    cells
        Maximum number of cells of a group per draw; more cells give narrower draws, and take longer.
    pseudocount
        Added to both means, so that features with hardly any counts do not get large fold changes.
    normalize
        Compare shares of a cell's counts (scaled to the mean sum) instead of counts. Otherwise all genes appear up-regulated in a
        type with more RNA per cell.
    model_error
        Include the model's error in intervals and probabilities, as far as the measured counts show it. Without it they cover
        only the model's own uncertainty: on simulated data a third of the features called were wrong.
    """

    delta: float = 0.5
    fdr: float = 0.05
    interval: float = 0.95
    draws: int = 100
    cells: int = 100
    pseudocount: float = 0.1
    normalize: bool = False
    model_error: bool = True

    def __post_init__(self) -> None:
        expect(self, "delta", self.delta >= 0, "0 or more")
        for name in ("fdr", "interval"):
            expect(self, name, 0 < getattr(self, name) < 1, "a number between 0 and 1")
        expect(self, "draws", self.draws >= 2, "2 or more")
        expect(self, "cells", self.cells >= 1, "1 or more")
        expect(self, "pseudocount", self.pseudocount > 0, "a number above 0")


def differential_features(
    model: MIDAS,
    modality: str,
    groups: str | pd.Series | ArrayLike,
    *,
    report_groups: Sequence[str] | None = None,
    data: MosaicData | Mosaic | None = None,
    config: Comparison | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare each group with all other cells, by batch-corrected counts drawn from the model.

    Each draw samples cells of each group with replacement, a biological state c from each cell's posterior, and decodes it with
    the standard noise. The spread of the fold changes thus reflects the model's uncertainty about each cell and the limited
    number of cells. Cells that lack the modality are included, with imputed counts. The noise of the measured counts that the
    model was fitted to, and its distance from them, are added to the spread (`Comparison.model_error`). The variation within a
    group cannot be estimated from fewer than five cells; such groups get a warning.

    Parameters
    ----------
    model
        A trained model.
    modality
        Modality to decode. Its counts must not be negative, as logarithms are taken.
    groups
        Group of each cell: a column of obs of the cells compared, a Series by cell name, or values in the order of the cells. NaN
        for cells to leave out.
    report_groups
        Groups to report; None for all.
    data
        New cells; None for the model's own data.
    config
        Thresholds and number of draws.
    seed
        Seed of the draws.

    Returns
    -------
    One row per group and feature, most certain first: ``lfc`` (median log2 fold change) with ``low`` and ``high`` (its interval),
    ``probability`` (that it exceeds delta in one direction, the likelier of up and down), ``mean`` and ``mean_rest`` (expected
    counts), ``expected_fdr`` (mean probability, over all features up to this row, that they do not change by more than delta in
    that direction, so a wrong sign counts as a false call), and ``differential`` (whether that is at most ``fdr``).

    Examples
    --------
    >>> import midas
    >>> size = midas.simulate.SimulationConfig(n_cells=200, n_genes=60, n_peaks=80, n_proteins=10)
    >>> mdata = midas.simulate.mosaic(size)
    >>> model = midas.MIDAS(mdata, config=midas.Config.from_dict({"training": {"epochs": 2}})).fit(progress=False)
    >>> found = midas.tl.differential_features(model, "rna", "lineage", config=midas.tl.Comparison(draws=10))
    >>> found.shape, list(found.columns[:5])
    ((120, 10), ['group', 'feature', 'lfc', 'low', 'high'])
    """
    config = config or Comparison()
    if modality not in model.modalities:
        msg = f"Expected a modality out of {', '.join(model.modalities)}, found {modality!r}."
        raise ValueError(msg)
    if LIKELIHOODS[model.kinds[modality].likelihood].support != "counts":
        msg = f"Expected a modality of counts, found {modality!r}, which is {model.kinds[modality].likelihood}."
        raise ValueError(msg)
    mosaic = model.mosaic_of(data)
    index = mosaic.cells.astype(str)
    # Rows of the mosaic's obs are numbered, so names are set here.
    of = _column(mosaic, groups).set_axis(index) if isinstance(groups, str) else by_cell(groups, index, "groups")
    posterior = model.posterior(mosaic)
    members = _members(of, np.isfinite(posterior.mean).min(axis=1))
    wanted = list(members) if report_groups is None else [str(name) for name in report_groups]
    known_names(members, wanted, "groups")
    _warn_of_few({name: len(members[name]) for name in wanted})
    rows = mosaic.modalities[modality]
    known = rows.input_columns >= 0
    drawn = _means(model, modality, rows.input_columns[known], posterior, list(members.values()), config, seed)
    error = np.zeros((len(members), int(known.sum())))
    if config.model_error:
        codes = np.full(len(of), -1, dtype=np.int64)
        for g, cells in enumerate(members.values()):
            codes[cells] = g
        columns = rows.input_columns[known]
        error = model_error(model, mosaic, modality, columns, posterior, codes, config.pseudocount)
    size = np.array([len(m) for m in members.values()], dtype=np.float64)
    names, tables = rows.input_names[known].astype(str), []
    for g, name in enumerate(members):
        if name in wanted:
            others = np.where(np.arange(len(size)) == g, 0.0, size)
            rest = np.einsum("g,sgd->sd", others / others.sum(), drawn)
            tables.append(_table(name, names, drawn[:, g], rest, error[g], config))
    return pd.concat(tables, ignore_index=True)


def _column(mosaic: Mosaic, name: str) -> pd.Series:
    try:
        return column_of(mosaic, name)
    except KeyError as error:
        msg = (
            f"{error.args[0]} These are the columns that the model read: give one that was added since by its values, "
            f"groups=mdata.obs[{name!r}], or the cells anew, data=mdata."
        )
        raise KeyError(msg) from None


def _members(of: pd.Series, embedded: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    text = as_text(of)
    members = {name: np.flatnonzero((text == name) & embedded).astype(np.int64) for name in group_names(of)}
    members = {name: at for name, at in members.items() if len(at)}
    if len(members) < 2:
        msg = f"Expected two groups of cells or more, found {', '.join(members) or 'none'}."
        raise ValueError(msg)
    return members


def _warn_of_few(sizes: dict[str, int]) -> None:
    few = [f"{name} ({n})" for name, n in sizes.items() if n < _FEW]
    if few:
        logger.warning(
            "Groups of fewer than %d cells: %s. How cells of a group vary cannot be seen from so few; take what is called "
            "differential there as a hint, or join groups.",
            _FEW,
            describe_names(pd.Index(few)),
        )


def _means(
    model: MIDAS,
    modality: str,
    columns: NDArray[np.int64],
    posterior: Posterior,
    members: list[NDArray[np.int64]],
    config: Comparison,
    seed: int,
) -> NDArray[np.float32]:
    """Mean expected counts of each group in each draw, `(draws, n_groups, n_features)`."""
    rng = np.random.default_rng(seed)
    sizes = [min(len(m), config.cells) for m in members]
    starts = np.cumsum([0, *sizes[:-1]])
    means = np.empty((config.draws, len(members), len(columns)), dtype=np.float32)
    for s in range(config.draws):
        cells = np.concatenate([rng.choice(m, n) for m, n in zip(members, sizes, strict=True)])
        noise = rng.standard_normal((len(cells), posterior.mean.shape[1]), dtype=np.float32)
        c = posterior.mean[cells] + np.sqrt(posterior.variance[cells]) * noise
        z = np.hstack([c, np.broadcast_to(model.standard_noise, (len(cells), len(model.standard_noise)))])
        values = np.concatenate(list(decode(model.vae, model.schema, States(z), modality, columns)))
        if config.normalize:
            depth = values.sum(1, keepdims=True)
            values *= depth.mean() / depth
        means[s] = np.add.reduceat(values, starts, axis=0) / np.asarray(sizes, dtype=np.float32)[:, None]
    return means


def _table(
    group: str,
    names: pd.Index,
    mean: NDArray[np.float32],
    rest: NDArray[np.float32],
    error: NDArray[np.float64],
    config: Comparison,
) -> pd.DataFrame:
    """Summarise the draws `(draws, n_features)` of a group and of the rest, including the model's error."""
    change = np.log2((mean + config.pseudocount) / (rest + config.pseudocount))
    tail = 50 * (1 - config.interval)
    low, middle, high = np.percentile(change, [tail, 50, 100 - tail], axis=0)
    reach = error * norm.ppf(0.5 + config.interval / 2)
    # With zero error, this gives the share of draws beyond delta.
    sd = np.maximum(error, 1e-9)
    up, down = norm.sf((config.delta - change) / sd), norm.cdf((-config.delta - change) / sd)
    table = pd.DataFrame(
        {
            "group": group,
            "feature": names,
            "lfc": middle,
            "low": middle - np.hypot(middle - low, reach),
            "high": middle + np.hypot(high - middle, reach),
            # Not their sum: a fold change with a large error is likely to be large, but in no particular direction.
            "probability": np.maximum(up.mean(0), down.mean(0)),
            "mean": mean.mean(0),
            "mean_rest": rest.mean(0),
        }
    )
    order = np.lexsort((-np.abs(middle), -table["probability"].to_numpy()))
    table = table.iloc[order].reset_index(drop=True)
    table["expected_fdr"] = (1 - table["probability"]).cumsum() / np.arange(1, len(table) + 1)
    table["differential"] = table["expected_fdr"] <= config.fdr
    return table
