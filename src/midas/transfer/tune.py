"""Tune a reference's model on a query, alone or together with reference cells."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from midas.bridging import bridged_by_state
from midas.data.combine import joined, recast
from midas.inference import encode
from midas.nn import VAE
from midas.training.loop import RunOptions, fit
from midas.training.plan import batch_size_for, full_steps
from midas.training.step import Anchor
from midas.transfer.extend import carry_over, start_features
from midas.transfer.placing import groups_of
from midas.transfer.replay import shown_for

if TYPE_CHECKING:
    from midas.config import Config
    from midas.data.mosaic import Mosaic
    from midas.model import MIDAS
    from midas.transfer.config import TransferConfig, Tune
    from midas.transfer.placing import Landmarks
    from midas.transfer.replay import Replay

# Fewest reference cells worth replaying: fewer would not cover the types.
_FEWEST_REPLAYED, _MOST_REPLAYED = 500, 20_000


def replay_size(n_query: int, options: TransferConfig) -> int:
    """Number of reference cells to replay for a query of `n_query` cells."""
    return int(min(max(options.replay * n_query, _FEWEST_REPLAYED), _MOST_REPLAYED))


def tune(
    reference: MIDAS,
    model: MIDAS,
    query: Mosaic,
    options: TransferConfig,
    run_options: RunOptions,
    *,
    landmarks: Landmarks | None,
    replay: Replay | None = None,
) -> None:
    """Carry a reference's weights over to an untrained model and train it on a query, in place.

    Parameters
    ----------
    reference
        Trained; left as it is.
    model
        Untrained, with an extended schema.
    query
        Query as read for that schema.
    landmarks
        Landmarks of the reference's cells to anchor the query's cells to; None leaves the query's cells free.
    replay
        Reference cells to train on as well, held in place.
    """
    carry_over(reference.vae, model.vae, reference.schema, model.schema)
    start_features(model.vae, reference.schema, query)
    _freeze(model.vae, options.tune, new=set(model.schema.modalities) - set(reference.schema.modalities))
    dim_c = model.config.network.dim_c
    mosaic, placed = query, encode(reference.vae, recast(query, reference.schema), reference.modalities).mean
    c = placed[:, :dim_c] if landmarks is None else landmarks.shift_to_reference(placed[:, :dim_c], groups_of(query))
    # u is not anchored, as batches differ in it.
    target = np.pad(c, ((0, 0), (0, placed.shape[1] - dim_c)), constant_values=np.nan)
    weight = np.zeros(len(c), dtype=np.float32)
    if landmarks is not None:
        weight = options.query_anchor_for(reference.cells.n_obs) * landmarks.known(c)
    if replay is not None:
        shown = shown_for(query, replay, model.schema, model.seed)
        mosaic = joined(query, shown.mosaic)
        target = np.concatenate([target, shown.z])
        weight = np.concatenate([weight, np.full(len(shown.z), options.reference_anchor, dtype=np.float32)])
    # Modalities that no query cell links are linked by where the reference places the cells.
    mosaic = bridged_by_state(mosaic, target[:, :dim_c], model.seed)
    target = np.pad(target, ((0, mosaic.n_cells - len(target)), (0, 0)), constant_values=np.nan)
    weight = np.pad(weight, (0, mosaic.n_cells - len(weight)))
    anchor = Anchor(torch.from_numpy(target), torch.from_numpy(weight))
    config = tuning_config(reference.config, query.n_cells, mosaic.n_cells, options)
    trained = fit(
        model.vae,
        model.discriminators,
        mosaic,
        config,
        model.seed,
        run_options,
        anchor=anchor,
        discriminator_warmup_steps=options.discriminator_warmup_steps if options.adversarial > 0 else 0,
    )
    model.vae.requires_grad_(requires_grad=True)
    model.finish_fit(trained)


def tuning_config(config: Config, n_query: int, n_all: int, options: TransferConfig) -> Config:
    """Configuration of a tuning run: a share of the steps that training on the query from scratch would take."""
    steps = options.step_fraction * full_steps(n_query, batch_size_for(n_query))
    size = batch_size_for(n_all)
    training = replace(
        config.training,
        epochs=max(1, math.ceil(steps / math.ceil(n_all / size))),
        batch_size=min(size, n_all),
        learning_rate=options.learning_rate,
        discriminator_learning_rate=options.discriminator_learning_rate,
        sampling=options.sampling,
        schedule="warmup_stable_decay",
        validation_fraction=0.0,
        patience=None,
        devices=1,  # tuning is short, and need not use the devices of the reference
        num_nodes=1,
    )
    alignment = config.objective.alignment if options.alignment is None else options.alignment
    # The model is already trained, so the adversarial weight need not ramp up.
    objective = replace(
        config.objective,
        adversarial=options.adversarial,
        adversarial_growth=1.0,
        alignment=alignment,
        kl_warmup=0.0,
        adversarial_warmup=0.0,
        adversarial_start=0.0,
    )
    return replace(config, training=training, objective=objective)


def _freeze(vae: VAE, tune: Tune, *, new: set[str]) -> None:
    vae.requires_grad_(requires_grad=tune == "all")
    vae.batch_encoder.requires_grad_(requires_grad=True)
    vae.batch_decoder.requires_grad_(requires_grad=True)
    if tune == "encoders":
        vae.encoder.requires_grad_(requires_grad=True)
    for name in new:
        vae.encoder.inputs[name].requires_grad_(requires_grad=True)
        vae.decoder.outputs[name].requires_grad_(requires_grad=True)
        if vae.decoder.depths is not None and name in vae.decoder.depths.names:
            vae.decoder.depths.heads[name].requires_grad_(requires_grad=True)
            vae.decoder.depths.coupling.requires_grad = True
