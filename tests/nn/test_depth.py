"""How deeply a cell was sequenced, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace

import mudata as md
import numpy as np
import pytest
import torch

from helpers import names, one, tiny
from midas import MIDAS, RNA, Config
from midas.data import Counts, Minibatch, gather
from midas.nn.depth import Depth
from midas.training.start import start


def counts(dense: list[list[float]], mask: list[list[float]] | None = None) -> Counts:
    x = torch.tensor(dense, dtype=torch.float32)
    flat = torch.nonzero(x.reshape(-1)).squeeze(1)
    seen = None if mask is None else torch.tensor(mask, dtype=torch.float32)
    return Counts(torch.arange(len(x)), flat, x.reshape(-1)[flat], seen, x.shape[1])


def test_depth_is_the_total_against_that_of_the_mean_cell() -> None:
    depth = Depth(3)
    depth.profile.copy_(torch.tensor([1.0, 2.0, 3.0]))
    found = depth(counts([[1, 2, 3], [4, 0, 8], [0, 0, 0]]))
    torch.testing.assert_close(found, torch.log(torch.tensor([1.0, 2.0, 1 / 6])))


def test_features_that_were_not_measured_count_on_neither_side() -> None:
    depth = Depth(3)
    depth.profile.copy_(torch.tensor([1.0, 2.0, 3.0]))
    found = depth(counts([[1, 2, 0], [2, 4, 0]], [[1, 1, 0], [1, 1, 0]]))
    torch.testing.assert_close(found, torch.log(torch.tensor([1.0, 2.0])))


def deeper(minibatch: Minibatch, times: float) -> Minibatch:
    parts = {name: replace(part, values=part.values * times) for name, part in minibatch.counts.items()}
    return replace(minibatch, counts=parts)


@pytest.fixture
def minibatch(mdata: md.MuData) -> tuple[MIDAS, Minibatch]:
    model = MIDAS(mdata, config=tiny())
    assert model.mosaic is not None
    start(model.vae, model.mosaic, "means")
    return model, gather(model.mosaic, np.arange(0, 120, 3))


def test_a_cell_sequenced_more_deeply_is_the_same_cell(minibatch: tuple[MIDAS, Minibatch]) -> None:
    model, cells = minibatch
    once, thrice = (model.vae(part, None) for part in (cells, deeper(cells, 3.0)))
    # Proteins have no depth of their own: their totals tell types apart.
    for name, same in (("rna", True), ("atac", True), ("adt", False)):
        a, b = (outputs.single[name].posterior.mean for outputs in (once, thrice))
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5) == same
    torch.testing.assert_close(thrice.depth["rna"].found, once.depth["rna"].found + np.log(3), rtol=1e-3, atol=1e-3)


def test_the_published_model_has_no_depth(mdata: md.MuData) -> None:
    model = MIDAS(mdata, config=Config.paper())
    assert not [name for name in model.vae.state_dict() if "depth" in name]


def test_what_is_imputed_has_the_depth_of_its_batch() -> None:
    cells, genes = names("c", 200), names("g", 20)
    rna = one(cells, genes, ["deep"] * 100 + ["shallow"] * 100)
    rna.X = rna.X.toarray() * np.repeat([8.0, 1.0], 100)[:, None]
    model = MIDAS(rna, modalities={"rna": RNA}, config=tiny(epochs=60, learning_rate=0.01)).fit(progress=False)
    total = np.asarray(model.impute("rna").X).sum(1)
    assert total[:100].mean() > 3 * total[100:].mean()
