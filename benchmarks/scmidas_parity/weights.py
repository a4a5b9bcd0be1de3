"""scmidas' parameters, or their gradients, under our names and in our order (differences 2 to 4 in ``parity.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from midas import Config
from scmidas_parity.order import Order
from scmidas_parity.peer import Tensors


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
