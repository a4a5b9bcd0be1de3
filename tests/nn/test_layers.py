"""Hidden layers, and networks per block of features."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from midas.nn import Noise
from midas.nn.layers import Hidden, Linear, activate


@pytest.mark.parametrize("activation", ["mish", "silu", "relu"])
def test_a_hidden_layer_is_linear_norm_activation(activation: str) -> None:
    layer = Hidden(5, 4, activation, dropout=0.5)
    x = torch.linspace(-1, 1, 15).view(3, 5)
    inner = functional.layer_norm(x @ layer.linear.weight.T + layer.linear.bias, (4,))
    expected = {
        "mish": inner * torch.tanh(torch.log1p(inner.exp())),
        "silu": inner * torch.sigmoid(inner),
        "relu": inner.clamp(min=0),
    }[activation]
    torch.testing.assert_close(layer(x, None), expected)
    torch.testing.assert_close(activate(inner, activation), expected)


def test_dropout_comes_with_noise_only() -> None:
    layer, x = Hidden(5, 64, "silu", dropout=0.5), torch.ones(2, 5)
    still, dropped = layer(x, None), layer(x, Noise(0, torch.device("cpu")))
    zero = dropped == 0
    assert 0.2 < zero.float().mean() < 0.8
    torch.testing.assert_close(dropped[~zero], 2 * still[~zero])


def test_products_in_bfloat16_have_few_shapes_and_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, seen = Linear(5, 4), set()
    product = functional.linear
    monkeypatch.setattr(functional, "linear", lambda x, *others: (seen.add(x.shape), product(x, *others))[1])
    for n in (1, 31, 32, 33, 40, 64):
        x = torch.linspace(-1, 1, 5 * n).view(n, 5).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = layer(x)
        assert found.shape == (n, 4)
        torch.testing.assert_close(found.float(), product(x, layer.weight, layer.bias), atol=0.02, rtol=0.02)
        layer.zero_grad()
        found.float().sum().backward()
        torch.testing.assert_close(layer.bias.grad, torch.full((4,), float(n)))
        torch.testing.assert_close(x.grad, layer.weight.detach().sum(0).expand(n, 5), atol=0.02, rtol=0.02)
    assert seen == {(32, 5), (64, 5)}
    layer(torch.ones(33, 5))
    assert (33, 5) in seen  # in float32 nothing is added
