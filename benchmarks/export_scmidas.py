"""Write down what the authors' package scmidas 0.3.0 computes on a few minibatches, for ``benchmarks/parity.py``.

Runs in the environment of scmidas that ``midas bench OUT --setup --methods scmidas`` makes.
A model with the default configuration is built on a
mosaic, trained for a few epochs, and every parameter is then disturbed a little, so that none keeps a value (the ones
and zeros of LayerNorm) that would hide a mistake in its use. Dropout is switched off. From every batch one minibatch is
drawn and passed through the model twice, with the batch as an expert and without (``drop_s``); in the end scmidas'
own training step is run once on each of these. No computation of scmidas is replaced: the networks and the loss
functions are called as its training step calls them, the noise that it samples with is written down on its way out of
``torch.randn_like``, and of the training steps what it hands to its logger.

The result is one .npz:

* ``meta``: JSON, see :func:`describe`;
* ``net.<parameter>``, ``dsc.<parameter>``: weights of the network and of the discriminators;
* ``<batch>/<seen|hidden>/<quantity>``: inputs, noise, posteriors, draws, decoder outputs, terms of the objective (in
  nats per cell, unweighted) and gradients (``gradient.net.<parameter>``, ``gradient.dsc.<parameter>``);
* ``step<i>/<quantity>``: noise and weighted losses of the training steps.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import lightning
import mudata as mu
import numpy as np
import scmidas
import torch
from scmidas.utils import filter_keys
from torch import Tensor
from torch.utils.data import default_collate

EXPECTED = "0.3.0"
Arrays = dict[str, np.ndarray]


def read_mosaic(path: Path) -> mu.MuData:
    """Read a mosaic and set the feature masks that scmidas looks for.

    A modality's boolean columns ``var["measured_<batch>"]`` become ``uns["mask_<batch>"]``; a batch without such a
    column measured everything.
    """
    mdata = mu.read_h5mu(path)
    for mod in mdata.mod.values():
        for batch in mod.obs["batch"].astype(str).unique():
            column = f"measured_{batch}"
            if column in mod.var:
                mod.uns[f"mask_{batch}"] = mod.var[column].to_numpy().astype(np.float32)
    return mdata


def block_sizes(mdata: mu.MuData) -> dict[str, list[int]]:
    """Sizes of the blocks of every modality: runs of one chromosome where ``var["chrom"]`` tells it, else one block.

    Raises
    ------
    ValueError
        When the features of a chromosome do not stand together.
    """
    sizes = {}
    for name, mod in mdata.mod.items():
        if "chrom" not in mod.var:
            sizes[name] = [mod.n_vars]
            continue
        runs = [(chrom, len(list(run))) for chrom, run in groupby(mod.var["chrom"].astype(str))]
        if len({chrom for chrom, _ in runs}) < len(runs):
            raise ValueError(f"expected the features of a chromosome of {name} to stand together, found them apart")
        sizes[name] = [n for _, n in runs]
    return sizes


def build(mdata: mu.MuData, batch_size: int, models: str) -> scmidas.MIDAS:
    """Build a model with the default configuration, but no worker processes."""
    configs = dict(scmidas.load_config())
    configs.update(num_workers=0, persistent_workers=False, pin_memory=False)
    scmidas.MIDAS.setup_mudata(mdata, batch_key="batch", dims_x=block_sizes(mdata))
    return scmidas.MIDAS(mdata, configs=configs, batch_size=batch_size, save_model_path=models, n_save=10**9)


def train(model: scmidas.MIDAS, epochs: int) -> None:
    """Train for a few epochs, quietly."""
    if epochs:
        lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(model)


def disturb(model: scmidas.MIDAS, size: float, generator: torch.Generator) -> None:
    """Add normal noise to all parameters: `size` times the root mean square of a matrix, `size` itself to vectors.

    Vectors are biases, and the weights of LayerNorm, which start all alike.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.0 if parameter.ndim == 1 else float(parameter.square().mean().sqrt())
            parameter.add_(size * scale * torch.randn(parameter.shape, generator=generator))


def make_deterministic(model: scmidas.MIDAS) -> None:
    """Switch dropout off, of units and of the batch; sampling stays on, as it does in training mode."""
    model.net.train()  # not model.train(), which scmidas redefines to start a training
    model.dsc.train()
    model.net.s_drop_rate = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@contextmanager
def recorded_noise() -> Iterator[list[Tensor]]:
    """Collect what ``torch.randn_like`` returns."""
    drawn: list[Tensor] = []
    original = torch.randn_like

    def recorder(*args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - passed through
        drawn.append(original(*args, **kwargs))
        return drawn[-1]

    torch.randn_like = recorder
    try:
        yield drawn
    finally:
        torch.randn_like = original


def posteriors(net: torch.nn.Module, batch: dict[str, Any], *, seen: bool) -> dict[str, Tensor]:
    """Experts of each modality and of the batch, and the posterior of each modality alone."""
    means, logvars = net.encoder(batch["x"], batch["e"])
    s_means, s_logvars = net.encode_batch(batch["s"] if seen else None)
    out = {}
    for name in means:
        out[f"expert mean.{name}"], out[f"expert logvar.{name}"] = means[name], logvars[name]
        alone = net.poe([means[name], *s_means], [logvars[name], *s_logvars])
        out[f"single mean.{name}"], out[f"single logvar.{name}"] = alone
    if seen:
        out["expert mean.batch"], out["expert logvar.batch"] = s_means[0], s_logvars[0]
    return out


def cross_entropies(model: scmidas.MIDAS, c: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
    """Cross entropy of each discriminator and their sum as scmidas computes it, per cell."""
    guess = model.dsc(c)
    n = len(c["joint"])
    each = {
        f"loss.discriminator.{name}": torch.nn.functional.cross_entropy(
            logits, batch["s"][name].squeeze(1), reduction="sum"
        )
        / n
        for name, logits in guess.items()
    }
    return {**each, "loss.discriminators": model.calc_dsc_loss(guess, batch["s"])}


def objective(model: scmidas.MIDAS, batch: dict[str, Any], out: tuple[Any, ...]) -> dict[str, Tensor]:
    """Terms of the objective, put together as in scmidas' training step before its discriminators are updated."""
    decoded, s_guess, mean, logvar, _, c, _, single, c_all = out
    of_model = model.__dict__
    weights = filter_keys(of_model, "lam_recon_")
    recon, parts = model.calc_recon_loss(
        batch["x"],
        batch["s"]["joint"],
        batch["e"],
        decoded,
        s_guess,
        filter_keys(of_model, "distribution_dec_"),
        weights,
    )
    kld = model.calc_kld_z_loss(model.dim_c, model.dim_u, model.lam_kld_c, model.lam_kld_u, mean, logvar)
    aligned = model.calc_consistency_loss(single)
    guesses = cross_entropies(model, {**c_all, "joint": c}, batch)
    total = recon * model.lam_recon + kld * model.lam_kld + aligned * model.lam_alignment
    terms = {
        f"loss.reconstruction.{'batch' if key == 's' else key}": part / len(c) / weights[f"lam_recon_{key}"]
        for key, part in ((name.removeprefix("recon_loss/"), part) for name, part in parts.items())
    }
    return {
        **terms,
        **guesses,
        "loss.kl c": model.calc_kld_loss(mean[:, : model.dim_c], logvar[:, : model.dim_c]),
        "loss.kl u": model.calc_kld_loss(mean[:, model.dim_c :], logvar[:, model.dim_c :]),
        "loss.alignment": aligned,
        "loss.total without discriminators": total,
        "loss.total": total - guesses["loss.discriminators"] * model.lam_dsc * model.lam_adv,
    }


def gradients(loss: Tensor, module: torch.nn.Module, name: str) -> dict[str, Tensor]:
    """Gradient of a loss with respect to every parameter; zero where it does not depend on one."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {
        f"gradient.{name}.{key}": torch.zeros_like(p) if g is None else g
        for key, p, g in zip(names, parameters, found, strict=True)
    }


def one_pass(model: scmidas.MIDAS, batch: dict[str, Any], *, seen: bool) -> Arrays:
    """All quantities of one pass over one minibatch."""
    model.net.drop_s = not seen
    with recorded_noise() as noise:
        out = model.net(batch)
    decoded, s_guess, mean, logvar, z, c, _, _, c_all = out
    found = posteriors(model.net, batch, seen=seen)
    found |= {f"counts.{name}": x for name, x in batch["x"].items()}
    found |= {f"mask.{name}": mask for name, mask in batch["e"].items() if name in batch["x"]}
    found |= {f"noise.{name}": drawn for name, drawn in zip(["joint", *batch["x"]], noise, strict=True)}
    found |= {f"decoded.{name}": x for name, x in decoded.items()}
    found |= {"joint mean": mean, "joint logvar": logvar, "joint z": z}
    found |= {f"single c.{name}": c_all[name] for name in batch["x"]}
    if s_guess is not None:
        found["batch logits"] = s_guess
    terms = objective(model, batch, out)
    fixed = {name: value.detach() for name, value in {**c_all, "joint": c}.items()}
    discriminators = cross_entropies(model, fixed, batch)["loss.discriminators"] * model.lam_dsc
    found |= terms | gradients(terms["loss.total"], model.net, "net") | gradients(discriminators, model.dsc, "dsc")
    return {name: value.detach().numpy() for name, value in found.items()}


def training_steps(model: scmidas.MIDAS, minibatches: dict[str, dict[str, Any]]) -> tuple[Arrays, list[list[str]]]:
    """Run scmidas' own training step on all minibatches, with the batch and then without.

    Returns
    -------
    Arrays, and the batch and mode of each step.
    """
    logged: list[dict[str, Tensor]] = []
    names = ("reconstruction", "kl", "alignment", "total", "discriminators")

    def log(*values: Any) -> None:  # noqa: ANN401 - five tensors and a dict
        logged.append({f"training.{name}": value.detach() for name, value in zip(names, values[:-1], strict=True)})

    model.log_losses = log  # it would ask for a Trainer
    model.configure_optimizers()
    arrays: Arrays = {}
    steps = [[batch, mode] for mode in ("seen", "hidden") for batch in minibatches]
    for i, (batch, mode) in enumerate(steps):
        model.net.drop_s = mode == "hidden"
        with recorded_noise() as noise:
            model.training_step(minibatches[batch], i)
        found = {f"noise.{name}": n for name, n in zip(["joint", *minibatches[batch]["x"]], noise, strict=True)}
        arrays |= {f"step{i}/{name}": value.numpy() for name, value in (found | logged[-1]).items()}
    return arrays, steps


def cell_names(mdata: mu.MuData, batch: str, modalities: list[str]) -> np.ndarray:
    """Names of a batch's cells in the order of scmidas, which matches the rows of the modalities by position.

    Raises
    ------
    ValueError
        When that order is not the same in all modalities.
    """
    names = [mdata[m].obs_names[(mdata[m].obs["batch"] == batch).to_numpy()].to_numpy().astype(str) for m in modalities]
    if not all(np.array_equal(names[0], other) for other in names[1:]):
        raise ValueError(f"expected the cells of batch {batch} in the same order in {', '.join(modalities)}")
    return names[0]


def describe(model: scmidas.MIDAS, mdata: mu.MuData) -> dict[str, Any]:
    """What the reader of the arrays must know: the orders of features, blocks, batches and classes."""
    batches = [str(name) for name in model.batch_names]
    return {
        "scmidas": version("scmidas"),
        "torch": torch.__version__,
        "features": {name: mod.var_names.astype(str).tolist() for name, mod in mdata.mod.items()},
        "blocks": model.dims_x,
        "batches": batches,
        # For each batch, by modality and for "joint", its class in that discriminator.
        "classes": {b: {k: int(v) for k, v in s.items()} for b, s in zip(batches, model.s_joint, strict=True)},
        "n_classes": {name: int(n) for name, n in model.dims_s.items()},
    }


def export(model: scmidas.MIDAS, mdata: mu.MuData, n_cells: int, seed: int) -> tuple[Arrays, dict[str, Any]]:
    """Draw a minibatch of every batch and collect everything; ``cells`` and ``steps`` say what the arrays belong to."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for part, module in (("net", model.net), ("dsc", model.dsc)):
        arrays |= {f"{part}.{name}": p.detach().numpy().copy() for name, p in module.named_parameters()}
    cells, minibatches = {}, {}
    for dataset, batch, modalities in zip(model.datalist, map(str, model.batch_names), model.combs, strict=True):
        rows = rng.choice(len(dataset), min(n_cells, len(dataset)), replace=False)
        cells[batch] = cell_names(mdata, batch, modalities)[rows].tolist()
        minibatches[batch] = default_collate([dataset[int(row)] for row in rows])
        for mode in ("seen", "hidden"):
            found = one_pass(model, minibatches[batch], seen=mode == "seen")
            arrays |= {f"{batch}/{mode}/{name}": value for name, value in found.items()}
    trained, steps = training_steps(model, minibatches)
    return arrays | trained, {**describe(model, mdata), "cells": cells, "steps": steps}


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="mosaic, .h5mu with obs['batch'] in every modality")
    parser.add_argument("out", type=Path, help=".npz to write")
    parser.add_argument("--cells", type=int, default=128, help="cells of a minibatch")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of training before the comparison")
    parser.add_argument("--disturb", type=float, default=0.05, help="noise on every parameter after the training")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if version("scmidas") != EXPECTED:
        parser.error(f"expected scmidas {EXPECTED}, found {version('scmidas')}; see midas bench --setup")

    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    lightning.seed_everything(args.seed, verbose=False)
    mdata = read_mosaic(args.data)
    with tempfile.TemporaryDirectory() as models:
        model = build(mdata, 256, models)
        train(model, args.epochs)
    disturb(model, args.disturb, torch.Generator().manual_seed(args.seed))
    make_deterministic(model)
    arrays, meta = export(model, mdata, args.cells, args.seed)
    np.savez(args.out, meta=np.array(json.dumps(meta)), **arrays)


if __name__ == "__main__":
    main()
