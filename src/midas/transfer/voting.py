"""Transfer labels from reference to query: a vote of nearest neighbours, with a calibrated confidence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from midas import keys
from midas.columns import as_text
from midas.draw import at_most
from midas.expect import expect, expect_seed
from midas.neighbours import Index
from midas.sample import by_state
from midas.transfer.novelty import FAR, enough_near, far_off
from midas.transfer.unknown import SEPARATION, Cut, cut, share_of_query

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from sklearn.isotonic import IsotonicRegression

    from midas.readings import Readings
    from midas.transfer.mapping import Mapped

UNKNOWN = "Unknown"
_CALIBRATION_CELLS = 4000
_MANY_LABELS = 50  # more labels than this, with five cells or fewer on average, are hardly types

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelConfig:
    """Settings of label transfer.

    Attributes
    ----------
    n_neighbors
        Number of reference cells that vote, weighted by inverse distance.
    unknown
        Whether to detect cells of a type that the reference lacks and label them ``Unknown``; ``"paper"`` for the method of He et
        al. 2024: the share of query cells among a cell's neighbours on a UMAP of both (:func:`share_of_query`), cut where two
        Gaussians cross. It needs umap-learn, and a query as large as the reference and well mixed with it.
    unlabelled
        Reference labels that mean "no label", case-insensitive.
    min_confidence
        Cells with lower confidence are also labelled ``Unknown``; 0 to disable.
    """

    n_neighbors: int = 11
    unknown: bool | Literal["paper"] = True
    unlabelled: tuple[str, ...] = keys.NO_LABEL
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        whole = isinstance(self.n_neighbors, int | np.integer)
        expect(self, "n_neighbors", whole and self.n_neighbors >= 1, "a whole number of 1 or more")
        expect(self, "unknown", self.unknown in {True, False, "paper"}, "True, False or 'paper'")
        expect(self, "unlabelled", not isinstance(self.unlabelled, str), "several labels, like ('unknown',)")
        expect(self, "min_confidence", 0 <= self.min_confidence <= 1, "a share from 0 to 1")


@dataclass(frozen=True)
class Labels:
    """Transferred labels.

    Attributes
    ----------
    table
        One row per query cell; for each column ``<column>_transferred``, ``<column>_confidence`` and
        ``<column>_unknown_score``.
    cut
        Threshold of the unknown score.
    """

    table: pd.DataFrame
    cut: Cut


@dataclass(frozen=True)
class _Column:
    """One label column of the reference: its classes, and each reference cell's code, -1 for unlabelled."""

    name: str
    classes: NDArray[np.object_]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class _Reading:
    """Reference cells, `(n,)`, and their latents when encoded like the query's cells, `(n, dim_c)`; NaN for cells without."""

    rows: NDArray[np.int64]
    c: NDArray[np.float32]


def label_cells(
    mapped: Mapped, columns: str | Sequence[str], *, config: LabelConfig | None = None, seed: int = 0
) -> Labels:
    """Label query cells by the votes of their nearest reference cells.

    Parameters
    ----------
    mapped
        Reference and query in one space.
    columns
        Columns of the reference's obs. With several, as levels of a hierarchy, only combinations that occur in the reference are
        assigned.
    config
        Settings for neighbours and unknown cells.
    seed
        Seed of the choice of cells for calibration, and of the approximate index.

    Returns
    -------
    Labels with their calibrated confidence: of the cells with a confidence of 0.8, about four in five are right, as estimated by
    labelling each of the reference's batches from the others. Cells without latents get no label.

    Raises
    ------
    KeyError, ValueError
        If the reference has no such column, or the column has no label.

    Examples
    --------
    >>> mapped = midas.transfer.encode(model, midas.transfer.Query(mdata))
    >>> found = midas.transfer.label_cells(mapped, ["cell_type"])
    >>> found.table.shape[0] == mdata.n_obs
    True
    """
    config = config or LabelConfig()
    expect_seed(seed)
    names = [columns] if isinstance(columns, str) else list(columns)
    if not names:
        raise ValueError("Expected one column of the reference's obs or more, found none.")
    reference, query = mapped.reference, mapped.query
    known = np.isfinite(np.asarray(reference.obsm[keys.LATENT])).all(1)
    labels = [_column(reference, name, known, config) for name in names]
    z = np.asarray(query.obsm[keys.LATENT], dtype=np.float32)
    placed = np.isfinite(z).all(1)
    if not placed.any():
        raise ValueError("Expected query cells with latents, found none: no cell has a modality of the reference.")
    shares = [_shares(reference, column, z[placed], config, seed) for column in labels]
    picked = _agreeing(labels, shares)
    by_share = config.unknown == "paper"
    score = share_of_query(mapped.cells, seed=seed) if by_share else _column_of(query, keys.NOVELTY)
    nearness = _column_of(query, keys.NEARNESS)
    found, off = Cut(np.inf, 0.0), np.zeros(len(z), dtype=bool)
    if config.unknown:
        found = cut(np.where(placed, score, np.nan), separation=0.0 if by_share else SEPARATION, seed=seed)
        if not by_share and enough_near(nearness):
            found = replace(found, threshold=min(found.threshold, FAR))
            off = far_off(nearness, z)
    table = pd.DataFrame(index=query.obs_names)
    combination = query.obs[keys.MODALITIES].astype(str).to_numpy()[placed]
    read = {name: _reading(mapped.readings, reference, name) for name in np.unique(combination)}
    for column, share, codes in zip(labels, shares, picked, strict=True):
        won, confidence = np.where(codes >= 0, share[np.arange(len(codes)), codes], 0.0), np.empty(len(codes))
        for name, reading in read.items():
            in_group = combination == name
            confidence[in_group] = _calibration(reference, column, reading, config, seed).predict(won[in_group])
        given = np.full(len(z), None, dtype=object)
        given[np.flatnonzero(placed)[codes >= 0]] = column.classes[codes[codes >= 0]]
        sure = np.full(len(z), np.nan)
        sure[placed] = np.where(codes >= 0, confidence, np.nan)
        with np.errstate(invalid="ignore"):
            unknown = placed & ((score > found.threshold) | off | (sure < config.min_confidence))
        given[unknown] = UNKNOWN
        table[keys.transferred(column.name, "transferred")] = pd.Categorical(given)
        table[keys.transferred(column.name, "confidence")] = sure
        table[keys.transferred(column.name, "unknown_score")] = score
    return Labels(table, found)


def _column_of(query: AnnData, name: str) -> NDArray[np.float64]:
    if name not in query.obs.columns:
        return np.full(query.n_obs, np.nan)
    values: NDArray[np.float64] = query.obs[name].to_numpy(dtype=np.float64)
    return values


def check_columns(reference: AnnData, names: Sequence[str], config: LabelConfig | None = None) -> None:
    """Refuse columns that the reference lacks, or that label none of its cells.

    Raises
    ------
    KeyError, ValueError
        Naming the columns that are there; saying which is empty.
    """
    for name in names:
        _labelled(reference, name, config or LabelConfig())


def _labelled(reference: AnnData, name: str, config: LabelConfig) -> NDArray[np.bool_]:
    """Which cells are labelled, `(n_cells,)`."""
    if name not in reference.obs.columns:
        own = {keys.BATCH, keys.MODALITIES, keys.ORIGIN, keys.NOVELTY, keys.NEARNESS}
        there = ", ".join(str(c) for c in reference.obs.columns if c not in own) or "none"
        msg = f"Expected a column {name!r} in the reference's obs, found: {there}."
        raise KeyError(msg)
    values, none = reference.obs[name], {name.lower() for name in config.unlabelled}
    labelled: NDArray[np.bool_] = (values.notna() & ~values.astype(str).str.lower().isin(none)).to_numpy()
    if not labelled.any():
        msg = f"Expected labels in the reference's column {name!r}, found none (all missing, or meaning unknown)."
        raise ValueError(msg)
    return labelled


def _column(reference: AnnData, name: str, known: NDArray[np.bool_], config: LabelConfig) -> _Column:
    labelled = _labelled(reference, name, config) & known
    if not labelled.any():
        msg = f"Expected labels in the reference's column {name!r} for cells with latents, found none."
        raise ValueError(msg)
    text = pd.Series(as_text(reference.obs[name]), dtype=object)
    codes = np.full(len(text), -1, dtype=np.int64)
    codes[labelled], classes = pd.factorize(text[labelled], sort=True)
    if len(classes) > max(_MANY_LABELS, labelled.sum() / 5):
        logger.warning(
            "The column %r has %d labels for %d cells: are these types, or values that differ from cell to cell?",
            name,
            len(classes),
            int(labelled.sum()),
        )
    return _Column(name, np.asarray(classes, dtype=object), codes)


def _shares(
    reference: AnnData, column: _Column, z: NDArray[np.float32], config: LabelConfig, seed: int
) -> NDArray[np.float64]:
    """Each class's share of the votes, `(n_query, n_classes)`."""
    voters = np.flatnonzero(column.codes >= 0)
    latent = np.asarray(reference.obsm[keys.LATENT], dtype=np.float32)[voters]
    return _votes(Index(latent, seed=seed), column.codes[voters], len(column.classes), z, config)


def _votes(
    index: Index, codes: NDArray[np.int64], n_classes: int, z: NDArray[np.float32], config: LabelConfig
) -> NDArray[np.float64]:
    distance, at = index.find(z, config.n_neighbors)
    weight = 1 / np.maximum(distance, 1e-9)
    votes = np.zeros((len(z), n_classes))
    np.add.at(votes, (np.arange(len(z))[:, None], codes[at]), weight)
    shares: NDArray[np.float64] = votes / votes.sum(1, keepdims=True)
    return shares


def _agreeing(labels: list[_Column], shares: list[NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """Likeliest combination of classes for each cell, among those in the reference; -1 for a level without a class.

    A lineage without any finer labels counts as a combination of its own; one for which some cells have finer labels does not.
    """
    if len(labels) == 1:
        return [shares[0].argmax(1)]
    codes = np.stack([column.codes for column in labels], axis=1)
    there = np.unique(codes[(codes >= 0).any(1)], axis=0)
    there = there[[not _is_part_of_another(row, there) for row in there]]
    score = np.zeros((len(shares[0]), len(there)))
    for i, share in enumerate(shares):
        score += np.where(there[:, i] >= 0, np.log(share[:, there[:, i]] + 1e-6), 0.0)
    best = there[(score / (there >= 0).sum(1)).argmax(axis=1)]
    return [best[:, i] for i in range(len(labels))]


def _is_part_of_another(row: NDArray[np.int64], rows: NDArray[np.int64]) -> bool:
    """Whether another row has the same classes on all levels that this row has, and further ones."""
    has = row >= 0
    return bool(((rows[:, has] == row[has]).all(1) & ((rows >= 0).sum(1) > has.sum())).any())


def _reading(readings: Readings | None, reference: AnnData, combination: str) -> _Reading:
    """Latents of reference cells from the modalities of a query's cells; from all of their own where these are not known."""
    c = None if readings is None else readings.get(combination)
    if readings is not None and c is not None:
        return _Reading(readings.rows, c)
    latent = np.asarray(reference.obsm[keys.LATENT], dtype=np.float32)
    return _Reading(np.arange(len(latent)), latent)


def _calibration(
    reference: AnnData, column: _Column, reading: _Reading, config: LabelConfig, seed: int
) -> IsotonicRegression:
    """Map vote shares to the probability of being right, fitted by labelling each of the reference's batches from the others."""
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - slow to import

    rng = np.random.default_rng([seed, 9])
    latent = np.asarray(reference.obsm[keys.LATENT], dtype=np.float32)
    order = by_state(np.arange(len(latent)), latent)
    batch = pd.factorize(reference.obs[keys.BATCH].astype(str).to_numpy())[0]
    if len(np.unique(batch[column.codes >= 0])) < 2:
        batch[order] = rng.integers(0, 5, len(batch))
    voters = order[column.codes[order] >= 0]
    voters = voters[at_most(len(voters), 5 * _CALIBRATION_CELLS, rng)]
    asked = (column.codes[reading.rows] >= 0) & np.isfinite(reading.c).all(1)
    at = by_state(np.flatnonzero(asked), reading.c)
    at = at[at_most(len(at), _CALIBRATION_CELLS, rng)]
    # The end points stay short of certainty.
    share, right = [np.array([0.0, 1.0])], [np.array([0.0, 1.0 - 1.0 / (len(at) + 2)])]
    for b in np.unique(batch[reading.rows[at]]):
        held, others = at[batch[reading.rows[at]] == b], voters[batch[voters] != b]
        if not len(others):
            continue
        votes = _votes(Index(latent[others]), column.codes[others], len(column.classes), reading.c[held], config)
        share.append(votes.max(1))
        right.append((votes.argmax(1) == column.codes[reading.rows[held]]).astype(float))
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    return fitted.fit(np.concatenate(share), np.concatenate(right))
