"""Our side against scmidas': every pass over every minibatch of a case, then training on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from midas.data import Minibatch, Mosaic, gather
from midas.training.loop import learner_for
from midas.training.step import Learner
from scmidas_parity.difference import Difference, compare, keep_worst
from scmidas_parity.order import Order, in_our_order, orders
from scmidas_parity.ours import Ours
from scmidas_parity.peer import Peer, Tensors
from scmidas_parity.quantities import our_pass
from scmidas_parity.training import like_scmidas, our_step
from scmidas_parity.weights import discriminator_weights, vae_weights


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
