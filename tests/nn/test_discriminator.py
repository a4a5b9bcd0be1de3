"""Stacked discriminators against networks of their own, each with the batches that it may guess."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from midas import ADT, RNA, NetworkConfig
from midas.data import ModalitySchema, MosaicSchema
from midas.nn import Discriminators, Noise

CONFIG = NetworkConfig(dim_c=3, discriminator=(7, 5), discriminator_dropout=0.3)
SCHEMA = MosaicSchema(
    ("b1", "b2", "b3"),
    {name: ModalitySchema(kind, pd.Index(["x"]), (1,)) for name, kind in (("adt", ADT), ("rna", RNA))},
    {"adt": (True, False, True), "rna": (True, True, False)},
)
BATCH = torch.tensor([0, 1, 2, 0, 1, 2])
PRESENT = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 0, 1], [1, 1, 0, 1, 0, 0]]).bool()


@pytest.fixture
def networks() -> Discriminators:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = Discriminators(SCHEMA, CONFIG)
        for parameter in found.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)  # also scales and shifts, which start at 1 and 0
    return found


@pytest.fixture
def c() -> Tensor:
    return torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(1))


def separate(networks: Discriminators, k: int, c: Tensor, classes: list[int]) -> Tensor:
    """Log probabilities of the k-th network alone, over its own batches."""
    for linear, finish in zip(networks.linear, networks.finish, strict=True):
        c = c @ linear.weight[k] + linear.bias[k]
        c = functional.silu(functional.layer_norm(c, c.shape[-1:], finish.scale[k, 0], finish.shift[k, 0]))
    logits = c @ networks.out.weight[k] + networks.out.bias[k]
    return functional.log_softmax(logits[:, classes], 1)


def test_stacked_networks_are_separate_networks_with_their_own_classes(networks: Discriminators, c: Tensor) -> None:
    assert networks.names == ("joint", "adt", "rna")
    expected = torch.zeros(6)
    for k, classes in enumerate([[0, 1, 2], [0, 2], [0, 1]]):
        log_p = separate(networks, k, c[k], classes)
        for cell in torch.nonzero(PRESENT[k]).flatten().tolist():
            expected[cell] -= log_p[cell, classes.index(int(BATCH[cell]))]
    torch.testing.assert_close(networks(c, PRESENT, BATCH, None), expected)


def test_batches_without_the_modality_get_no_gradient_and_make_none_infinite(
    networks: Discriminators, c: Tensor
) -> None:
    networks(c, PRESENT, BATCH, None).sum().backward()
    for parameter in networks.parameters():
        assert torch.isfinite(parameter.grad).all()
    grad = networks.out.weight.grad
    assert grad[0].any(0).all()
    assert not grad[1, :, 1].any()
    assert not grad[2, :, 2].any()


def test_cells_without_the_modality_do_not_count(networks: Discriminators, c: Tensor) -> None:
    found = networks(c, PRESENT, BATCH, None)
    other = c.clone()
    other[~PRESENT] = 100.0
    torch.testing.assert_close(networks(other, PRESENT, BATCH, None), found)
    other[1, 0] += 1
    assert not torch.isclose(networks(other, PRESENT, BATCH, None)[0], found[0])


def test_dropout_comes_with_noise_only(networks: Discriminators, c: Tensor) -> None:
    still = networks(c, PRESENT, BATCH, None)
    noisy = [networks(c, PRESENT, BATCH, Noise(seed, torch.device("cpu"))) for seed in (0, 0, 1)]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    assert not torch.isclose(noisy[0], still).all()


def test_batches_are_misled_about_rather_than_cells(networks: Discriminators) -> None:
    """The reward is (1 - p) times the cross entropy, and for each pair of batches a power of the mean p times log(1 - p)."""
    c = torch.randn(3, 60, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    batch, present = torch.arange(60) % 3, torch.zeros(3, 60, dtype=torch.bool)
    present[0] = True
    networks.out.bias.data[0, 0, 2] += 12.0  # every cell is taken for one of batch 2
    cross_entropy, reward = networks.confusion(c, present, batch, None)
    torch.testing.assert_close(cross_entropy, networks(c, present, batch, None))
    p = separate(networks, 0, c[0], [0, 1, 2]).exp()
    own = p[torch.arange(60), batch]
    expected = (1 - own) * -torch.log(own)
    for k in range(3):
        for other in {0, 1, 2} - {k}:
            against = (p[:, k] / (p[:, k] + p[:, other]))[batch == k]
            expected[batch == k] += against.mean() ** 8 * torch.log1p(-against) / 2  # the two others have as many cells
    torch.testing.assert_close(reward, expected, rtol=1e-3, atol=1e-4)

    def gradient(reward: Tensor) -> Tensor:
        return torch.autograd.grad(reward.sum(), c, retain_graph=True)[0][0].norm(dim=1)[batch == 2].mean()

    assert gradient(reward) > 100 * gradient(cross_entropy)  # that alone leaves the batch where it is


def test_batches_that_lie_apart_together_are_pushed_to_the_others(networks: Discriminators) -> None:
    """Of each of the two the discriminators are never sure; of the two against the third they are."""
    c = torch.randn(3, 60, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    batch, present = torch.arange(60) % 3, torch.zeros(3, 60, dtype=torch.bool)
    present[0] = True
    networks.out.weight.data[0, :, 1] = networks.out.weight.data[0, :, 0]
    networks.out.bias.data[0, 0] = torch.tensor([12.0, 12.0, 0.0])
    cross_entropy, reward = (term.detach() for term in networks.confusion(c, present, batch, None))
    assert float(torch.exp(-cross_entropy)[batch < 2].max()) < 0.51
    assert float(reward[batch < 2].mean()) < float(cross_entropy[batch < 2].mean()) - 3


def test_a_cell_that_is_told_is_left_where_its_batch_is_not(networks: Discriminators) -> None:
    c = torch.randn(3, 60, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    batch, present = torch.arange(60) % 3, torch.zeros(3, 60, dtype=torch.bool)
    present[0] = True
    cross_entropy, reward = networks.confusion(c, present, batch, None)
    p = torch.exp(-cross_entropy.detach())
    torch.testing.assert_close(reward, (1 - p) * cross_entropy, rtol=0, atol=0.03)


def test_the_reward_is_finite_where_a_discriminator_knows_one_batch_only(networks: Discriminators, c: Tensor) -> None:
    networks.allowed[1] = torch.tensor([True, False, False])
    c = (50 * c).requires_grad_()
    _, reward = networks.confusion(c, PRESENT, BATCH, Noise(0, torch.device("cpu")))
    reward.sum().backward()
    assert torch.isfinite(reward).all()
    assert torch.isfinite(c.grad).all()
    assert not c.grad[1].any()


def test_answers_that_do_not_count_are_left_out(networks: Discriminators, c: Tensor) -> None:
    among = torch.ones(6, 3)
    among[0, 1] = among[3, 2] = 0.0
    free, found = networks(c, PRESENT, BATCH, None), networks(c, PRESENT, BATCH, None, among)
    expected = free.clone()
    for cell, answers in ((0, [0, 2]), (3, [0, 1])):
        expected[cell] = 0.0
        for k, classes in enumerate([[0, 1, 2], [0, 2], [0, 1]]):
            if PRESENT[k, cell]:
                left = [batch for batch in classes if batch in answers]
                expected[cell] -= separate(networks, k, c[k], left)[cell, left.index(0)]
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=5e-3)


def test_a_cell_that_no_other_batch_has_moves_nothing(networks: Discriminators, c: Tensor) -> None:
    among = torch.ones(6, 3)
    among[2] = torch.tensor([0.0, 0.0, 1.0])
    c.requires_grad_()
    for reward in (networks(c, PRESENT, BATCH, None, among), networks.confusion(c, PRESENT, BATCH, None, among)[1]):
        (gradient,) = torch.autograd.grad(reward.sum(), c, retain_graph=True)
        strange, others = gradient[:, 2].abs().max(), gradient[:, [0, 1, 3, 4, 5]].abs().max()
        assert strange < 0.02 * others
