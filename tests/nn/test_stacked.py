"""Networks per block of features, run as batched products, against the same networks one by one."""

from __future__ import annotations

import torch
from torch import nn

from midas.nn.stacked import BlockDecoder, BlockEncoder


def norm(x: torch.Tensor, finish: nn.Module, block: int) -> torch.Tensor:
    inner = nn.functional.layer_norm(x, x.shape[-1:]) * finish.scale[block] + finish.shift[block]
    return nn.functional.silu(inner)


def test_block_encoder_is_networks_side_by_side() -> None:
    encoder = BlockEncoder((3, 2, 4), (6, 2), "silu", 0.0)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(5, 9)
    expected = [
        norm(encoder.first[i](piece), encoder.finish[0], i) @ encoder.linear[0].weight[i] + encoder.linear[0].bias[i]
        for i, piece in enumerate(x.split((3, 2, 4), dim=1))
    ]
    torch.testing.assert_close(encoder(x, None), torch.cat(expected, dim=1))


def test_block_decoder_is_networks_side_by_side() -> None:
    decoder = BlockDecoder((2, 6), (3, 2, 4), "silu", 0.0)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(5, 6)
    expected = [
        decoder.last[i](norm(piece @ decoder.linear[0].weight[i] + decoder.linear[0].bias[i], decoder.finish[0], i))
        for i, piece in enumerate(x.split(2, dim=1))
    ]
    torch.testing.assert_close(decoder(x, None), torch.cat(expected, dim=1))


def test_blocks_of_one_layer() -> None:
    x = torch.randn(4, 5)
    assert BlockEncoder((3, 2), (7,), "silu", 0.0)(x, None).shape == (4, 14)
    assert BlockDecoder((4,), (3, 2), "silu", 0.0)(torch.randn(4, 8), None).shape == (4, 5)
