"""Hidden layers, and networks per block of features."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from midas.nn import Noise
from midas.nn.layers import Hidden, activate


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
