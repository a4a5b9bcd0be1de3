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
from midas.nn.depth import Depth, ExpectedDepth
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


def test_a_batch_of_few_measured_features_is_of_mean_depth() -> None:
    depth = Depth(3, fewest=2)
    depth.profile.copy_(torch.tensor([1.0, 2.0, 3.0]))
    found = depth(counts([[2, 0, 0], [2, 4, 0]], [[1, 0, 0], [1, 1, 0]]))
    torch.testing.assert_close(found, torch.log(torch.tensor([1.0, 2.0])))


def test_depth_of_proteins_is_the_mean_of_the_logarithms() -> None:
    depth = Depth(3, "geometric_mean", fewest=2)
    depth.profile.copy_(torch.tensor([1.0, 3.0, 7.0]))  # with 1 added, 2, 4, 8
    found = depth(counts([[1, 3, 7], [3, 7, 15], [0, 0, 0], [1, 3, 4095]]))
    torch.testing.assert_close(found, torch.log(torch.tensor([1.0, 2.0, 1 / 4, 8.0])))
    masked = depth(counts([[3, 7, 0], [0, 7, 0], [0, 0, 0]], [[1, 1, 0], [0, 1, 0], [0, 0, 0]]))
    torch.testing.assert_close(masked, torch.log(torch.tensor([2.0, 1.0, 1.0])))


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
    rna = model.vae.depth_names.index("rna")
    a, b = (outputs.depth.found[:, rna] for outputs in (once, thrice))
    torch.testing.assert_close(b, a + np.log(3), rtol=1e-3, atol=1e-3, equal_nan=True)


def test_a_depth_is_guessed_from_the_other_modality() -> None:
    expected = ExpectedDepth(("atac", "rna"), 3)
    expected.coupling.data[1, 0] = 0.5
    expected.coupling.data[1, 1] = 9.0  # of no avail: what is guessed may not be told
    found = expected(torch.randn(4, 3), torch.tensor([[1.0, 7.0], [2.0, torch.nan], [torch.nan, 7.0], [torch.nan] * 2]))
    torch.testing.assert_close(found[:, 1], torch.tensor([0.5, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(found[:, 0], torch.zeros(4))


def test_cells_are_imputed_at_their_own_depth_and_others_at_that_of_their_other_modality() -> None:
    rng = np.random.default_rng(0)
    deep = np.exp(rng.normal(0, 0.8, 300))[:, None]
    cells = names("c", 300)
    rna, atac = one(cells, names("g", 30), ["b"] * 300), one(cells, names("p", 40), ["b"] * 300)
    rna.X, atac.X = rng.poisson(3.0 * deep * np.ones((300, 30))), rng.poisson(0.2 * deep * np.ones((300, 40)))
    data = {"rna": rna[:200].copy(), "atac": atac}
    model = MIDAS(data, config=tiny(epochs=80, learning_rate=0.01, batch_size=64)).fit(progress=False)
    total = np.asarray(model.impute("rna")[cells].X).sum(1)
    assert np.corrcoef(np.log(total[:200]), np.log(deep[:200, 0]))[0, 1] > 0.95
    assert np.corrcoef(np.log(total[200:]), np.log(deep[200:, 0]))[0, 1] > 0.6
    assert np.corrcoef(np.log(np.asarray(model.correct("rna")[cells].X).sum(1)), np.log(deep[:, 0]))[0, 1] < 0.5


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


@pytest.mark.parametrize(
    ("fewest", "expected"),
    [
        ({"min_features_for_geometric_mean": 0}, ["adt", "atac", "rna"]),
        ({"min_features_for_geometric_mean": 0, "min_features_for_depth": 1000}, ["adt"]),
        ({"min_features_for_geometric_mean": 1000, "min_features_for_depth": 0}, ["adt", "atac", "rna"]),
        ({}, ["atac", "rna"]),
        ({"min_features_for_depth": 1000}, []),
    ],
)
def test_small_panels_have_no_depth(fewest: dict[str, int], expected: list[str], mdata: md.MuData) -> None:
    config = tiny().to_dict()
    config["network"] |= fewest
    assert list(MIDAS(mdata, config=Config.from_dict(config)).vae.depth_names) == expected


def test_small_panels_have_a_depth_where_some_batches_lack_them() -> None:
    cells, more = names("c", 60), names("d", 60)
    rna, adt = one([*cells, *more], names("g", 30), ["x"] * 60 + ["y"] * 60), one(cells, names("p", 12), ["x"] * 60)
    for data, expected in (({"rna": rna, "adt": adt}, ["adt", "rna"]), ({"rna": rna[:60].copy(), "adt": adt}, ["rna"])):
        config = tiny().to_dict()
        config["network"] |= {"min_features_for_depth": 20, "min_features_for_geometric_mean": 10}
        assert list(MIDAS(data, config=Config.from_dict(config)).vae.depth_names) == expected


def test_how_few_proteins_have_a_depth_follows_from_the_number_of_cells(mdata: md.MuData) -> None:
    config = MIDAS(mdata, config=tiny()).config
    assert config.network.min_features_for_geometric_mean == config.network.min_features_for_depth
    # As the model began, so it stays when it is tuned on other data.
    assert config.network.for_cells(10_000) == config.network


def test_what_has_a_depth_is_logged(mdata: md.MuData, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="midas")
    MIDAS(mdata, config=tiny(epochs=1)).fit(progress=False)
    assert "Depths are taken from the counts of: atac, rna." in caplog.messages
