"""What a trained model has learned besides its weights: about its cells, batches and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from midas import keys
from midas.batch_effects import batch_distances
from midas.borrowing import MOST_LENDERS, Borrowing, Lenders
from midas.inference import standard_noise
from midas.readings import Readings, read_by_combination
from midas.results import cell_table
from midas.spread import Spread, find_spread

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from midas.config import InferenceConfig
    from midas.data import Mosaic
    from midas.inference import Posterior
    from midas.nn import VAE


# Decoding more lenders would set the peak memory of training.
_LENDERS_FOR_SPREAD: Final = 4_000
# Columns of obs with more distinct values are not listed as labels.
_MOST_LABELS: Final = 100


@dataclass(frozen=True)
class Learned:
    """What is stored along with a model's weights.

    Attributes
    ----------
    standard_u
        Technical noise for decoding batch-corrected counts, `(dim_u,)`.
    history
        One record per epoch.
    card
        Human-readable summary of the training data: cells by batch and modality, labels.
    cells
        Obs columns and latents of the training cells, without counts; None if they were not saved.
    distances
        Distances between batches, by name; empty if unknown.
    measured
        By modality, features measured by each batch that has it, batches x features, by name.
    spread
        Overdispersion of counts, by modality.
    readings
        Posterior means of some of the cells from subsets of their modalities; None if unknown.
    interrupted
        Whether Ctrl-C stopped the training.
    """

    standard_u: NDArray[np.float32]
    history: list[dict[str, float]] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)
    cells: AnnData | None = None
    distances: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(dtype=np.float32))
    measured: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    spread: Mapping[str, Spread] = field(default_factory=dict)
    readings: Readings | None = None
    interrupted: bool = False

    def borrowing(
        self, modality: str, mosaic: Mosaic, lacks: NDArray[np.bool_], *, k: int, seed: int, most: int = MOST_LENDERS
    ) -> Borrowing | None:
        """Let a mosaic's cells borrow from `k` of the model's cells that measured `modality`; None if no cell borrows.

        Lenders are sampled from at most `most` cells.
        """
        whole = mosaic.modalities[modality].measured.all()
        if self.cells is None or k == 0 or (whole and not lacks.any()):
            return None
        lenders = Lenders.of(self.cells, modality, self.measured[modality], self.distances, seed=seed, most=most)
        return Borrowing.from_cells(lenders, mosaic, modality, lacks, k)

    def without_cells(self) -> Learned:
        """Copy without any information on single cells."""
        return replace(self, cells=None, readings=None)

    def continuing(
        self,
        reference: Learned,
        cells: AnnData,
        counts: tuple[Mosaic, NDArray[np.int64]] | None,
        readings: Readings | None,
        *,
        seed: int,
    ) -> Learned:
        """Copy that includes what a reference has learned: its standard noise, batch distances, measured features and cells.

        Parameters
        ----------
        cells
            The reference's cells and the model's own, in this order.
        counts
            Counts of all or some of `cells`, with their row numbers there; None if the reference has no counts.
        readings
            Posterior means of some of `cells` from subsets of their modalities.
        """
        if counts is None:
            distances = self.distances.combine_first(reference.distances)
        else:
            mosaic, rows = counts
            distances = compared(mosaic, np.asarray(cells.obsm[keys.LATENT], dtype=np.float32)[rows], seed=seed)
        measured = {name: _joined(reference.measured.get(name), own) for name, own in self.measured.items()}
        return replace(
            self,
            standard_u=reference.standard_u,
            cells=cells,
            distances=distances,
            measured=measured,
            readings=readings,
            spread=self._spread_beside(reference),
        )

    def _spread_beside(self, reference: Learned) -> dict[str, Spread]:
        """Combine overdispersions: the model's own for features that its cells were measured in, otherwise the reference's.

        Features unknown to both get the reference's median.
        """
        found = dict(self.spread)
        for name, older in reference.spread.items():
            panels = self.measured[name]
            at = reference.measured[name].columns.get_indexer(panels.columns)
            excess = np.where(at >= 0, older.excess[:, at], np.median(older.excess, axis=1, keepdims=True))
            if name in found:
                excess = np.where(panels.to_numpy().any(0), found[name].excess, excess)
            found[name] = Spread(np.ascontiguousarray(excess, dtype=np.float32))
        return found


def learn(
    vae: VAE, mosaic: Mosaic, encoded: Posterior, history: list[dict[str, float]], config: InferenceConfig, *, seed: int
) -> Learned:
    """Compute the statistics of the training data that a trained model needs.

    Parameters
    ----------
    vae
        Trained.
    mosaic
        Its training data.
    encoded
        Posteriors of its cells.
    history
        One record per epoch.
    config
        How counts are decoded.
    seed
        Random seed for subsampling cells.
    """
    c, u = encoded.mean[:, : vae.dim_c], encoded.mean[:, vae.dim_c :]
    learned = Learned(
        standard_u=standard_noise(u, mosaic),
        history=history,
        card=_described(mosaic),
        cells=cell_table(mosaic, encoded, vae.dim_c),
        measured=_panels(mosaic),
        readings=read_by_combination(vae, mosaic, seed=seed),
    )
    if config.n_neighbors:
        learned = replace(learned, distances=compared(mosaic, c, seed=seed))
    if not config.spread:
        return learned

    def borrowing(modality: str, some: Mosaic) -> Borrowing | None:
        everyone = np.ones(some.n_cells, dtype=bool)
        return learned.borrowing(modality, some, everyone, k=config.n_neighbors, seed=seed, most=_LENDERS_FOR_SPREAD)

    return replace(learned, spread=find_spread(vae, mosaic, borrowing, seed=seed))


def compared(mosaic: Mosaic, c: NDArray[np.float32], *, seed: int) -> pd.DataFrame:
    """Distances between the batches of these cells, by name; see :func:`midas.batch_effects.batch_distances`.

    A reference and a query may have batches of the same name; their distances are averaged.
    """
    names = list(mosaic.batches)
    found = pd.DataFrame(batch_distances(mosaic, c, seed=seed), index=names, columns=names)
    if found.index.is_unique:
        return found
    for _ in range(2):
        found = found.groupby(level=0, sort=False).mean().T
    return found.where(~np.eye(len(found), dtype=bool), 0.0)


def _panels(mosaic: Mosaic) -> dict[str, pd.DataFrame]:
    """By modality, features measured by each batch that has it."""
    found = {}
    for name, rows in mosaic.modalities.items():
        having = np.unique(mosaic.batch[rows.present])
        names = pd.Index([mosaic.batches[code] for code in having], dtype=object)
        table = pd.DataFrame(rows.measured[having], names, mosaic.schema.modalities[name].features)
        found[name] = table[~names.duplicated(keep="last")]
    return found


def _joined(reference: pd.DataFrame | None, own: pd.DataFrame) -> pd.DataFrame:
    """Rows of both, the query's where names are shared; features that only the query has are unmeasured in the reference."""
    if reference is None:
        return own
    older = reference[~reference.index.isin(own.index)].reindex(columns=own.columns, fill_value=False)
    return pd.concat([older, own])


def _described(mosaic: Mosaic) -> dict[str, Any]:
    """Number of training cells by batch and modality, and by label for each column with few labels."""
    cells = {
        name: np.bincount(mosaic.batch[rows.present], minlength=len(mosaic.batches)).tolist()
        for name, rows in mosaic.modalities.items()
    }
    return {
        "total_cells": mosaic.n_cells,
        "cells": {name: dict(zip(mosaic.batches, counts, strict=True)) for name, counts in cells.items()},
        "labels": {
            str(name): {str(label): int(n) for label, n in values.value_counts().items() if n}
            for name, values in mosaic.obs.items()
            if isinstance(values.dtype, pd.CategoricalDtype) and values.nunique() <= _MOST_LABELS
        },
    }
