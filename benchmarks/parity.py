"""Show that our model computes what the authors' package scmidas 0.3.0 computes, given the same weights.

For each case a small mosaic is cut from a data set, ``export_scmidas.py`` (run with scmidas' own interpreter)
builds and briefly trains a scmidas model on it and writes down its weights, a minibatch of every batch, the noise of
its draws, and all that it computes from them. Here the weights are put into our :class:`midas.nn.VAE` and
:class:`midas.nn.Discriminators` under ``Config.paper()``, the same cells and the same noise are passed through, and
everything is compared: inputs, experts and posteriors of each modality, of the batch and joint, draws, decoder outputs
(of the modalities that the batch lacks too), every term of the objective, and the gradients of the objective and of the
discriminators' loss with respect to every parameter. Each minibatch is passed twice: with the batch as an expert
("seen") and without ("hidden"), as in a tenth of the training steps. In the end both sides' own training steps (three
AdamW steps of the discriminators, then one of the model) run over these passes in turn, and the losses of each step are
compared, which depend on all weights that the steps before have changed.

Cases: RNA and ADT (batches with one of them, the other, both); RNA and ATAC cut by chromosome (the same); RNA and ADT
with feature masks (proteins that a batch did not measure); all three at once, masked, in four combinations.

Tolerance. Both sides compute in float32. A quantity agrees when the largest absolute difference of its entries is at
most ``--tolerance`` (1e-5) times the largest absolute value of its entries in scmidas; for a single number, a term of
the objective, that is the plain relative difference. For gradients the rule holds for each parameter tensor by itself,
and a row of the table is the worst tensor of a part of the model. A row is the worst of all minibatches and passes.

Differences in form, each handled in the open:

1. *Constant of the Poisson.* scmidas' loss (``PoissonNLLLoss(full=True)``) holds Stirling's approximation of log x! for
   x > 1. It depends on the counts alone, and ours leaves it out; :func:`stirling` adds it before comparing.
2. *Order of features.* Ours are sorted by name, peaks by chromosome and position. The cases shuffle the features (peaks
   within chromosomes, chromosomes in the order of text: chr1, chr10, chr2), so that every permutation is a real one;
   :class:`Order` permutes rows and columns of weights, and what scmidas put out.
3. *Blocks.* scmidas' encoders and decoders of a chromosome stand in its order of chromosomes, ours in our own; the
   concatenated LayerNorm and the linear maps next to it are permuted by blocks. scmidas has one last decoder matrix for
   all modalities, which is cut; its shared upper encoder is ours.
4. *Discriminators.* Ours are stacked, each with an output for every batch, of which those without the modality get a
   logit of minus infinity. scmidas' have one output for each batch with the modality, numbered in order of appearance:
   :func:`discriminator_weights` puts them at our batches. The outputs that scmidas lacks are filled with noise, which
   must not matter.
5. *Modalities that a minibatch lacks.* scmidas leaves them out of its dicts; ours has no counts of them, and their
   discriminators count no cell. Their parameters must get a gradient of zero.
6. *Which features were measured.* Our reader takes a protein that is zero in a whole batch but not in others as not
   measured, scmidas takes it as a zero unless it is told. The cases tell scmidas what our reader found.
7. *Dropout* is switched off on both sides, as its random bits cannot be shared; sampling is on. Which minibatches are
   drawn in which order, and in which steps the batch is hidden, are also outside of this comparison.
8. *AdamW on the parameters of modalities that a minibatch lacks*: the one place where the two train differently, and
   only where minibatches lack a modality altogether. AdamW leaves a tensor without gradient alone, but moves one whose
   gradient is zero, by momentum and weight decay. scmidas' last decoder matrix is one tensor for all modalities, so the
   rows of a modality that is lacking go on moving, while ours are tensors of their own and stand still; our stacked
   discriminators go on moving, while scmidas' are modules of their own and stand still. The rows "training" are with
   :func:`like_scmidas`, which has our AdamW do as scmidas' does in both, and must agree; the rows "training as is" are
   without it, and show how far the first steps come apart: where they do, they are marked "known" (but not in the case
   without lacking modalities, where they must agree too).

Usage::

    OMP_NUM_THREADS=1 python benchmarks/parity.py --peer-python SCMIDAS_ENV/bin/python --data DIR [--out parity.md]

DIR holds pbmc_wnn_mosaic_1600.h5mu, pbmc_standin_trimodal_4batch.h5mu and pbmc_citeseq_10x_2batch.h5mu. The exit status
is 1 when any quantity differs, other than those marked "known".
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import mudata as mu
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from midas import Config
from midas.data import Minibatch, Mosaic, MosaicSchema, gather, read_mosaic
from midas.data.blocks import peak_keys
from midas.losses import Losses, objective
from midas.nn import VAE, Discriminators, Gaussian, Noise, Outputs
from midas.training.loop import learner_for
from midas.training.step import Learner, discriminator_input, train_step

EXPORTER = Path(__file__).parent / "export_scmidas.py"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A mosaic to compare on.

    Attributes
    ----------
    name
        In the table.
    file
        Data set that it is cut from.
    modalities
        That are kept.
    withheld
        By batch, modalities that are taken away from it.
    """

    name: str
    file: str
    modalities: tuple[str, ...]
    withheld: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


WNN, CITESEQ, TRIMODAL = (
    f"pbmc_{name}.h5mu" for name in ("wnn_mosaic_1600", "citeseq_10x_2batch", "standin_trimodal_4batch")
)
CASES = (
    Case("rna+adt", WNN, ("rna", "adt")),
    Case("rna+atac", TRIMODAL, ("rna", "atac"), {"pbmc10k_b": ("atac",), "pbmc5k_a": ("rna",)}),
    Case("masks", CITESEQ, ("rna", "adt")),
    Case(
        "trimodal",
        TRIMODAL,
        ("rna", "adt", "atac"),
        {"pbmc10k_b": ("adt", "atac"), "pbmc5k_a": ("rna",), "pbmc5k_b": ("adt",)},
    ),
)


# ---------------------------------------------------------------- the mosaic of a case


def shuffled_features(mod: ad.AnnData, rng: np.random.Generator) -> np.ndarray:
    """Order the features at random, but keep chromosomes together, in the order of their names as text."""
    order = rng.permutation(mod.n_vars)
    if "chrom" not in mod.var:
        return order
    return order[np.argsort(mod.var["chrom"].astype(str).to_numpy()[order], kind="stable")]


def chosen_cells(mdata: mu.MuData, n: int, rng: np.random.Generator) -> set[str]:
    """Names of at most `n` cells of each batch."""
    batch = pd.concat([mod.obs["batch"].astype(str) for mod in mdata.mod.values()])
    batch = batch[~batch.index.duplicated()]
    parts = [rng.permutation(names)[:n] for names in batch.groupby(batch, observed=True).groups.values()]
    return {str(name) for part in parts for name in part}


def cut(case: Case, source: mu.MuData, rng: np.random.Generator, cells_per_batch: int = 400) -> mu.MuData:
    """Cut the mosaic of a case: some cells, shuffled features, modalities taken away."""
    keep = chosen_cells(source, cells_per_batch, rng)
    mods = {}
    for name in case.modalities:
        mod = source[name]
        batch = mod.obs["batch"].astype(str)
        there = ~batch.map(lambda b, name=name: name in case.withheld.get(b, ())).to_numpy()
        part = mod[there & mod.obs_names.isin(keep), shuffled_features(mod, rng)].copy()
        part.obs = pd.DataFrame({"batch": part.obs["batch"].astype(str)}, index=part.obs_names)
        mods[name] = part
    return mu.MuData(mods)


def tell_measured(mdata: mu.MuData, mosaic: Mosaic) -> None:
    """Write what our reader took as measured into ``var["measured_<batch>"]``, which the exporter gives to scmidas."""
    for name, rows in mosaic.modalities.items():
        mod = mdata[name]
        column = mosaic.schema.modalities[name].features.get_indexer(peak_keys(mod.var_names))
        for b, batch in enumerate(mosaic.batches):
            if mosaic.schema.batches_with[name][b] and not rows.measured[b].all():
                mod.var[f"measured_{batch}"] = rows.measured[b, column]


def run_peer(python: Path, data: Path, out: Path, args: argparse.Namespace) -> None:
    """Run the exporter.

    Raises
    ------
    SystemExit
        With the end of what it said, when it fails.
    """
    options = [f"--{name}={getattr(args, name)}" for name in ("cells", "epochs", "seed")]
    try:
        done = subprocess.run([python, EXPORTER, data, out, *options], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"--peer-python: expected a Python with scmidas, found {error}") from error
    if done.returncode:
        raise SystemExit(f"{EXPORTER.name} failed on {data.name}:\n{done.stderr[-3000:]}")


@dataclass(frozen=True)
class Peer:
    """What the exporter wrote.

    Attributes
    ----------
    meta
        Orders of features, blocks, batches and cells.
    arrays
        Weights and quantities.
    """

    meta: dict[str, Any]
    arrays: Tensors

    @classmethod
    def read(cls, path: Path) -> Peer:
        """Read the .npz of the exporter."""
        with np.load(path) as file:
            meta = json.loads(str(file["meta"]))
            return cls(meta, {name: torch.from_numpy(file[name]) for name in file.files if name != "meta"})

    def under(self, prefix: str) -> Tensors:
        """Arrays whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}


# ---------------------------------------------------------------- from scmidas' names and orders to ours


@dataclass(frozen=True)
class Order:
    """Where our features of a modality, and our blocks of them, stand in scmidas.

    Attributes
    ----------
    features
        For each of our features, its position in scmidas.
    blocks
        For each of our blocks, its number in scmidas.
    within
        For each of our blocks, for each of its features, its position inside scmidas' block.
    """

    features: Tensor
    blocks: tuple[int, ...]
    within: tuple[Tensor, ...]

    @property
    def split(self) -> bool:
        """Whether there is more than one block."""
        return len(self.blocks) > 1

    def chunks(self, width: int) -> Tensor:
        """Positions in scmidas of our concatenated blocks, `width` units each."""
        return torch.cat([b * width + torch.arange(width) for b in self.blocks])

    @classmethod
    def find(cls, theirs: Sequence[str], their_blocks: Sequence[int], ours: pd.Index, blocks: Sequence[int]) -> Order:
        """Match features by name and blocks by their features.

        Raises
        ------
        ValueError
            When the features or the blocks are not the same.
        """
        at = peak_keys(pd.Index(theirs)).get_indexer(ours)
        if len(theirs) != len(ours) or (at < 0).any():
            raise ValueError(f"expected the same features on both sides, found {len(theirs)} and {len(ours)}")
        starts = np.cumsum([0, *their_blocks])
        numbers, within = [], []
        for part in np.split(at, np.cumsum(blocks)[:-1]):
            number = np.unique(np.searchsorted(starts, part, side="right") - 1)
            if len(number) != 1 or their_blocks[number[0]] != len(part):
                raise ValueError("expected each block of features on both sides, found blocks that overlap in part")
            numbers.append(int(number[0]))
            within.append(torch.from_numpy(part - starts[number[0]]))
        return cls(torch.from_numpy(at), tuple(numbers), tuple(within))


def orders(meta: Mapping[str, Any], schema: MosaicSchema) -> dict[str, Order]:
    """Match the features and blocks of all modalities."""
    return {
        name: Order.find(meta["features"][name], meta["blocks"][name], part.features, part.blocks)
        for name, part in schema.modalities.items()
    }


class Weights:
    """scmidas' parameters (or their gradients) of one module, and which of them were used."""

    def __init__(self, named: Tensors) -> None:
        self.named = named
        self.used: set[str] = set()

    def take(self, name: str) -> Tensor:
        """Get one by name."""
        if name not in self.named:
            raise KeyError(f"expected a parameter {name!r} in scmidas, found {', '.join(sorted(self.named))}")
        self.used.add(name)
        return self.named[name]

    def check_all_used(self) -> None:
        """Refuse leftovers: parameters that would have no counterpart in our model."""
        left = sorted(set(self.named) - self.used)
        if left:
            raise ValueError(f"expected a counterpart of every parameter of scmidas, found none of {', '.join(left)}")


def layer(
    source: Weights, theirs: str, ours: str, rows: Tensor | None = None, columns: Tensor | None = None
) -> Tensors:
    """Weight and bias of a linear map or of a LayerNorm, with rows and columns in our order."""
    weight, bias = source.take(f"{theirs}.weight"), source.take(f"{theirs}.bias")
    if rows is not None:
        weight, bias = weight[rows], bias[rows]
    if columns is not None:
        weight = weight[:, columns]
    return {f"{ours}.weight": weight, f"{ours}.bias": bias}


def mlp(
    source: Weights,
    theirs: str,
    ours: str,
    n_hidden: int,
    *,
    first: Tensor | None = None,
    last: Tensor | None = None,
) -> Tensors:
    """All layers of one of our MLPs; the inputs in the order `first`, the outputs in the order `last`."""
    out: Tensors = {}
    for i in range(n_hidden):
        columns = first if i == 0 else None
        out |= layer(source, f"{theirs}.net.{2 * i}", f"{ours}.hidden.{i}.linear", columns=columns)
        out |= layer(source, f"{theirs}.net.{2 * i + 1}.net.0", f"{ours}.hidden.{i}.finish.norm")
    columns = first if n_hidden == 0 else None
    return out | layer(source, f"{theirs}.net.{2 * n_hidden}", f"{ours}.out", last, columns)


def stack_blocks(parts: Sequence[Tensors], ours: str, n_hidden: int, *, ragged: str) -> Tensors:
    """Stack the blocks' MLPs as ours are: every layer but the one at the features' own side is one batched product."""
    out: Tensors = {}
    names = [f".hidden.{i}.linear" for i in range(n_hidden)] + [".out"]
    own = names.pop(0 if ragged == "first" else -1)
    for b, part in enumerate(parts):
        out |= {f"{ours}.{ragged}.{b}.{kind}": part[f"{own}.{kind}"] for kind in ("weight", "bias")}
    for i, name in enumerate(names):
        out[f"{ours}.linear.{i}.weight"] = torch.stack([part[f"{name}.weight"].T for part in parts])
        out[f"{ours}.linear.{i}.bias"] = torch.stack([part[f"{name}.bias"][None] for part in parts])
    for i in range(n_hidden):
        norm = f".hidden.{i}.finish.norm"
        out[f"{ours}.finish.{i}.scale"] = torch.stack([part[f"{norm}.weight"][None] for part in parts])
        out[f"{ours}.finish.{i}.shift"] = torch.stack([part[f"{norm}.bias"][None] for part in parts])
    return out


def encoder_weights(source: Weights, name: str, order: Order, config: Config) -> Tensors:
    """Weights of the part of the encoder that is a modality's own."""
    theirs, ours = "encoder.encoders", f"encoder.inputs.{name}"
    columns, out = order.features, {}
    if order.split:
        *hidden, width = config.network.block_encoder
        columns = order.chunks(width)
        parts = []
        for b, within in zip(order.blocks, order.within, strict=True):
            pre = f"encoder.pre_encoders.{name}.{b}"
            parts.append(mlp(source, pre, "", len(hidden), first=within))
        out |= stack_blocks(parts, f"{ours}.blocks", len(hidden), ragged="first")
        out |= layer(source, f"encoder.transform_concat.{name}.net.0", f"{ours}.finish.norm", columns)
    out |= layer(source, f"{theirs}.{name}.0.net.0", f"{ours}.first.linear", columns=columns)
    return out | layer(source, f"{theirs}.{name}.0.net.1.net.0", f"{ours}.first.finish.norm")


def decoder_weights(source: Weights, name: str, order: Order, start: int, config: Config) -> Tensors:
    """Weights of the part of the decoder that is a modality's own; it begins at row `start` of scmidas' last matrix."""
    ours = f"decoder.outputs.{name}"
    last = f"decoder.shared_decoder.net.{2 * len(config.network.decoder)}"
    if not order.split:
        return layer(source, last, f"{ours}.linear", start + order.features)
    width, *hidden = config.network.block_decoder
    rows = order.chunks(width)
    out = layer(source, last, f"{ours}.linear", start + rows)
    out |= layer(source, f"decoder.transform_concat.{name}.net.0", f"{ours}.finish.norm", rows)
    parts = []
    for b, within in zip(order.blocks, order.within, strict=True):
        post = f"decoder.post_decoders.{name}.{b}"
        parts.append(mlp(source, post, "", len(hidden), last=within))
    return out | stack_blocks(parts, f"{ours}.blocks", len(hidden), ragged="last")


def trunk_weights(source: Weights, config: Config) -> Tensors:
    """Weights of the hidden layers that all modalities' decoders share."""
    out: Tensors = {}
    for i in range(len(config.network.decoder)):
        theirs, ours = "decoder.shared_decoder.net", f"decoder.trunk.{i}"
        out |= layer(source, f"{theirs}.{2 * i}", f"{ours}.linear")
        out |= layer(source, f"{theirs}.{2 * i + 1}.net.0", f"{ours}.finish.norm")
    return out


def vae_weights(named: Tensors, order: Mapping[str, Order], meta: Mapping[str, Any], config: Config) -> Tensors:
    """Put the parameters of scmidas' VAE, or their gradients, under our names and in our order."""
    source, network = Weights(named), config.network
    first = next(iter(meta["features"]))  # the shared layers are listed under the first modality
    out = mlp(source, f"encoder.encoders.{first}.1", "encoder.shared", len(network.encoder) - 1)
    out |= trunk_weights(source, config)
    start = 0
    for name in meta["features"]:
        out |= encoder_weights(source, name, order[name], config)
        out |= decoder_weights(source, name, order[name], start, config)
        start += len(order[name].chunks(network.block_decoder[0])) if order[name].split else len(order[name].features)
    batches = torch.tensor([meta["batches"].index(b) for b in sorted(meta["batches"])])
    n_encoder, n_decoder = len(network.batch_encoder), len(network.batch_decoder)
    out |= mlp(source, "s_encoder.s_encoder", "batch_encoder.net", n_encoder, first=batches)
    out |= mlp(source, "s_decoder.s_decoder", "batch_decoder", n_decoder, last=batches)
    source.check_all_used()
    return out


def spread_classes(values: Tensor, name: str, meta: Mapping[str, Any], fill: Callable[..., Tensor]) -> Tensor:
    """Put the outputs of a discriminator of scmidas, `(n_classes, ...)`, at our batches; `fill` where it has none."""
    batches = sorted(meta["batches"])
    if len(values) != meta["n_classes"][name]:
        raise ValueError(f"expected {meta['n_classes'][name]} classes of discriminator {name}, found {len(values)}")
    out = fill(len(batches), *values.shape[1:])
    for i, batch in enumerate(batches):
        if name in meta["classes"][batch]:
            out[i] = values[meta["classes"][batch][name]]
    return out


def discriminator_weights(
    named: Tensors, names: Sequence[str], meta: Mapping[str, Any], config: Config, fill: Callable[..., Tensor]
) -> Tensors:
    """Stack the parameters of scmidas' discriminators, or their gradients, as ours are."""
    source, n_hidden = Weights(named), len(config.network.discriminator)

    def stack(theirs: str, part: str) -> list[Tensor]:
        return [source.take(f"predictors.{name}.net.{theirs}.{part}") for name in names]

    out: Tensors = {}
    for i in range(n_hidden):
        out[f"linear.{i}.weight"] = torch.stack(stack(f"{2 * i}", "weight")).mT
        out[f"linear.{i}.bias"] = torch.stack(stack(f"{2 * i}", "bias"))[:, None]
        out[f"finish.{i}.scale"] = torch.stack(stack(f"{2 * i + 1}.net.0", "weight"))[:, None]
        out[f"finish.{i}.shift"] = torch.stack(stack(f"{2 * i + 1}.net.0", "bias"))[:, None]
    weight, bias = (
        torch.stack([spread_classes(v, name, meta, fill) for v, name in zip(stack(last, part), names, strict=True)])
        for last, part in ((f"{2 * n_hidden}", "weight"), (f"{2 * n_hidden}", "bias"))
    )
    out |= {"out.weight": weight.mT, "out.bias": bias[:, None]}
    source.check_all_used()
    return out


def in_our_order(found: Tensors, order: Mapping[str, Order]) -> Tensors:
    """Permute the columns of what scmidas computed per feature."""
    out = {}
    for name, value in found.items():
        kind, _, modality = name.partition(".")
        out[name] = value[:, order[modality].features] if kind in {"counts", "mask", "decoded"} else value
    return out


# ---------------------------------------------------------------- our side


class Replay(Noise):
    """Normal numbers that were drawn before, in the order of the draws."""

    def __init__(self, draws: Sequence[Tensor]) -> None:
        super().__init__(0, torch.device("cpu"))
        self.draws = list(draws)

    def normal_like(self, like: Tensor) -> Tensor:
        """Next of the draws."""
        draw = self.draws.pop(0)
        if draw.shape != like.shape:
            raise ValueError(f"expected a draw of shape {tuple(like.shape)}, found one of {tuple(draw.shape)}")
        return draw


@dataclass(frozen=True)
class Ours:
    """Our networks with scmidas' weights."""

    schema: MosaicSchema
    config: Config
    vae: VAE
    discriminators: Discriminators

    @classmethod
    def load(cls, peer: Peer, schema: MosaicSchema, order: Mapping[str, Order], seed: int) -> Ours:
        """Build the networks of the paper without dropout; ``load_state_dict`` is strict about names and shapes."""
        paper = Config.paper()
        config = replace(
            paper,
            network=replace(paper.network, dropout=0.0, discriminator_dropout=0.0),
            training=replace(paper.training, accelerator="cpu"),
        )
        vae, discriminators = VAE(schema, config.network), Discriminators(schema, config.network)
        vae.load_state_dict(vae_weights(peer.under("net."), order, peer.meta, config))
        noise = torch.Generator().manual_seed(seed)
        discriminators.load_state_dict(
            discriminator_weights(
                peer.under("dsc."),
                discriminators.names,
                peer.meta,
                config,
                lambda *shape: torch.randn(shape, generator=noise),
            )
        )
        return cls(schema, config, vae, discriminators)


def stirling(minibatch: Minibatch, schema: MosaicSchema) -> dict[str, float]:
    """Stirling's approximation of log x!, summed over counts above 1 and per cell, of the Poisson modalities."""
    out = {}
    for name, counts in minibatch.counts.items():
        x = counts.values.double()
        x = x[x > 1]
        terms = x * torch.log(x) - x + 0.5 * torch.log(2 * torch.pi * x)
        poisson = schema.modalities[name].modality.likelihood == "poisson"
        out[name] = float(terms.sum()) / minibatch.n_cells if poisson else 0.0
    return out


def counts_and_masks(minibatch: Minibatch) -> Tensors:
    """Counts as scored (0 where a feature was not measured), and masks (1 everywhere if there is none)."""
    out = {}
    for name, counts in minibatch.counts.items():
        dense = counts.dense("identity")
        out |= {f"counts.{name}": dense, f"mask.{name}": torch.ones_like(dense) if counts.mask is None else counts.mask}
    return out


def experts(ours: Ours, minibatch: Minibatch, *, seen: bool) -> Tensors:
    """Experts of each modality and of the batch, without dropout and draws."""
    by_modality, of_batch = ours.vae.experts(minibatch, None, with_batch=seen)
    named = by_modality if of_batch is None else {**by_modality, "batch": of_batch}
    out = {}
    for name, expert in named.items():
        out[f"expert mean.{name}"], out[f"expert logvar.{name}"] = expert.gaussian.mean, expert.gaussian.logvar
    return out


def decoded(ours: Ours, outputs: Outputs) -> Tensors:
    """Decoder outputs of all modalities on scmidas' scale: log rates of Poisson, probabilities of Bernoulli.

    What the objective used must be the same as what decoding z again gives.
    """
    everything = ours.vae.decode(outputs.joint.z, None, dict.fromkeys(ours.schema.modalities))
    out = {}
    for name, eta in everything.items():
        scored = outputs.eta.get(name, eta)
        if not torch.equal(scored, eta):
            raise ValueError(f"expected one decoder output of {name}, found two that differ")
        bernoulli = ours.schema.modalities[name].modality.likelihood == "bernoulli"
        out[f"decoded.{name}"] = torch.sigmoid(scored) if bernoulli else scored
    return out


def posteriors(outputs: Outputs, dim_c: int) -> Tensors:
    """Joint and single-modality posteriors and draws."""
    joint = outputs.joint
    out = {"joint mean": joint.posterior.mean, "joint logvar": joint.posterior.logvar, "joint z": joint.z}
    for name, latent in outputs.single.items():
        own: Gaussian = latent.posterior
        out |= {f"single mean.{name}": own.mean, f"single logvar.{name}": own.logvar}
        out[f"single c.{name}"] = latent.z[:, :dim_c]
    if outputs.batch_logits is not None:
        out["batch logits"] = outputs.batch_logits
    return out


def cross_entropies(ours: Ours, c: Tensor, present: Tensor, batch: Tensor) -> Tensors:
    """Cross entropy of each discriminator that counts a cell, and their sum, per cell."""
    out = {"loss.discriminators": ours.discriminators(c, present, batch, None).mean()}
    for i, name in enumerate(ours.discriminators.names):
        if present[i].any():
            only = torch.zeros_like(present).index_fill(0, torch.tensor(i), value=True) & present
            out[f"loss.discriminator.{name}"] = ours.discriminators(c, only, batch, None).mean()
    return out


def terms(ours: Ours, losses: Losses, guesses: Tensors, constant: Mapping[str, float]) -> Tensors:
    """Terms of the objective under scmidas' names, with the constant of the Poisson."""
    modalities = ours.schema.modalities
    shift = sum(modalities[name].modality.weight * value for name, value in constant.items())
    total = losses.total + shift
    out = {f"loss.reconstruction.{name}": loss + constant[name] for name, loss in losses.reconstruction.items()}
    return {
        **out,
        **guesses,
        "loss.kl c": losses.kl_c,
        "loss.kl u": losses.kl_u,
        "loss.alignment": losses.alignment,
        "loss.total without discriminators": total,
        "loss.total": total - ours.config.objective.adversarial * guesses["loss.discriminators"],
    }


def gradients(loss: Tensor, module: torch.nn.Module, name: str) -> Tensors:
    """Gradient of a loss with respect to every parameter; zero where it does not depend on one."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {
        f"gradient.{name}.{key}": torch.zeros_like(p) if g is None else g
        for key, p, g in zip(names, parameters, found, strict=True)
    }


def our_pass(ours: Ours, minibatch: Minibatch, noise: Tensors, *, seen: bool) -> Tensors:
    """All quantities of one pass over one minibatch, under the exporter's names."""
    config, replay = ours.config, Replay([noise[name] for name in ("joint", *minibatch.counts)])
    outputs = ours.vae(minibatch, replay, with_batch=seen)
    modalities = {name: part.modality for name, part in ours.schema.modalities.items()}
    losses = objective(outputs, minibatch, modalities, ours.vae.extras(), config.objective, config.network.dim_c)
    c, present = discriminator_input(outputs, ours.discriminators.names, config.network.dim_c)
    guesses = cross_entropies(ours, c, present, minibatch.batch)
    named = terms(ours, losses, guesses, stirling(minibatch, ours.schema))
    if seen:
        named["loss.reconstruction.batch"] = losses.batch_reconstruction
    fixed = ours.discriminators(c.detach(), present, minibatch.batch, None).mean() * config.objective.adversarial
    found = (
        counts_and_masks(minibatch) | experts(ours, minibatch, seen=seen) | posteriors(outputs, config.network.dim_c)
    )
    found |= decoded(ours, outputs) | named
    found |= gradients(named["loss.total"], ours.vae, "net") | gradients(fixed, ours.discriminators, "dsc")
    return {name: value.detach() for name, value in found.items()}


# ---------------------------------------------------------------- comparison


@dataclass(frozen=True)
class Difference:
    """How far two arrays are apart: largest absolute difference, and that over the largest value of scmidas."""

    absolute: float
    relative: float

    @classmethod
    def of(cls, ours: Tensor, theirs: Tensor) -> Difference:
        """Compare; arrays of unlike shapes, or that are not finite, are infinitely far apart."""
        if ours.shape != theirs.shape or not bool(torch.isfinite(ours).all() & torch.isfinite(theirs).all()):
            return cls(float("inf"), float("inf"))
        absolute = float((ours.double() - theirs.double()).abs().max())
        scale = float(theirs.abs().max())
        return cls(absolute, 0.0 if absolute == 0 else absolute / scale if scale else float("inf"))


MISSING = Difference(float("inf"), float("inf"))


# First words of the names of quantities, in the order of the table.
KINDS = ("counts", "mask", "expert", "joint", "single", "batch", "decoded", "loss", "gradient", "training")


def quantity(name: str) -> str:
    """Name of the row of the table that an array belongs to; parameters of a part of the model share one."""
    kind, _, rest = name.partition(".")
    if kind == "gradient":
        module, part = rest.split(".")[:2]
        rest = "discriminators" if module == "dsc" else part
    return " ".join([kind + ":" * (kind in {"loss", "gradient", "training"}), *rest.split(".")]).strip()


def place(name: str) -> tuple[int, str]:
    """Sort key of a quantity in the table."""
    return KINDS.index(name.split(maxsplit=1)[0].rstrip(":")), name


def compare(ours: Tensors, theirs: Tensors) -> dict[str, Difference]:
    """Worst difference of each quantity; one that only one side has differs."""
    out: dict[str, Difference] = {}
    for name in sorted(set(ours) | set(theirs)):
        found = Difference.of(ours[name], theirs[name]) if name in ours and name in theirs else MISSING
        keep_worst(out, quantity(name), found)
    return out


def keep_worst(worst: dict[str, Difference], name: str, found: Difference) -> None:
    """Enter a difference if it is larger than what is there."""
    old = worst.get(name, Difference(0.0, 0.0))
    worst[name] = Difference(max(old.absolute, found.absolute), max(old.relative, found.relative))


def translate_gradients(found: Tensors, ours: Ours, peer: Peer, order: Mapping[str, Order]) -> Tensors:
    """Put scmidas' gradients under our names and in our order."""
    parts = {
        part: {name.removeprefix(start): g for name, g in found.items() if name.startswith(start)}
        for part, start in (("net", "gradient.net."), ("dsc", "gradient.dsc."))
    }
    names = ours.discriminators.names
    out = {f"gradient.net.{k}": g for k, g in vae_weights(parts["net"], order, peer.meta, ours.config).items()}
    stacked = discriminator_weights(parts["dsc"], names, peer.meta, ours.config, torch.zeros)
    return out | {f"gradient.dsc.{k}": g for k, g in stacked.items()}


def minibatch_of(mosaic: Mosaic, peer: Peer, batch: str) -> Minibatch:
    """Collect the cells that the exporter drew from a batch."""
    return gather(mosaic, mosaic.cells.get_indexer(peer.meta["cells"][batch]).astype(np.int64))


def noise_in(found: Tensors) -> Tensors:
    """Normal numbers that scmidas drew, by what they were drawn for."""
    return {name.removeprefix("noise."): value for name, value in found.items() if name.startswith("noise.")}


def compare_pass(
    ours: Ours, peer: Peer, order: Mapping[str, Order], mosaic: Mosaic, batch: str, mode: str
) -> dict[str, Difference]:
    """Compare one pass over one minibatch, `mode` being ``seen`` or ``hidden``."""
    found = peer.under(f"{batch}/{mode}/")
    theirs = in_our_order({n: v for n, v in found.items() if not n.startswith(("noise.", "gradient."))}, order)
    for name in order:
        if f"counts.{name}" in theirs:
            # scmidas multiplies by the mask where it uses the counts, ours are empty there from the start.
            mask = theirs.setdefault(f"mask.{name}", torch.ones_like(theirs[f"counts.{name}"]))
            theirs[f"counts.{name}"] = theirs[f"counts.{name}"] * mask
    theirs |= translate_gradients(found, ours, peer, order)
    return compare(our_pass(ours, minibatch_of(mosaic, peer, batch), noise_in(found), seen=mode == "seen"), theirs)


def our_step(learner: Learner, minibatch: Minibatch, noise: Tensors, *, seen: bool) -> Tensors:
    """Run our training step; the losses that scmidas logs of its own."""
    replay, weights = Replay([noise[name] for name in ("joint", *minibatch.counts)]), learner.config.objective
    report = train_step(learner, minibatch, replay, with_batch=seen)
    losses, modalities = report.losses, learner.schema.modalities
    parts = {n: loss + stirling(minibatch, learner.schema)[n] for n, loss in losses.reconstruction.items()}
    recon = sum(modalities[n].modality.weight * part for n, part in parts.items())
    recon = recon + weights.batch_reconstruction * losses.batch_reconstruction
    kl = weights.kl_c * losses.kl_c + weights.kl_u * losses.kl_u
    alignment, guess = weights.alignment * losses.alignment, weights.adversarial * report.discriminator
    found = {
        "training.reconstruction": recon,
        "training.kl": kl,
        "training.alignment": alignment,
        "training.discriminators": guess,
        "training.total": recon + kl + alignment - guess,
    }
    return {name: value.detach() for name, value in found.items()}


class SeparateAdamW:
    """AdamW on the stacked discriminators as if each were tensors of its own: one that counted no cell stands still.

    Parameters
    ----------
    module
        The discriminators.
    like
        Optimiser whose settings are used.
    """

    def __init__(self, module: Discriminators, like: torch.optim.Optimizer) -> None:
        settings = {name: like.defaults[name] for name in ("lr", "weight_decay", "betas", "eps")}
        self.stacked = list(module.parameters())
        self.single = [
            [torch.nn.Parameter(p.detach()[i].clone()) for p in self.stacked] for i in range(len(module.names))
        ]
        self.optimizers = [torch.optim.AdamW(parameters, **settings) for parameters in self.single]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.stacked:
            parameter.grad = None

    def step(self) -> None:
        """Update each discriminator that has a gradient."""
        for i, (parameters, optimizer) in enumerate(zip(self.single, self.optimizers, strict=True)):
            pairs = list(zip(parameters, self.stacked, strict=True))
            if any(bool(stacked.grad[i].any()) for _, stacked in pairs):
                for own, stacked in pairs:
                    own.grad = stacked.grad[i].clone()
                optimizer.step()
                for own, stacked in pairs:
                    stacked.data[i] = own.data


def like_scmidas(learner: Learner) -> Learner:
    """Have AdamW treat the parameters of modalities that a minibatch lacks as it does in scmidas; see the module, 8."""

    def zeros_for_none(*_: object) -> None:
        for output in learner.vae.decoder.outputs.values():
            for parameter in output.linear.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

    learner.vae_optimizer.register_step_pre_hook(zeros_for_none)
    return replace(
        learner, discriminator_optimizer=SeparateAdamW(learner.discriminators, learner.discriminator_optimizer)
    )


def compare_steps(learner: Learner, peer: Peer, mosaic: Mosaic, label: str) -> dict[str, Difference]:
    """Compare the losses of training steps in turn; `label` begins the names of the rows."""
    worst: dict[str, Difference] = {}
    for i, (batch, mode) in enumerate(peer.meta["steps"]):
        found = peer.under(f"step{i}/")
        losses = our_step(learner, minibatch_of(mosaic, peer, batch), noise_in(found), seen=mode == "seen")
        theirs = {name: value for name, value in found.items() if not name.startswith("noise.")}
        for name, difference in compare(losses, theirs).items():
            keep_worst(worst, name.replace("training", label), difference)
    return worst


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    case: str
    quantity: str
    difference: Difference
    ok: Literal["yes", "NO", "known"]


def compare_case(mosaic: Mosaic, peer: Peer, seed: int) -> dict[str, Difference]:
    """Compare all minibatches of a case, then training on them."""
    order = orders(peer.meta, mosaic.schema)
    ours = Ours.load(peer, mosaic.schema, order, seed)
    worst: dict[str, Difference] = {}
    for batch in peer.meta["cells"]:
        for mode in ("seen", "hidden"):
            for name, found in compare_pass(ours, peer, order, mosaic, batch, mode).items():
                keep_worst(worst, name, found)
    for label, treat in (("training", like_scmidas), ("training as is", lambda learner: learner)):
        fresh = Ours.load(peer, mosaic.schema, order, seed)
        learner = treat(learner_for(fresh.vae, fresh.discriminators, mosaic, fresh.config))
        worst |= compare_steps(learner, peer, mosaic, label)
    return worst


def judge(name: str, found: Difference, tolerance: float, *, mosaic: Mosaic) -> Literal["yes", "NO", "known"]:
    """Whether a quantity agrees; "known" for what difference 8 of the module explains."""
    if found.relative <= tolerance:
        return "yes"
    lacking = not all(all(there) for there in mosaic.schema.batches_with.values())
    return "known" if lacking and name.startswith("training as is") else "NO"


def run_case(case: Case, args: argparse.Namespace, folder: Path) -> tuple[list[Row], str]:
    """Cut the mosaic, run scmidas and ours, and say what was compared."""
    source = args.data / case.file
    if not source.is_file():
        raise SystemExit(f"--data: expected {case.file} in {args.data}, found none")
    mdata = cut(case, mu.read_h5mu(source), np.random.default_rng(args.seed))
    mosaic = read_mosaic(mdata)
    tell_measured(mdata, mosaic)
    path, result = folder / f"{case.name}.h5mu", folder / f"{case.name}.npz"
    mdata.write_h5mu(path)
    run_peer(args.peer_python, path, result, args)
    peer = Peer.read(result)
    worst = compare_case(mosaic, peer, args.seed)
    rows = [
        Row(case.name, name, worst[name], judge(name, worst[name], args.tolerance, mosaic=mosaic))
        for name in sorted(worst, key=place)
    ]
    return rows, describe(case, mosaic, peer)


def describe(case: Case, mosaic: Mosaic, peer: Peer) -> str:
    """One line: data, minibatches and their modalities, features that were masked."""
    parts = []
    for b, batch in enumerate(mosaic.batches):
        has = [name for name, rows in mosaic.schema.batches_with.items() if rows[b]]
        masked = {m: int((~mosaic.modalities[m].measured[b]).sum()) for m in has}
        notes = "".join(f", {n} {m} features masked" for m, n in masked.items() if n)
        parts.append(f"{batch} ({'+'.join(has)}, {len(peer.meta['cells'][batch])} cells{notes})")
    return f"{case.name}: {case.file}, scmidas {peer.meta['scmidas']}; " + "; ".join(parts)


def table(rows: Sequence[Row]) -> str:
    """Format the rows as a markdown table that also reads well on a terminal."""
    cells = [("case", "quantity", "max abs diff", "max rel diff", "ok")]
    cells += [(r.case, r.quantity, f"{r.difference.absolute:.1e}", f"{r.difference.relative:.1e}", r.ok) for r in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def report(rows: Sequence[Row], notes: Sequence[str], args: argparse.Namespace) -> str:
    """Heading, what was compared, and the table."""
    count = Counter(row.ok for row in rows)
    verdict = f"{count['yes']} of {len(rows)} quantities agree to {args.tolerance:g}, {count['NO']} do not"
    if count["known"]:
        verdict += f", {count['known']} differ for a known reason (difference 8 in benchmarks/parity.py)"
    head = (
        f"Parity with scmidas: {verdict}. Relative differences are to the largest absolute value of a quantity. Each row is "
        "the worst of all minibatches, with the batch seen and hidden; of all steps in turn where it says training."
    )
    return "\n".join([head, "", *(f"- {note}" for note in notes), "", table(rows), ""])


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--peer-python", type=Path, required=True, help="interpreter of the environment with scmidas")
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--out", type=Path, help="markdown file for the report")
    parser.add_argument("--cases", nargs="+", default=[c.name for c in CASES], choices=[c.name for c in CASES])
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--cells", type=int, default=128, help="cells of a minibatch")
    parser.add_argument("--epochs", type=int, default=5, help="epochs that scmidas is trained before")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main() -> None:
    """Compare all cases, print the report, and exit with 1 if anything differs."""
    args = parse()
    warnings.filterwarnings("ignore")
    logging.getLogger("midas").setLevel(logging.ERROR)
    mu.set_options(pull_on_update=False)
    rows: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in (c for c in CASES if c.name in args.cases):
            print(f"{case.name} ...", file=sys.stderr, flush=True)
            found, note = run_case(case, args, Path(folder))
            rows += found
            notes.append(note)
    text = report(rows, notes, args)
    print(text)
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")
    if any(row.ok == "NO" for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
