"""MIDAS: the user-facing model."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData

from midas import keys
from midas.bridging import bridged_by_genes
from midas.config import Config
from midas.data import Mosaic, MosaicData, MosaicSchema, read_mosaic
from midas.data.again import read_again
from midas.data.combine import aligned
from midas.data.parts import Layer
from midas.data.read_options import ReadOptions
from midas.data.trainable import check_trainable
from midas.decoding import Draw, States, decode
from midas.expect import expect_seed
from midas.inference import Posterior, encode
from midas.learned import Learned, learn
from midas.nn import VAE, Discriminators
from midas.ranks import ranks
from midas.results import (
    all_layout,
    check_rows,
    checked_out,
    drop_decoded,
    fill,
    frame,
    gathered,
    of_another,
    own_layout,
    write_layer,
)
from midas.sample import read_sampled, rows_of, sampled
from midas.sharing import fetch
from midas.spread import measurement_status
from midas.storage import StoredModel, has_sample, read_model, read_sample, weights_in, write_model
from midas.text import counted
from midas.training.device import accelerator_or_other
from midas.training.loop import Logger, RunOptions, Trained, fit
from midas.training.start import start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.modality import Modality
    from midas.readings import Readings
    from midas.results import Layout
    from midas.transfer import TransferConfig

logger = logging.getLogger(__name__)

Part = Literal["c", "u", "z"]

_NOT_FITTED: Final = "Expected a trained model, found one that has not been: call fit() first."


class NotFittedError(RuntimeError):
    """A result was requested from a model that has not been trained."""


class MIDAS:
    """One model of a mosaic: embedding, imputation, batch correction, translation.

    Parameters
    ----------
    data
        A MuData, an AnnData, a dict of them by modality or by batch, or a :class:`midas.Mosaic`. Raw counts. Modalities
        may contain different cells; cells are matched by name.
    batch_key
        Column of obs with each cell's batch; None when all cells are one batch.
    modalities
        Definitions of modalities whose names are not recognised (rna, adt, atac and common aliases are).
    measured
        By modality, a boolean table batches x features: False where a batch did not measure a feature. Equivalent to
        columns ``measured_<batch>`` of var.
    layer
        Layer that holds the counts, or a dict of layers by modality (X in those left out); None for X.
    config
        Sizes, weights, training; ``Config()`` if left out, ``Config.paper()`` for the published set-up.
    seed
        Random seed. The same seed and data (in any order) on the same machine give the same result.

    Examples
    --------
    >>> import midas
    >>> mdata = midas.simulate.mosaic(midas.simulate.SimulationConfig(n_cells=300, n_genes=60, n_peaks=80, n_proteins=10))
    >>> config = midas.Config.from_dict({"training": {"epochs": 2}})
    >>> model = midas.MIDAS(mdata, config=config).fit(progress=False)
    >>> model.latent().shape
    (300, 32)
    """

    def __init__(
        self,
        data: MosaicData | Mosaic,
        *,
        batch_key: str | None = "batch",
        modalities: Mapping[str, Modality] | None = None,
        measured: Mapping[str, pd.DataFrame] | None = None,
        layer: Layer = None,
        config: Config | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(data, Mosaic):
            given = ReadOptions(batch_key=batch_key, layer=layer, measured=measured, modalities=modalities)
            mosaic, options = data, data.read_options.unless_said_otherwise(given)
        else:
            mosaic = read_mosaic(data, batch_key=batch_key, modalities=modalities, measured=measured, layer=layer)
            options = mosaic.read_options
        config = Config() if config is None else _checked(config)
        config = replace(config, network=config.network.for_cells(mosaic.n_cells))
        mosaic = mosaic.suited_to(config.network)
        self._start(mosaic.schema, config, expect_seed(seed), options, mosaic)

    @classmethod
    def from_mosaic(cls, mosaic: Mosaic, config: Config, seed: int) -> Self:
        """Untrained model with the mosaic's schema unchanged: it extends another model's schema, including blocks and depths.

        Examples
        --------
        >>> midas.MIDAS.from_mosaic(model.mosaic, model.config, seed=1).modalities
        ('adt', 'atac', 'rna')
        """
        model = cls.__new__(cls)
        model._start(mosaic.schema, config, expect_seed(seed), mosaic.read_options, mosaic)
        return model

    def _start(
        self, schema: MosaicSchema, config: Config, seed: int, options: ReadOptions, mosaic: Mosaic | None = None
    ) -> None:
        """Initialise all attributes of an untrained model."""
        self.schema, self.config, self.seed, self.read_options, self.mosaic = schema, config, seed, options, mosaic
        self._learned: Learned | None = None
        self._encoded: Posterior | None = None
        self._counts: tuple[Mosaic, NDArray[np.int64]] | None = None
        self._folder: tuple[Path, str] | None = None  # that it was loaded from, and sha256 of its weights
        self._begun = False
        self._make_networks()

    def __copy__(self) -> Self:
        """Copy the networks, too: training one of two models that share them would change both."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Copy everything except the data, which models never modify and which may be on disk."""
        for mosaic in (self.mosaic, None if self._counts is None else self._counts[0]):
            memo[id(mosaic)] = mosaic
        model = type(self).__new__(type(self))
        memo[id(self)] = model
        model.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return model

    def _make_networks(self) -> None:
        with _seeded(self.seed):
            self.vae = VAE(self.schema, self.config.network)
            self.discriminators = Discriminators(self.schema, self.config.network)

    # ---------------------------------------------------------------------------------------------------------- training

    def fit(
        self,
        *,
        progress: bool = True,
        loggers: Sequence[Logger] = (),
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Train on the data given to the constructor.

        A trained model continues from its weights, and its history is replaced. If a first training fails, the next
        call starts again from the seed; if a later one fails, the model is restored to its previous state.

        Parameters
        ----------
        progress
            Whether to draw a progress bar.
        loggers
            Lightning loggers that receive the loss terms of every epoch.
        checkpoint
            File for the state of the run, from which it can be resumed after an interruption.
        resume
            Whether to resume from `checkpoint` if it exists. A finished run is loaded without further training.

        Returns
        -------
        The model itself. Ctrl-C stops the training early and leaves the model usable.

        Examples
        --------
        >>> config = midas.Config.from_dict({"training": {"epochs": 2}})
        >>> midas.MIDAS(mdata, config=config).fit(progress=False)
        MIDAS: 300 cells, 4 batches, adt (10), atac (80), rna (60); fitted in 2 epochs
        """
        if self.mosaic is None:
            raise NotFittedError(
                "Expected data to train on, found none: this model was loaded without. Give load(data=)."
            )
        check_trainable(self.mosaic)
        if self.has_cells and (forgotten := self.cells.n_obs - self.mosaic.n_cells) > 0:
            logger.warning(
                "Training anew on %s cells; what the model knows of %s more, as of a reference, will be forgotten. To keep it, "
                "map with midas.transfer.",
                f"{self.mosaic.n_cells:,}",
                f"{forgotten:,}",
            )
        run_options = RunOptions(
            progress=progress,
            loggers=tuple(loggers),
            checkpoint=None if checkpoint is None else Path(checkpoint),
            resume=resume,
        )
        before = None if self._learned is None else [copy.deepcopy(net.state_dict()) for net in self._networks]
        if self._learned is None:
            if self._begun:
                self._make_networks()  # the existing ones are left over from a failed training
            self._begun = True
            start(self.vae, self.mosaic, self.config.training.init)
        mosaic = bridged_by_genes(self.mosaic, self.seed)[0] if self.config.training.bridge else self.mosaic
        try:
            self.finish_fit(fit(self.vae, self.discriminators, mosaic, self.config, self.seed, run_options))
        except BaseException:
            if before is not None:  # what was learned from its cells is valid only for the old weights
                for net, weights in zip(self._networks, before, strict=True):
                    net.load_state_dict(weights)
            raise
        return self

    @property
    def _networks(self) -> tuple[VAE, Discriminators]:
        return self.vae, self.discriminators

    def finish_fit(self, trained: Trained) -> None:
        """Finish training: encode the model's own cells, and compute the statistics that inference needs."""
        assert self.mosaic is not None
        encoded = encode(self.vae, self.mosaic, self.modalities, ranks=ranks())
        learned = learn(self.vae, self.mosaic, encoded, trained.history, self.config.inference, seed=self.seed)
        # Assigned together, so that an interruption before this point leaves the model unchanged.
        self._encoded, self._learned = encoded, replace(learned, interrupted=trained.interrupted)
        self._counts = self.mosaic, np.arange(self.mosaic.n_cells)

    @property
    def cells(self) -> AnnData:
        """Training cells of the model and its references: obs columns and latents, without counts.

        Examples
        --------
        >>> model.cells.shape, list(model.cells.obsm)
        ((300, 0), ['X_midas', 'X_midas_u'])
        """
        if not self.has_cells:
            raise NotFittedError(
                "Expected a model that knows where its own cells lie, found none: it has not been trained, or was saved "
                "without them. Call fit(), or save it again with save()."
            )
        assert self.learned.cells is not None
        return self.learned.cells

    @property
    def has_cells(self) -> bool:
        """Whether the model holds the latents of its own cells.

        Examples
        --------
        >>> model.has_cells
        True
        """
        return self._learned is not None and self._learned.cells is not None

    def remember(
        self,
        reference: MIDAS,
        cells: AnnData,
        counts: tuple[Mosaic, NDArray[np.int64]] | None,
        readings: Readings | None,
    ) -> None:
        """Take over what a reference has learned: its standard noise, batch distances, measured features and cells.

        Parameters
        ----------
        reference
            Not modified.
        cells
            Its cells and the model's own.
        counts
            Counts of all or some of `cells`, with their row numbers there. None if the reference has no counts, so that
            later mappings are not tuned on the last query alone.
        readings
            Posterior means of some of `cells` from subsets of their modalities.
        """
        self._counts = counts
        self.read_options = self.read_options.knowing(reference.read_options)
        self._learned = self.learned.continuing(reference.learned, cells, counts, readings, seed=self.seed)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped the training before the planned number of epochs.

        Examples
        --------
        >>> model.interrupted
        False
        """
        return self._learned is not None and self._learned.interrupted

    @property
    def has_counts(self) -> bool:
        """Whether counts of the model's own cells, or of a sample of them, are available.

        Examples
        --------
        >>> model.has_counts
        True
        """
        return self._counts is not None or (self._folder is not None and has_sample(self._folder[0]))

    def transfer(
        self,
        query: MosaicData,
        *,
        batch_key: str | EllipsisType | None = ...,
        modalities: Mapping[str, Modality] | None = None,
        measured: Mapping[str, pd.DataFrame] | None = None,
        layer: Layer | EllipsisType = ...,
        config: TransferConfig | None = None,
        seed: int = 0,
        progress: bool = True,
    ) -> Self:
        """Fine-tune a copy of this model on new data, in a twentieth to a tenth of the steps of training from scratch.

        See :func:`midas.transfer.transfer_model`, and :mod:`midas.transfer` for mappings into this model's own space.

        Parameters
        ----------
        query
            New data: any modalities, any batches, more or fewer features.
        batch_key, measured, layer, seed
            As in :class:`MIDAS`; column and layer default to those of this model's own data.
        modalities
            As in :class:`MIDAS`, for modalities that this model lacks.
        config
            Configuration of the fine-tuning; None for ``TransferConfig.for_model()``.
        progress
            Whether to draw a progress bar.

        Returns
        -------
        A new fitted model of the query alone; this model is not modified.
        """
        from midas.transfer import Query, transfer_model  # noqa: PLC0415 - the transfer stands on the model

        wanted = Query(
            query,
            batch_key=batch_key,
            measured=measured,
            layer=layer,
            modalities=modalities,
            config=config,
            seed=seed,
            progress=progress,
        )
        return transfer_model(self, wanted)

    def counts(self) -> tuple[Mosaic, NDArray[np.int64]]:
        """Counts of the model's own cells, or of a sample of them, and their row numbers in :attr:`cells`.

        Raises
        ------
        NotFittedError
            When the model was saved without them.

        Examples
        --------
        >>> mosaic, rows = model.counts()
        >>> mosaic.n_cells, len(rows)
        (300, 300)
        """
        if self._counts is not None:
            return self._counts
        sample = None if self._folder is None else read_sample(*self._folder)
        if sample is None:
            if self._folder is None:
                raise NotFittedError(
                    "Expected counts of the reference's cells, found none: the model was tuned on a query alone. Map with "
                    "midas.transfer.reciprocal() from a reference that has them."
                )
            raise NotFittedError(
                "Expected counts of the reference's cells, found none: the model was saved without. Save it with "
                "save(with_counts=20000), or map with midas.transfer.query_to_reference(), which needs none."
            )
        return read_sampled(sample, self.schema)

    @property
    def batch_key(self) -> str | None:
        """Column of obs that names the batch in the data of this model.

        Examples
        --------
        >>> model.batch_key
        'batch'
        """
        return self.read_options.batch_key

    @property
    def layer(self) -> Layer:
        """Layer that holds the counts in the data of this model, or layers by modality; None for X.

        Examples
        --------
        >>> model.layer is None
        True
        """
        return self.read_options.layer

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities.

        Examples
        --------
        >>> model.modalities
        ('adt', 'atac', 'rna')
        """
        return tuple(self.schema.modalities)

    @property
    def kinds(self) -> dict[str, Modality]:
        """Definition of each modality, by name.

        Examples
        --------
        >>> model.kinds["atac"].likelihood
        'bernoulli'
        """
        return self.schema.kinds

    @property
    def history(self) -> pd.DataFrame:
        """Mean of each loss term per epoch, for training cells and (prefix ``val_``) validation cells.

        Examples
        --------
        >>> len(model.history), "kl_c" in model.history
        (2, True)
        """
        return pd.DataFrame([] if self._learned is None else self._learned.history)

    # ----------------------------------------------------------------------------------------------------------- results

    def latent(
        self,
        data: MosaicData | Mosaic | None = None,
        *,
        modalities: Sequence[str] | None = None,
        part: Part = "c",
    ) -> NDArray[np.float32]:
        """Posterior mean of each cell: the embedding.

        Parameters
        ----------
        data
            New cells, from known or unknown batches; None for the model's own.
        modalities
            Use only these; None for all that each cell has.
        part
            ``c`` is the biological state, ``u`` the technical noise, ``z`` both.

        Returns
        -------
        `(n_cells, dim)` in the order of the data's obs_names; NaN for cells that have none of the modalities.

        Examples
        --------
        >>> model.latent().shape, model.latent(part="u").shape
        ((300, 32), (300, 2))
        >>> rna_alone = model.latent(modalities=["rna"])
        >>> rna_alone.shape, bool(np.isnan(rna_alone).any())  # some cells have no RNA
        ((300, 32), True)
        """
        return self.posterior(data, modalities=modalities, part=part).mean

    def posterior(
        self,
        data: MosaicData | Mosaic | None = None,
        *,
        modalities: Sequence[str] | None = None,
        part: Part = "c",
    ) -> Posterior:
        """Mean and variance of the posterior; parameters as in :meth:`latent`.

        Examples
        --------
        >>> found = model.posterior()
        >>> found.mean.shape, bool((found.variance > 0).all())
        ((300, 32), True)
        """
        dim_c = self.config.network.dim_c
        columns = {"c": slice(0, dim_c), "u": slice(dim_c, None), "z": slice(None)}
        if part not in columns:
            msg = f"Expected part to be c, u or z, found {part!r}."
            raise ValueError(msg)
        mosaic = self.mosaic_of(data)
        names = self._known(modalities)
        if self._encoded is not None and mosaic is self.mosaic and names == self.modalities:
            whole = self._encoded
        else:
            whole = encode(self.vae, mosaic, names)
        mean, variance = whole.mean[:, columns[part]].copy(), whole.variance[:, columns[part]].copy()
        return Posterior(mean, variance, whole.depths.copy())

    def impute(
        self,
        modality: str,
        data: MosaicData | Mosaic | None = None,
        *,
        sample: bool = False,
        seed: int = 0,
        out: str | Path | None = None,
    ) -> AnnData:
        """Impute the counts of one modality for *every* cell with at least one modality, keeping batch effects.

        For cells measured in the modality, counts are decoded from the cell's own c and u. For other cells, they are
        the mean of the decoded counts of the `config.inference.n_neighbors` (40 by default) nearest measured cells in
        c; cells from batches with similar batch effects are preferred. Where the cell's batch lacks only some features,
        half of their value comes from the neighbours and half from the cell itself, at the depth given by its other
        counts.

        Parameters
        ----------
        modality
            What to decode.
        data
            New cells; None for the model's own.
        sample
            Draw counts instead of returning expected values, with the same overdispersion as measured counts.
        seed
            Random seed of the draws.
        out
            An ``.h5ad`` file or ``.zarr`` store to stream the values to, for results that do not fit in memory.

        Returns
        -------
        All cells x all features of the modality, named as in the data; backed by `out` if given.

        Examples
        --------
        >>> imputed = model.impute("adt")
        >>> imputed.shape, mdata["adt"].shape  # all cells, not only those measured
        ((300, 10), (225, 10))
        """
        mosaic = self.mosaic_of(data)
        (name,) = self._known([modality])
        return self._decoded(
            mosaic, self._imputing(mosaic, name), name, self._draw(name, sample=sample, seed=seed), out
        )

    def correct(
        self,
        modality: str,
        data: MosaicData | Mosaic | None = None,
        *,
        sample: bool = False,
        seed: int = 0,
        out: str | Path | None = None,
    ) -> AnnData:
        """Batch-corrected counts of one modality for *every* cell with at least one modality.

        Counts are decoded from c and the standard noise, as if all cells came from one batch.

        The standard noise is the mean u of the batch whose mean is nearest to the mean over all cells (He et al. 2024).
        Parameters and result as in :meth:`impute`.

        Examples
        --------
        >>> model.correct("rna").shape
        (300, 60)
        """
        mosaic = self.mosaic_of(data)
        (name,) = self._known([modality])
        return self._decoded(
            mosaic, self._correcting(mosaic, name), name, self._draw(name, sample=sample, seed=seed), out
        )

    def translate(
        self,
        source: str | Sequence[str],
        target: str,
        data: MosaicData | Mosaic | None = None,
        *,
        sample: bool = False,
        seed: int = 0,
        out: str | Path | None = None,
    ) -> AnnData:
        """Predict counts of modality `target` from `source` alone, even where a cell has other modalities.

        Cells without any of `source` are left out.

        Parameters
        ----------
        source
            Modalities to predict from, one or more.
        target
            Modality to predict.
        data, sample, seed, out
            As in :meth:`impute`.

        Returns
        -------
        Cells with a modality of `source` x all features of `target`; backed by `out` if given.

        Examples
        --------
        >>> model.translate("rna", "adt").shape  # of the cells that have RNA
        (225, 10)
        """
        mosaic = self.mosaic_of(data)
        names = self._known([source] if isinstance(source, str) else source)
        (name,) = self._known([target])
        found = self.posterior(mosaic, modalities=names, part="z")
        seen = mosaic.modalities[name].present & (name in names)
        states = States(found.mean, known=measurement_status(mosaic, name, seen), depths=found.depths)
        return self._decoded(mosaic, states, name, self._draw(name, sample=sample, seed=seed), out)

    @property
    def standard_noise(self) -> NDArray[np.float32]:
        """Technical noise u that batch-corrected counts are decoded with, `(dim_u,)`.

        Examples
        --------
        >>> model.standard_noise.shape
        (2,)
        """
        return self.learned.standard_u

    @property
    def learned(self) -> Learned:
        """What the model has learned besides its weights.

        Examples
        --------
        >>> sorted(model.learned.card)
        ['cells', 'labels', 'total_cells']
        """
        if self._learned is None:
            raise NotFittedError(_NOT_FITTED)
        return self._learned

    def annotate(
        self, mdata: MuData | AnnData, *, impute: Sequence[str] | bool = (), correct: Sequence[str] | bool = ()
    ) -> None:
        """Write results to the slots that scverse tools expect.

        ``obsm["X_midas"]`` (c) and ``obsm["X_midas_u"]`` (u); for the requested modalities, ``layers["imputed"]`` and
        ``layers["corrected"]`` for the cells and features of that modality. If the embedding of another model is
        replaced, its imputed and corrected layers are removed.

        Parameters
        ----------
        mdata
            The model's own or new data, modified in place.
        impute, correct
            Modalities to decode; True for all in the data.

        Raises
        ------
        TypeError
            When the data are a dict, which cannot hold an embedding of all cells.

        Examples
        --------
        >>> model.annotate(mdata, impute=["rna"])
        >>> mdata.obsm["X_midas"].shape, mdata["rna"].layers["imputed"].shape == mdata["rna"].shape
        ((300, 32), True)
        """
        if not isinstance(mdata, MuData | AnnData):
            msg = f"Expected a MuData or an AnnData to annotate, found {type(mdata).__name__}. Put its modalities into a MuData."
            raise TypeError(msg)
        mosaic = self.read(mdata)
        there = [name for name in self.modalities if mosaic.modalities[name].sources]
        impute, correct = (
            (there if names else ()) if isinstance(names, bool) else names for names in (impute, correct)
        )
        lacking = [
            name for name in (*impute, *correct) if name in mosaic.modalities and not mosaic.modalities[name].sources
        ]
        if lacking:
            msg = f"Expected data with {lacking[0]}, as layers go beside its counts, found none. impute() decodes any modality."
            raise ValueError(msg)
        wanted = {keys.IMPUTED: impute, keys.CORRECTED: correct}
        known = {layer: self._known(names) if names else () for layer, names in wanted.items()}
        check_rows(mosaic.cells, mdata)
        decoded = {layer: {name: self._layer(mosaic, name, layer) for name in names} for layer, names in known.items()}
        self.embed(mdata, mosaic, coming=known)
        for layer, values in decoded.items():
            write_layer(mdata, layer, values, self.schema)

    def _layer(self, mosaic: Mosaic, name: str, layer: str) -> NDArray[np.float32]:
        layout = own_layout(mosaic, name)
        return gathered(self.stream(mosaic, name, layer, layout), len(layout.columns))

    def embed(
        self, mdata: MuData | AnnData, mosaic: Mosaic, *, coming: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Write ``obsm["X_midas"]`` and ``obsm["X_midas_u"]`` to the data that `mosaic` was read from.

        If the embedding of another model is replaced, its imputed and corrected layers are removed.

        Parameters
        ----------
        mdata
            Changed in place.
        mosaic
            Read from `mdata`.
        coming
            By layer, modalities that are about to get new decoded values; their removal is not reported.

        Examples
        --------
        >>> model.embed(mdata, model.read(mdata))
        >>> sorted(key for key in mdata.obsm if key.startswith("X_"))
        ['X_midas', 'X_midas_u', 'X_truth']
        """
        check_rows(mosaic.cells, mdata)
        z = self.posterior(mosaic, part="z").mean
        dim_c = self.config.network.dim_c
        if of_another(mdata.obsm.get(keys.LATENT), z[:, :dim_c]):
            drop_decoded(mdata, self.schema, coming or {})
        for key, values in ((keys.LATENT, z[:, :dim_c].copy()), (keys.TECHNICAL, z[:, dim_c:].copy())):
            if key + keys.LAYOUT in mdata.obsm and not np.array_equal(mdata.obsm[key], values, equal_nan=True):
                del mdata.obsm[key + keys.LAYOUT]  # midas.pl would draw what another model had found
            mdata.obsm[key] = values

    def stream(self, mosaic: Mosaic, modality: str, layer: str, layout: Layout) -> Iterator[NDArray[np.float32]]:
        """Decode block by block, for results that do not fit in memory.

        Parameters
        ----------
        mosaic
            Returned by :meth:`read`, or the model's own.
        modality
            What to decode.
        layer
            ``imputed`` (as :meth:`impute`) or ``corrected`` (as :meth:`correct`).
        layout
            Cells and features to decode.

        Yields
        ------
        Consecutive rows of the layout.

        Examples
        --------
        >>> from midas.results import own_layout
        >>> layout = own_layout(model.mosaic, "rna")
        >>> blocks = model.stream(model.mosaic, "rna", "imputed", layout)
        >>> sum(len(block) for block in blocks) == mdata["rna"].n_obs
        True
        """
        states = (self._correcting if layer == keys.CORRECTED else self._imputing)(mosaic, modality)
        yield from decode(self.vae, self.schema, states.take(layout.cells), modality, layout.columns)

    # ---------------------------------------------------------------------------------------------------------- data, files

    def read(
        self,
        data: MosaicData,
        *,
        batch_key: str | EllipsisType | None = ...,
        measured: Mapping[str, pd.DataFrame] | None = None,
        layer: Layer | EllipsisType = ...,
    ) -> Mosaic:
        """Read new data for this model, matching features by name; batches may be new. All methods accept the result as `data`.

        Parameters
        ----------
        data
            As in :class:`MIDAS`.
        batch_key, layer
            As in :class:`MIDAS`; the default is how the model's own data were read. With the default, batch names that
            a mapped query shares with its reference refer to the query.
        measured
            As in :class:`MIDAS`; the default for the model's own batches is what was given when the model was made.

        Examples
        --------
        >>> model.read(mdata).n_cells
        300
        """
        return read_again(
            data,
            self.schema,
            self.read_options,
            batch_key=batch_key,
            measured=measured,
            layer=layer,
            seen_notes=() if self.mosaic is None else self.mosaic.notes,
        )

    def mosaic_of(self, data: MosaicData | Mosaic | None = None) -> Mosaic:
        """Get cells: read new data, check a mosaic that was read for this model, or use the model's own.

        Parameters
        ----------
        data
            As in :meth:`read`, or its result; None for the model's own data.

        Raises
        ------
        NotFittedError
            When the model has not been trained, before anything is read.
        ValueError
            When there are no data, or the mosaic was read for another model.

        Examples
        --------
        >>> model.mosaic_of() is model.mosaic
        True
        """
        if self._learned is None:
            raise NotFittedError(_NOT_FITTED)
        if isinstance(data, Mosaic):
            return aligned(data, self.schema)
        if data is not None:
            return self.read(data)
        if self.mosaic is None:
            raise ValueError("Expected data, as this model was loaded without its own; give data=.")
        return self.mosaic

    def save(self, folder: str | Path, *, cells: bool = True, with_counts: int = 0) -> None:
        """Write the model to a folder: weights, configuration, features and batches by name.

        Parameters
        ----------
        folder
            A new folder, or one with an older model, which is replaced.
        cells
            Whether to keep obs columns and latents of the model's own cells. They are needed for knowledge transfer,
            and by :meth:`impute` for cells that lack a modality.
        with_counts
            Also keep the *counts* of up to this many cells, sampled evenly across batches and regions of the latent
            space; needed for reciprocal mapping. 0 by default, so that patients' counts are not shared with a model by
            accident.

        Examples
        --------
        >>> model.save("model")
        >>> midas.MIDAS.load("model").modalities
        ('adt', 'atac', 'rna')
        """
        if with_counts and not cells:
            msg = f"Expected cells=True with with_counts={with_counts}, as counts are of no use without latents; found False."
            raise ValueError(msg)
        write_model(
            Path(folder),
            StoredModel(
                config=self.config,
                schema=self.schema,
                seed=self.seed,
                weights=dict(self.vae.state_dict()),
                learned=self.learned if cells else self.learned.without_cells(),
                sample=sampled(*self.counts(), self.cells, with_counts, self.seed) if with_counts else None,
                read_options=self.read_options,
            ),
        )

    @classmethod
    def load(
        cls,
        folder: str | Path,
        data: MosaicData | None = None,
        *,
        batch_key: str | EllipsisType | None = ...,
        measured: Mapping[str, pd.DataFrame] | None = None,
        layer: Layer | EllipsisType = ...,
        sha256: str | None = None,
    ) -> Self:
        """Read a model that :meth:`save` wrote.

        Discriminators are not saved: further training starts with new ones, whose weight is warmed up from 0.

        Parameters
        ----------
        folder
            Path of the folder, URL of an archive, or ``hf://owner/name``: see :func:`midas.sharing.fetch`.
        data
            Default data of methods that are called without `data`; batches and features are checked by name. If these
            are the model's own cells, or some of them, their counts also serve reciprocal mapping.
        batch_key, measured, layer
            As in :class:`MIDAS`, for `data` and for all data read later; the default is what was saved with the model.
        sha256
            SHA-256 hash of the archive, for a URL.

        Raises
        ------
        ModelFileError
            When the folder holds no model, a damaged one, or one of a newer version.

        Examples
        --------
        >>> model.save("model")
        >>> midas.MIDAS.load("model", mdata).latent().shape
        (300, 32)
        """
        place = fetch(folder, sha256=sha256).resolve()
        stored = read_model(place)
        model = cls.__new__(cls)
        here = accelerator_or_other(stored.config.training)
        options = stored.read_options
        options = replace(
            options,
            batch_key=options.batch_key if isinstance(batch_key, EllipsisType) else batch_key,
            layer=options.layer if isinstance(layer, EllipsisType) else layer,
            measured=options.measured if measured is None else measured,
        )
        model._start(stored.schema, _at_home(stored.config, here), stored.seed, options)
        model._learned, model._folder = stored.learned, (place, weights_in(place))
        model.vae.load_state_dict(stored.weights)
        model.vae.to(here)
        if data is not None:
            model.mosaic = model.read(data)
            rows = rows_of(model.mosaic, model.cells) if model.has_cells else None
            # The model's own cells: use their counts unless the folder has more.
            if rows is not None and (len(rows) >= model.cells.n_obs or not has_sample(place)):
                model._counts = model.mosaic, rows
        return model

    def provenance(self) -> dict[str, str]:
        """Describe the origin of results as text, which any file format can store.

        Version, seed, configuration, number of epochs, and whether Ctrl-C stopped the training (``true`` or ``false``).

        Examples
        --------
        >>> sorted(model.provenance())
        ['config', 'epochs', 'interrupted', 'seed', 'version']
        """
        return {
            "version": importlib.metadata.version("midas-mosaic"),
            "seed": str(self.seed),
            "config": json.dumps(self.config.to_dict()),
            "epochs": str(0 if self._learned is None else len(self._learned.history)),
            "interrupted": "true" if self.interrupted else "false",
        }

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} ({part.n_features:,})" for name, part in self.schema.modalities.items())
        state = "not fitted" if self._learned is None else f"fitted in {len(self._learned.history)} epochs"
        cells = "" if self.mosaic is None else f"{self.mosaic.n_cells:,} cells, "
        return f"MIDAS: {cells}{counted(len(self.schema.batches), 'batch', 'batches')}, {parts}; {state}"

    # ------------------------------------------------------------------------------------------------------------ private

    def _known(self, modalities: Sequence[str] | None) -> tuple[str, ...]:
        if modalities is None:
            return self.modalities
        names = [modalities] if isinstance(modalities, str) else list(modalities)
        strangers = [name for name in names if not isinstance(name, str)]
        if strangers:
            msg = (
                f"Expected a modality by its name, out of {', '.join(self.modalities)}, found {strangers[0]!r}. Where a single "
                "one is asked for, call once for each."
            )
            raise TypeError(msg)
        unknown = [name for name in names if name not in self.modalities]
        if unknown or not names:
            msg = f"Expected modalities out of {', '.join(self.modalities)}, found {', '.join(unknown) or 'none'}."
            raise ValueError(msg)
        return tuple(name for name in self.modalities if name in names)

    def _imputing(self, mosaic: Mosaic, modality: str) -> States:
        """States to decode a modality from, keeping batch effects; cells that lack the modality borrow from others."""
        found, seen = self.posterior(mosaic, part="z"), mosaic.modalities[modality].present
        k = self.config.inference.n_neighbors
        if k and not self.has_cells and not (seen.all() and mosaic.modalities[modality].measured.all()):
            logger.warning(
                "Saved without its cells, the model decodes cells that lack %s, or features of it, from their own state alone.",
                modality,
            )
        borrowing = self.learned.borrowing(modality, mosaic, ~seen, k=k, seed=self.seed)
        return States(found.mean, measurement_status(mosaic, modality, seen), found.depths, borrowing)

    def _correcting(self, mosaic: Mosaic, modality: str) -> States:
        """States with the standard noise, for batch correction. No borrowing, so that all batches are treated equally."""
        z = self.posterior(mosaic, part="z").mean
        z[:, self.config.network.dim_c :] = self.standard_noise
        return States(z, known=measurement_status(mosaic, modality, mosaic.modalities[modality].present))

    def _draw(self, modality: str, *, sample: bool, seed: int) -> Draw:
        return Draw(sample, expect_seed(seed), self.learned.spread.get(modality))

    def _decoded(self, mosaic: Mosaic, states: States, modality: str, draw: Draw, out: str | Path | None) -> AnnData:
        path = checked_out(out, mosaic, self.mosaic)
        layout = all_layout(mosaic, modality, np.flatnonzero(np.isfinite(states.z).all(1)))
        blocks = decode(self.vae, self.schema, states.take(layout.cells), modality, layout.columns, draw)
        return fill(frame(mosaic, modality, layout, described=True), blocks, path)


def _at_home(config: Config, here: str) -> Config:
    """Adapt a configuration to a machine that may lack the devices the model was trained on."""
    training = replace(config.training, devices=1, num_nodes=1)
    if training.accelerator not in {"auto", here}:
        logger.info(
            "The model was trained on %s, which is not here; it will compute on %s.", training.accelerator, here
        )
        training = replace(training, accelerator="auto")
    return replace(config, training=training)


def _checked(config: object) -> Config:
    if isinstance(config, Config):
        return config
    msg = f"Expected config to be a midas.Config, found {type(config).__name__}. "
    msg += (
        "Make one of a dict by midas.Config.from_dict(...)."
        if isinstance(config, Mapping)
        else "Make one by midas.Config(), or of a file by midas.Config.from_toml(...)."
    )
    raise TypeError(msg)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initialise weights from `seed` without changing the global random state."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # whatever the default device
        torch.default_generator.manual_seed(seed)
        yield
