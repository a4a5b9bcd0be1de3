"""MIDAS: the model as its users see it."""

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
    """A result was asked of a model that has not been trained."""


class MIDAS:
    """One model of a mosaic: embedding, imputation, batch correction, translation.

    Parameters
    ----------
    data
        A MuData, an AnnData, a dict of them by modality or by batch, or a :class:`midas.Mosaic`. Raw counts. Modalities may
        hold different cells, which are matched by name.
    batch_key
        Column of obs that names each cell's batch; None when all cells are one batch.
    modalities
        What the modalities are, where their names (rna, adt, atac and usual aliases) do not tell.
    measured
        By modality, a boolean table batches x features: False where a batch did not measure a feature. Columns
        ``measured_<batch>`` of var say the same.
    layer
        Layer that holds the counts, or a dict of layers by modality (X in those left out); None for X.
    config
        Sizes, weights, training; ``Config()`` if left out, ``Config.paper()`` for the published set-up.
    seed
        Same seed, same data (in any order), same machine: same result.

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
        """Untrained model of a mosaic as it is: its schema goes on from another model's, with that model's blocks and depths.

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
        """Set up an untrained model; the one place where its attributes begin."""
        self.schema, self.config, self.seed, self.read_options, self.mosaic = schema, config, seed, options, mosaic
        self._learned: Learned | None = None
        self._encoded: Posterior | None = None
        self._counts: tuple[Mosaic, NDArray[np.int64]] | None = None
        self._folder: tuple[Path, str] | None = None  # that it was read from, and sha256 of the weights there
        self._begun = False
        self._make_networks()

    def __copy__(self) -> Self:
        """Copy with networks of its own: two models that share them would change each other's when one is trained."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Copy all but the data, which no model changes, and which may be on disk."""
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
        """Train on the data that the model was made with.

        A model that has been trained is trained on from its weights, and its history is then that of the new training. After a
        first training that failed, the model begins anew from its seed; after a later one it is what it was before.

        Parameters
        ----------
        progress
            Whether to draw a progress bar.
        loggers
            Lightning loggers that get every epoch's terms.
        checkpoint
            File that keeps the state of the run, so that it can go on after an interruption.
        resume
            Whether to go on from `checkpoint` if it is there. A run that was finished is taken as it is, without more training.

        Returns
        -------
        The model itself. Ctrl-C ends the training early and leaves it usable.

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
                self._make_networks()  # those that are there hold what is left of a training that failed
            self._begun = True
            start(self.vae, self.mosaic, self.config.training.init)
        mosaic = bridged_by_genes(self.mosaic, self.seed)[0] if self.config.training.bridge else self.mosaic
        try:
            self.finish_fit(fit(self.vae, self.discriminators, mosaic, self.config, self.seed, run_options))
        except BaseException:
            if before is not None:  # what the model knows of its cells goes with the weights that it had
                for net, weights in zip(self._networks, before, strict=True):
                    net.load_state_dict(weights)
            raise
        return self

    @property
    def _networks(self) -> tuple[VAE, Discriminators]:
        return self.vae, self.discriminators

    def finish_fit(self, trained: Trained) -> None:
        """Take the networks as trained: encode the model's own cells, and find what is to be known of them."""
        assert self.mosaic is not None
        encoded = encode(self.vae, self.mosaic, self.modalities, ranks=ranks())
        learned = learn(self.vae, self.mosaic, encoded, trained.history, self.config.inference, seed=self.seed)
        # All at once: what is interrupted before leaves the model as it was.
        self._encoded, self._learned = encoded, replace(learned, interrupted=trained.interrupted)
        self._counts = self.mosaic, np.arange(self.mosaic.n_cells)

    @property
    def cells(self) -> AnnData:
        """Cells that the model was trained on, and those of its references: obs columns and latents, no counts.

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
        """Whether the model knows where its own cells lie.

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
        """Take over what a reference knew: its standard noise, how its batches measured, and its cells.

        Parameters
        ----------
        reference
            Left as it is.
        cells
            Its cells and the model's own.
        counts
            Of these or some of them, with their rows in `cells`. Without counts of the reference's cells the model has none, so
            that nothing is tuned beside the last query alone.
        readings
            How some of `cells` are read by fewer modalities.
        """
        self._counts = counts
        self.read_options = self.read_options.knowing(reference.read_options)
        self._learned = self.learned.continuing(reference.learned, cells, counts, readings, seed=self.seed)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the training, so that results are of fewer epochs than they were to be.

        Examples
        --------
        >>> model.interrupted
        False
        """
        return self._learned is not None and self._learned.interrupted

    @property
    def has_counts(self) -> bool:
        """Whether counts of the model's own cells, or of a sample of them, are at hand.

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
        """Make a model of new data that starts from this one, in a twentieth to a tenth of the steps of a model from scratch.

        See :func:`midas.transfer.transfer_model`, and :mod:`midas.transfer` for mappings into this model's own space.

        Parameters
        ----------
        query
            New data: any modalities, any batches, more or fewer features.
        batch_key, measured, layer, seed
            As in :class:`MIDAS`; the column and the layer are those of this model's own data if left out.
        modalities
            Likewise, of modalities that this model lacks.
        config
            Of the tuning; None for ``TransferConfig.for_model()``.
        progress
            Whether to draw a progress bar.

        Returns
        -------
        A fitted model of the query alone; this one stays as it is.
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
        """Counts of the model's own cells, or of a sample of them, and their rows in :attr:`cells`.

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
        """What each modality is, by name.

        Examples
        --------
        >>> model.kinds["atac"].likelihood
        'bernoulli'
        """
        return self.schema.kinds

    @property
    def history(self) -> pd.DataFrame:
        """Mean of each term of the objective, of training cells and (``val_``) of held-out cells.

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
        """Embed cells: the mean of their posterior.

        Parameters
        ----------
        data
            New cells, of batches known or unknown; None for the model's own.
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
        """Counts of one modality for *every* cell that has some modality, batch effects kept.

        Where a cell was measured in it, they are decoded from its own c and u. Where it was not, they are the mean over the
        `config.inference.neighbours` (40 by default) nearest cells in c that were, each decoded from its own state; cells of
        batches that measure alike come first. Where its batch merely lacks some features, half of their value comes from the
        neighbours and half from the cell itself, at the depth that its other counts show.

        Parameters
        ----------
        modality
            What to decode.
        data
            New cells; None for the model's own.
        sample
            Draw counts instead of returning expected values. They scatter about these as widely as measured counts do.
        seed
            Of the draws.
        out
            An ``.h5ad`` file or ``.zarr`` store to stream the values to, when they would not fit in memory.

        Returns
        -------
        All cells x all features of the modality, named as in the data; with `out`, opened from there.

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
        """Counts of one modality for *every* cell that has some modality, as if all came from one batch.

        They are decoded from c and the standard noise.

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
        """Counts of modality `target` predicted from `source` alone, though the cell may have more.

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
        Cells that have a modality of `source` x all features of `target`; with `out`, opened from there.

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
        """The u that batch-corrected counts are decoded with, `(dim_u,)`.

        Examples
        --------
        >>> model.standard_noise.shape
        (2,)
        """
        return self.learned.standard_u

    @property
    def learned(self) -> Learned:
        """What the model knows beside its weights.

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
        """Write results where scverse tools look for them.

        ``obsm["X_midas"]`` (c) and ``obsm["X_midas_u"]`` (u); for the modalities named, ``layers["imputed"]`` and
        ``layers["corrected"]`` of the cells and features that the modality itself holds. Where another model's embedding is
        replaced, layers of these names that it decoded are removed.

        Parameters
        ----------
        mdata
            The model's own data or new ones, changed in place.
        impute, correct
            Modalities to decode; True for all that the data have.

        Raises
        ------
        TypeError
            When the data are a dict, which has no place for an embedding of all cells.

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
        """Write ``obsm["X_midas"]`` and ``obsm["X_midas_u"]`` of data that were read as `mosaic`.

        What another model had decoded, whose embedding is replaced, is removed.

        Parameters
        ----------
        mdata
            Changed in place.
        mosaic
            As read from there.
        coming
            By layer, modalities that get new decoded values, of which nothing need be said.

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
        """Decode block by block what would not fit in memory.

        Parameters
        ----------
        mosaic
            Read by :meth:`read`, or the model's own.
        modality
            What to decode.
        layer
            ``imputed`` (as :meth:`impute`) or ``corrected`` (as :meth:`correct`).
        layout
            The cells and features wanted.

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
        """Read new data for this model: features matched by name, batches known or not. Every verb takes the result.

        Parameters
        ----------
        data
            As in :class:`MIDAS`.
        batch_key, layer
            Likewise; as the model's own data were read where left out, and a mapped query's batches that are called like the
            reference's are then the query's.
        measured
            Likewise. What the model was told of its own batches holds for them here, unless this is given.

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
        """Read new cells, or take those of a mosaic that was read for this model, or the model's own.

        Parameters
        ----------
        data
            As in :meth:`read`, or what that gave; None for the data that the model was made with.

        Raises
        ------
        NotFittedError
            When the model has not been trained, before anything is read.
        ValueError
            When there are no data, or they were read for another model.

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
            New, or one that holds an older model.
        cells
            Whether to keep obs columns and latents of the model's own cells, which knowledge transfer needs, and which cells that
            lack a modality borrow from in :meth:`impute`.
        with_counts
            Also keep the *counts* of up to so many of them, drawn evenly from batches and from regions of the latent space,
            which reciprocal mapping needs. None by default: models get shared, and patients' counts must not travel by
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

        Discriminators are not kept: a further training begins with new ones, whose weight rises from 0.

        Parameters
        ----------
        folder
            Where it is; also the URL of an archive, or ``hf://owner/name``: see :func:`midas.sharing.fetch`.
        data
            Data used by methods that are called without `data`; checked against the model by name. The model's own cells, or
            some of them, are also the counts that reciprocal mapping needs.
        batch_key, measured, layer
            As in :class:`MIDAS`, of `data` and of all data to come; what the model was told before it was saved, if left out.
        sha256
            Of the archive at a URL.

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
            # The model's own cells: their counts are at hand again, if they are not fewer than the folder holds.
            if rows is not None and (len(rows) >= model.cells.n_obs or not has_sample(place)):
                model._counts = model.mosaic, rows
        return model

    def provenance(self) -> dict[str, str]:
        """Say where results come from, as text that any file format can keep.

        Version, seed, configuration; how many epochs were trained, and whether Ctrl-C ended the training (``true`` or ``false``).

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
        """What a modality is decoded from, cell by cell, its batch kept: cells that lack it borrow from others."""
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
        """Likewise, as if all cells came from one batch. Nothing is borrowed, so that cells of all batches are made alike."""
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
    """A model's configuration on a machine that may lack the devices it was trained on."""
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
    """Draw the first weights from `seed`, and leave the process's own random state as it was."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # whatever the default device
        torch.default_generator.manual_seed(seed)
        yield
