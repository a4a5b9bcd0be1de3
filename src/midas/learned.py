"""What a model knows beside its weights once it is trained: of its own cells, its batches and its counts."""

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


# What they decode to takes memory, which would be the most that training needs.
_LENDERS_FOR_SPREAD: Final = 4_000
# A column of obs with more values than this is no labelling worth printing.
_MOST_LABELS: Final = 100


@dataclass(frozen=True)
class Learned:
    """What travels with a model's weights.

    Attributes
    ----------
    standard_u
        The technical noise that batch-corrected counts are decoded with, `(dim_u,)`.
    history
        One record per epoch.
    card
        What the model was trained on, for people: cells by batch and modality, labels.
    cells
        Obs columns and latents of the cells that it was trained on, without counts; None when they were not to travel.
    distances
        How differently batches measure, by their names; empty where that is not known.
    measured
        By modality, which features each batch with it measured, batches x features, by their names.
    spread
        Excess variance of counts, by modality.
    readings
        How some of the cells are read by fewer modalities; None where that is not known.
    interrupted
        Whether Ctrl-C ended the training.
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
        """How a mosaic's cells borrow from `k` of the model's that measured `modality`; None where nobody does.

        Lenders are looked for among `most` cells.
        """
        whole = mosaic.modalities[modality].measured.all()
        if self.cells is None or k == 0 or (whole and not lacks.any()):
            return None
        lenders = Lenders.of(self.cells, modality, self.measured[modality], self.distances, seed=seed, most=most)
        return Borrowing.from_cells(lenders, mosaic, modality, lacks, k)

    def without_cells(self) -> Learned:
        """The same, but for all that is about single cells."""
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
        """The same, with what a reference knew: its standard noise, how its batches measured, its cells.

        Parameters
        ----------
        cells
            The reference's cells and the model's own, in this order.
        counts
            Of these or some of them, with their rows in `cells`; None where there are none of the reference's.
        readings
            How some of `cells` are read by fewer modalities.
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
        """Spread of all counts: the model's own of features that its cells were measured in, else the reference's.

        Of features that neither knows it is the median of those that the reference does.
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
    """Find what a trained model needs to know of its training data.

    Parameters
    ----------
    vae
        Trained.
    mosaic
        Its training data.
    encoded
        Posteriors of their cells.
    history
        One record per epoch.
    config
        How counts are to be decoded.
    seed
        Of the choice of cells that stand for all.
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
    """How differently the batches of these cells measure, by their names; see :func:`midas.batch_effects.batch_distances`.

    A reference and a query may each have a batch of one name: what is known of either is known of the name.
    """
    names = list(mosaic.batches)
    found = pd.DataFrame(batch_distances(mosaic, c, seed=seed), index=names, columns=names)
    if found.index.is_unique:
        return found
    for _ in range(2):
        found = found.groupby(level=0, sort=False).mean().T
    return found.where(~np.eye(len(found), dtype=bool), 0.0)


def _panels(mosaic: Mosaic) -> dict[str, pd.DataFrame]:
    """By modality, which features each batch with it measured."""
    found = {}
    for name, rows in mosaic.modalities.items():
        having = np.unique(mosaic.batch[rows.present])
        names = pd.Index([mosaic.batches[code] for code in having], dtype=object)
        table = pd.DataFrame(rows.measured[having], names, mosaic.schema.modalities[name].features)
        found[name] = table[~names.duplicated(keep="last")]
    return found


def _joined(reference: pd.DataFrame | None, own: pd.DataFrame) -> pd.DataFrame:
    """The batches of both; where they share a name, the later ones. No batch of a reference measured what only the query has."""
    if reference is None:
        return own
    older = reference[~reference.index.isin(own.index)].reindex(columns=own.columns, fill_value=False)
    return pd.concat([older, own])


def _described(mosaic: Mosaic) -> dict[str, Any]:
    """What a model was trained on, in numbers of cells: by batch and modality, and by label of each column of few labels."""
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
