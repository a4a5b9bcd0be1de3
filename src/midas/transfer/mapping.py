"""Four ways of mapping a reference and a query into one latent space (He et al. 2024, Methods)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import EllipsisType
from typing import TYPE_CHECKING, Final, TypeVar

import anndata as ad
import numpy as np
from anndata import AnnData

from midas import keys
from midas.columns import alike
from midas.data.combine import joined, recast, without_batch
from midas.data.parts import Layer, has_column
from midas.data.read import read_for_model
from midas.expect import expect_seed
from midas.inference import encode as encode_cells
from midas.readings import Readings, read_by_combination
from midas.results import cell_table
from midas.training.loop import RunOptions
from midas.transfer.config import Mode, TransferConfig
from midas.transfer.extend import extended, named_apart
from midas.transfer.novelty import NEAR, Novelty, mostly_far, novelty
from midas.transfer.panels import leave_out_empty, reread
from midas.transfer.placing import Landmarks, groups_of
from midas.transfer.replay import Replay, generated, real
from midas.transfer.tune import replay_size, tune

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from midas.data import Mosaic, MosaicData
    from midas.modality import Modality
    from midas.model import MIDAS


logger = logging.getLogger(__name__)

_USUAL: Final = "batch"  # column of batches

Model = TypeVar("Model", bound="MIDAS")


@dataclass(frozen=True)
class Mapped:
    """Cells of a reference and of a query in one latent space.

    Attributes
    ----------
    model
        Model that encodes both; can itself serve as the reference for another query.
    cells
        Reference cells, then query cells in the order of their obs_names: obs columns of both, ``obs["midas_origin"]``
        (``reference`` or ``query``), and the latents in ``obsm["X_midas"]`` and ``obsm["X_midas_u"]``. No counts.
    mode
        Name of the function that produced it.
    mosaic
        The query as read by the model.
    readings
        Latents of some of the reference's cells when encoded from fewer modalities, by their rows in :attr:`reference`; None if
        not known.
    """

    model: MIDAS
    cells: AnnData
    mode: Mode
    mosaic: Mosaic
    readings: Readings | None = None

    @property
    def is_query(self) -> NDArray[np.bool_]:
        """Which cells belong to the query, `(n_cells,)`.

        Examples
        --------
        >>> mapped = midas.transfer.encode(model, midas.transfer.Query(query))
        >>> int(mapped.is_query.sum())
        75
        """
        found: NDArray[np.bool_] = (self.cells.obs[keys.ORIGIN] == "query").to_numpy()
        return found

    @property
    def query(self) -> AnnData:
        """The query's cells.

        Examples
        --------
        >>> midas.transfer.encode(model, midas.transfer.Query(query)).query.n_obs
        75
        """
        return self.cells[self.is_query].copy()

    @property
    def reference(self) -> AnnData:
        """The reference's cells.

        Examples
        --------
        >>> midas.transfer.encode(model, midas.transfer.Query(query)).reference.n_obs
        300
        """
        return self.cells[~self.is_query].copy()


@dataclass(frozen=True)
class Query:
    """A query, and how to read and map it.

    Attributes
    ----------
    data, batch_key, measured, layer
        As in :class:`midas.MIDAS`. If left out, the column and the layer default to those of the reference's data.
    modalities
        Likewise, for modalities that the reference lacks.
    config
        Configuration of the transfer; None for ``TransferConfig()``, or ``TransferConfig.for_model()`` in a model transfer.
    seed
        The same seed, data and machine give the same result.
    progress
        Whether to draw a progress bar.
    """

    data: MosaicData
    batch_key: str | EllipsisType | None = ...
    measured: Mapping[str, pd.DataFrame] | None = None
    layer: Layer | EllipsisType = ...
    modalities: Mapping[str, Modality] | None = None
    config: TransferConfig | None = None
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        expect_seed(self.seed)


def encode(reference: MIDAS, query: Query | MosaicData) -> Mapped:
    """Place a query's cells in a reference's latent space without training.

    Batches that the reference does not know are left out when the model encodes the cells. The remaining shift of each batch from
    the reference's clusters is then subtracted.

    Parameters
    ----------
    reference
        A trained model.
    query
        Data, or a :class:`Query` if it needs more than the defaults. Any modalities, any number of batches.

    Examples
    --------
    >>> query = midas.transfer.Query(mdata)
    >>> mapped = midas.transfer.encode(model, query)
    >>> mapped.query.n_obs, mapped.reference.n_obs
    (300, 300)
    """
    q = _as_query(query)
    batch_key, layer = _where(reference, q)
    mosaic = reference.read(q.data, batch_key=batch_key, measured=q.measured, layer=layer)
    shared = [name for name in mosaic.batches if name in reference.schema.batches]
    if shared:
        logger.warning("Batches of the query are read as the reference's of the same name: %s.", ", ".join(shared))
    found = encode_cells(reference.vae, mosaic, reference.modalities)
    table = cell_table(mosaic, found, reference.config.network.dim_c)
    readings = _by_panel(reference, reference, mosaic, q.seed) or reference.learned.readings
    _note_novelty(table, novelty(reference, mosaic, found, readings))
    _subtract_shift(table, mosaic, _landmarks(reference, q.seed), q.config or TransferConfig())
    leave_out_empty(table, mosaic, reference)
    return Mapped(reference, together(reference.cells, table), "encode", mosaic, readings)


def transfer_model(reference: Model, query: Query | MosaicData) -> Model:
    """Model transfer: train a model of the query's batches that starts from the reference's weights.

    Needs no reference cells, and takes a twentieth of the steps of training from scratch, or a tenth if the query's cells differ
    in their modalities. Modalities that no query cell has together are linked by where the reference places the cells. The query
    may have modalities and features that the reference lacks.

    A query batch with the name of a reference batch is taken to be that batch, and starts from its weights.

    Parameters
    ----------
    reference, query
        As in :func:`encode`.

    Examples
    --------
    >>> from midas.transfer import Query, TransferConfig
    >>> quick = TransferConfig(step_fraction=0.002, discriminator_warmup_steps=1)
    >>> midas.transfer.transfer_model(model, Query(query, config=quick, progress=False)).modalities
    ('adt', 'atac', 'rna')
    """
    q = _as_query(query)
    options = q.config or TransferConfig.for_model(mixed=False)
    mosaic = _read(reference, q, options, keep_batches=False)
    if q.config is None:
        options = TransferConfig.for_model(mixed=mosaic.combinations().replace("", np.nan).nunique() > 1)
    model = _model_of(reference, mosaic, q)
    landmarks = _landmarks(reference, q.seed) if reference.has_cells else None
    tune(reference, model, mosaic, options, RunOptions(progress=q.progress), landmarks=landmarks)
    return model


def query_to_reference(reference: MIDAS, query: Query | MosaicData) -> Mapped:
    """Tune on the query while cells generated from the reference's own latents hold its space in place.

    Needs the latents that every saved reference contains, but no counts.

    Parameters
    ----------
    reference, query
        As in :func:`encode`.

    Examples
    --------
    >>> from midas.transfer import Query, TransferConfig
    >>> quick = TransferConfig(step_fraction=0.002, discriminator_warmup_steps=1)
    >>> mapped = midas.transfer.query_to_reference(model, Query(query, config=quick, progress=False))
    >>> mapped.query.obsm["X_midas"].shape
    (75, 32)
    """
    return _beside_reference(reference, _as_query(query), "query_to_reference")


def reciprocal(reference: MIDAS, query: Query | MosaicData) -> Mapped:
    """Reciprocal reference mapping: tune on query and reference cells together, with reference cells held in place.

    Needs counts of reference cells: the reference's own data, or the sample that ``save(with_counts=)`` stored with it.

    Parameters
    ----------
    reference, query
        As in :func:`encode`.

    Examples
    --------
    >>> from midas.transfer import Query, TransferConfig
    >>> quick = TransferConfig(step_fraction=0.002, discriminator_warmup_steps=1)
    >>> mapped = midas.transfer.reciprocal(model, Query(query, config=quick, progress=False))
    >>> mapped.query.n_obs, mapped.reference.n_obs
    (75, 300)
    """
    return _beside_reference(reference, _as_query(query), "reciprocal")


def reference_to_query(reference: MIDAS, query: Query | MosaicData) -> Mapped:
    """Tune on the query alone, then encode the reference's cells with the tuned model. Needs counts of reference cells.

    Parameters
    ----------
    reference, query
        As in :func:`encode`.

    Examples
    --------
    >>> from midas.transfer import Query, TransferConfig
    >>> quick = TransferConfig(step_fraction=0.002, discriminator_warmup_steps=1)
    >>> mapped = midas.transfer.reference_to_query(model, Query(query, config=quick, progress=False))
    >>> mapped.query.n_obs, mapped.reference.n_obs
    (75, 300)
    """
    q = _as_query(query)
    counts, rows = reference.counts()
    model = transfer_model(reference, q)
    assert model.mosaic is not None
    mosaic = without_batch(recast(counts, model.schema))
    there = cell_table(mosaic, encode_cells(model.vae, mosaic, model.modalities), model.config.network.dim_c)
    there.obs = reference.cells.obs.iloc[rows].copy()
    table = _scored(reference, model, q.seed)
    _subtract_shift(table, model.mosaic, Landmarks.of(there.obsm[keys.LATENT], q.seed), q.config or TransferConfig())
    leave_out_empty(table, model.mosaic, reference)
    cells = partial(real, mosaic, _latents(there), seed=q.seed)
    readings = reread(model.vae, model.mosaic, reference, cells, seed=q.seed)
    readings = readings or read_by_combination(model.vae, mosaic, seed=q.seed)
    return Mapped(model, together(there, table), "reference_to_query", model.mosaic, readings)


def together(reference: AnnData, query: AnnData) -> AnnData:
    """One table of reference and query cells; see :class:`Mapped`."""
    parts = [reference.copy(), query.copy()]
    for part, other, origin in zip(parts, (query, reference), ("reference", "query"), strict=True):
        part.obs[keys.ORIGIN] = origin
        for column in part.obs.columns.difference(other.obs.columns):
            # Missing values in the other part would turn cluster 1 into 1.0.
            if part.obs[column].dtype.kind in "biu":
                part.obs[column] = part.obs[column].convert_dtypes(convert_string=False)
    first, second = (part.obs for part in parts)
    for column in first.columns.intersection(second.columns):
        first[column], second[column] = alike(first[column], second[column])
    with warnings.catch_warnings():  # a query cell may have the same name as a reference cell
        warnings.filterwarnings("ignore", message=".*names are not unique")
        both = ad.concat(parts, join="outer")
    both.obs[keys.ORIGIN] = both.obs[keys.ORIGIN].astype("category")
    return both


def _as_query(query: Query | MosaicData) -> Query:
    return query if isinstance(query, Query) else Query(query)


def _where(reference: MIDAS, q: Query) -> tuple[str | None, Layer]:
    """Column of a query's batches, and layer of its counts."""
    options = reference.read_options
    layer = options.layer if isinstance(q.layer, EllipsisType) else q.layer
    if not isinstance(q.batch_key, EllipsisType):
        return q.batch_key, layer
    if options.batch_key is None and has_column(q.data, _USUAL):  # a single-batch reference has no batch column
        return _USUAL, layer
    return options.batch_key, layer


def _beside_reference(reference: MIDAS, q: Query, mode: Mode) -> Mapped:
    options = q.config or TransferConfig()
    mosaic = _read(reference, q, options, keep_batches=True)
    model = _model_of(reference, mosaic, q)
    n = replay_size(mosaic.n_cells, options)
    counts = reference.counts() if mode == "reciprocal" else None
    replay = _generated(reference, n, q.seed) if counts is None else _real(reference, counts, n, q.seed)
    landmarks = _landmarks(reference, q.seed)
    tune(reference, model, mosaic, options, RunOptions(progress=q.progress), landmarks=landmarks, replay=replay)
    table = _scored(reference, model, q.seed)
    _subtract_shift(table, mosaic, landmarks, options)  # remove the shift that is left after tuning
    leave_out_empty(table, mosaic, reference)
    cells = together(reference.cells, table)
    by_panel = _by_panel(reference, model, mosaic, q.seed)
    assert model.mosaic is not None
    if counts is None:
        readings = reference.learned.readings
        model.remember(reference, cells, None, readings)
        return Mapped(model, cells, mode, model.mosaic, by_panel or readings)
    old, rows = recast(counts[0], model.schema), counts[1]
    query = reference.cells.n_obs + np.arange(mosaic.n_cells)
    readings = read_by_combination(model.vae, old, rows, seed=q.seed)
    model.remember(reference, cells, (joined(old, model.mosaic), np.concatenate([rows, query])), readings)
    return Mapped(model, cells, mode, model.mosaic, by_panel or readings)


def _scored(reference: MIDAS, model: MIDAS, seed: int) -> AnnData:
    """The query's cells as encoded by the tuned model, with their novelty according to the untuned reference."""
    assert model.mosaic is not None
    table = model.cells.copy()
    query = recast(model.mosaic, reference.schema)
    encoded = encode_cells(reference.vae, query, reference.modalities)
    _note_novelty(table, novelty(reference, query, encoded, _by_panel(reference, reference, query, seed)))
    return table


def _note_novelty(table: AnnData, found: Novelty) -> None:
    table.obs[keys.NOVELTY], table.obs[keys.NEARNESS] = found.score, found.nearness
    n = int(np.isfinite(found.nearness).sum())
    if mostly_far(found.nearness):
        logger.warning(
            "Only %d of the query's %d cells lie as near to the reference as half of its own: they are of new types for the most "
            "part, or were measured quite differently. Look at obs[%r] before you believe labels.",
            int((found.nearness > NEAR).sum()),
            n,
            keys.NEARNESS,
        )


def _by_panel(reference: MIDAS, model: MIDAS, query: Mosaic, seed: int) -> Readings | None:
    """Latents of the reference's cells when encoded from the query's features, if these are fewer; else None."""

    def cells(n: int) -> Replay:
        if not reference.has_counts:
            return _generated(reference, n, seed)
        mosaic, rows = reference.counts()
        found = _real(reference, (mosaic, rows), n, seed)
        return replace(found, rows=rows[found.rows])

    return reread(model.vae, query, reference, cells, seed=seed)


def _real(reference: MIDAS, counts: tuple[Mosaic, NDArray[np.int64]], n: int, seed: int) -> Replay:
    mosaic, rows = counts
    return real(mosaic, _latents(reference.cells)[rows], n, seed)


def _generated(reference: MIDAS, n: int, seed: int) -> Replay:
    return generated(
        reference, _latents(reference.cells), reference.cells.obs[keys.BATCH].astype(str).to_numpy(), n, seed
    )


def _landmarks(reference: MIDAS, seed: int) -> Landmarks:
    return Landmarks.of(reference.cells.obsm[keys.LATENT], seed)


def _subtract_shift(table: AnnData, query: Mosaic, landmarks: Landmarks, options: TransferConfig) -> None:
    if not options.subtract_shift:
        return
    own = np.asarray(table.obsm[keys.LATENT])
    shifted = landmarks.shift_to_reference(own, groups_of(query))
    known = np.isfinite(own).all(1) & np.isfinite(shifted).all(1)
    if known.any():
        logger.info(
            "What sets the query's batches apart near the reference's clusters was taken away: cells moved by %.2f (median), "
            "where they lie %.2f from their mean.",
            np.median(np.linalg.norm(shifted[known] - own[known], axis=1)),
            np.median(np.linalg.norm(own[known] - own[known].mean(0), axis=1)),
        )
    table.obsm[keys.LATENT] = shifted


def _latents(cells: AnnData) -> NDArray[np.float32]:
    return np.concatenate([cells.obsm[keys.LATENT], cells.obsm[keys.TECHNICAL]], axis=1)


def _read(reference: MIDAS, q: Query, options: TransferConfig, *, keep_batches: bool) -> Mosaic:
    batch_key, layer = _where(reference, q)
    own = read_for_model(
        q.data,
        batch_key=batch_key,
        modalities=q.modalities,
        measured=q.measured,
        layer=layer,
        like=reference.schema,
    )
    if not set(own.schema.modalities) & set(reference.schema.modalities):
        msg = (
            f"Expected some of the reference's modalities ({', '.join(reference.modalities)}), found "
            f"{', '.join(own.schema.modalities)}."
        )
        raise ValueError(msg)
    if keep_batches:
        own = named_apart(own, reference.schema.batches)
    schema = extended(reference.schema, own.schema, keep_batches=keep_batches, add_features=options.adds_features)
    # The reference's networks are fixed, however many batches of the query have a modality.
    return recast(own, schema.suited_to(reference.config.network, but=reference.modalities))


def _model_of(reference: Model, mosaic: Mosaic, q: Query) -> Model:
    return type(reference).from_mosaic(mosaic, reference.config, q.seed)
