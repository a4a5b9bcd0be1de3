"""The model's pass over a minibatch: which cell gets what from which network."""

from __future__ import annotations

import mudata as md
import numpy as np
import pytest
import torch

from helpers import names, one, tiny
from midas import MIDAS, Config, Modality, Mosaic, read_mosaic
from midas.data import Minibatch, gather
from midas.nn import VAE, Noise, product_of_experts

CPU = torch.device("cpu")


@pytest.fixture
def mosaic(mdata: md.MuData) -> Mosaic:
    return read_mosaic(mdata)


@pytest.fixture
def vae(mosaic: Mosaic) -> VAE:
    return MIDAS(mosaic, config=tiny()).vae


@pytest.fixture
def minibatch(mosaic: Mosaic) -> Minibatch:
    return gather(mosaic, np.arange(0, mosaic.n_cells, 3))


def test_every_network_speaks_of_the_cells_that_it_has_seen(vae: VAE, minibatch: Minibatch, mosaic: Mosaic) -> None:
    outputs = vae(minibatch, None)
    n = minibatch.n_cells
    assert outputs.joint.z.shape == outputs.joint.posterior.logvar.shape == (n, vae.dim_z)
    assert outputs.batch_logits is not None
    assert outputs.batch_logits.shape == (n, 3)
    for name, rows in mosaic.modalities.items():
        has = torch.from_numpy(np.flatnonzero(rows.present[minibatch.index]))
        assert 0 < len(has) < n
        assert torch.equal(outputs.single[name].cells, has)
        assert outputs.single[name].z.shape == (len(has), vae.dim_z)
        assert outputs.eta[name].shape == (len(has), mosaic.schema.modalities[name].n_features)


def test_posteriors_are_products_of_what_each_cell_has(vae: VAE, minibatch: Minibatch) -> None:
    outputs = vae(minibatch, None)
    by_modality, batch = vae.experts(minibatch, None, with_batch=True)
    assert batch is not None
    n = minibatch.n_cells
    joint = product_of_experts(n, [*by_modality.values(), batch])
    torch.testing.assert_close(outputs.joint.posterior.mean, joint.mean)
    for name, expert in by_modality.items():
        own = product_of_experts(n, [expert, batch])
        torch.testing.assert_close(outputs.single[name].posterior.mean, own.mean[expert.cells])
        torch.testing.assert_close(outputs.single[name].posterior.logvar, own.logvar[expert.cells])


@pytest.mark.parametrize(
    ("likelihood", "transform", "thinned"),
    [("poisson", "log1p", True), ("poisson", "identity", True), ("gaussian", "identity", False)],
)
def test_only_counts_are_thinned(likelihood: str, transform: str, thinned: bool) -> None:
    kind = {"rna": Modality(likelihood, transform)}  # type: ignore[arg-type]
    mosaic = read_mosaic({"rna": one(names("c", 20), names("g", 8))}, modalities=kind)
    own = MIDAS(mosaic, config=tiny(network={"dropout": 0.0})).vae.encoder.inputs["rna"]
    counts = gather(mosaic, np.arange(20)).counts["rna"]
    assert torch.equal(own(counts, Noise(0, CPU)), own(counts, None)) is not thinned


def test_a_step_may_hide_the_batch(vae: VAE, minibatch: Minibatch) -> None:
    hidden = vae(minibatch, None, with_batch=False)
    assert hidden.batch_logits is None
    unknown = vae(minibatch.of_batches(torch.full_like(minibatch.batch, -1)), None)
    torch.testing.assert_close(unknown.joint.posterior.mean, hidden.joint.posterior.mean)
    assert not torch.allclose(vae(minibatch, None).joint.posterior.mean, hidden.joint.posterior.mean)


def test_cells_of_unknown_batches_may_stand_beside_others(vae: VAE, minibatch: Minibatch) -> None:
    batch = minibatch.batch.clone()
    batch[::2] = -1
    mixed = vae.experts(minibatch.of_batches(batch), None, with_batch=True)[1]
    assert mixed is not None
    assert torch.equal(mixed.cells, torch.arange(1, minibatch.n_cells, 2))


def test_a_cell_is_encoded_alike_in_any_company(vae: VAE, minibatch: Minibatch, mosaic: Mosaic) -> None:
    together = vae(minibatch, None)
    for at in (0, 7, minibatch.n_cells - 1):
        alone = vae(gather(mosaic, minibatch.index[[at]]), None)
        torch.testing.assert_close(alone.joint.z[0], together.joint.z[at], rtol=1e-4, atol=1e-5)


def test_draws_follow_the_noise_alone(vae: VAE, minibatch: Minibatch) -> None:
    first, again, other = (vae(minibatch, Noise(seed, CPU)).joint.z for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", ["rna", "adt"])
def test_counts_are_decoded_at_their_own_depth_or_at_the_one_expected(
    name: str, vae: VAE, minibatch: Minibatch
) -> None:
    outputs = vae(minibatch, None)
    cells = outputs.single[name].cells
    assert vae.depth_names == ("atac", "rna")
    z, found = outputs.joint.z[cells], outputs.depth.found[cells]
    torch.testing.assert_close(outputs.eta[name], vae.decode(z, name, found))
    expected = vae.decode(z, name)
    if name == "rna":
        alone = vae.decoder.depths(vae.decoder.hidden(z, None), torch.full_like(found, torch.nan))
        expected = expected + (found - alone)[:, 1:]
    torch.testing.assert_close(outputs.eta[name], expected)


def test_what_depth_is_expected_moves_nothing_else(vae: VAE, minibatch: Minibatch) -> None:
    outputs = vae(minibatch, None)
    outputs.depth.expected.sum().backward()
    moved = {name for name, parameter in vae.named_parameters() if parameter.grad is not None}
    heads = {f"decoder.depths.heads.{name}.{kind}" for name in ("rna", "atac") for kind in ("weight", "bias")}
    assert moved == heads | {"decoder.depths.coupling"}


def test_the_papers_sizes(mdata: md.MuData) -> None:
    model = MIDAS(mdata, config=Config.paper())
    shapes = {name: tuple(value.shape) for name, value in model.vae.state_dict().items()}
    expected = {
        "encoder.inputs.rna.first.linear.weight": (1024, 30),
        "encoder.inputs.atac.blocks.first.0.weight": (128, 25),
        "encoder.inputs.atac.blocks.linear.0.weight": (3, 128, 32),
        "encoder.inputs.atac.first.linear.weight": (1024, 3 * 32),
        "encoder.shared.hidden.0.linear.weight": (128, 1024),
        "encoder.shared.out.weight": (68, 128),
        "decoder.trunk.0.linear.weight": (128, 34),
        "decoder.trunk.1.linear.weight": (1024, 128),
        "decoder.outputs.rna.linear.weight": (30, 1024),
        "decoder.outputs.atac.blocks.last.0.weight": (25, 128),
        "batch_encoder.net.out.weight": (68, 16),
        "batch_decoder.hidden.0.linear.weight": (16, 2),
        "batch_decoder.out.weight": (3, 16),
    }
    assert {name: shapes[name] for name in expected} == expected
    assert [tuple(layer.weight.shape[1:]) for layer in model.discriminators.linear] == [(32, 128), (128, 64)]
