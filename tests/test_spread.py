"""Drawn counts scatter as measured ones do."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from helpers import simulated, tiny
from midas import MIDAS, Config, read_mosaic
from midas.likelihoods import overdispersed
from midas.metrics import coverage
from midas.spread import (
    _EXCESS,
    BATCH_UNMEASURED,
    MEASURED,
    UNMEASURED,
    _between_batches,
    _log_likelihood,
    measurement_status,
)


@pytest.mark.parametrize("excess", [0.0, 0.05, 0.5, 2.0])
def test_the_most_likely_excess_is_the_true_one(excess: float) -> None:
    rng = np.random.default_rng(0)
    mean = rng.gamma(2, 20, size=(3000, 4)).astype(np.float32)
    rate = mean * rng.gamma(1 / excess, excess, mean.shape) if excess else mean
    x = sp.csr_matrix(rng.poisson(rate).astype(np.float32))
    found = _EXCESS[_log_likelihood(x, mean, np.ones(mean.shape, dtype=bool)).argmax(0)]
    np.testing.assert_allclose(found, excess, rtol=0.5, atol=0.004)


def test_values_that_were_not_measured_do_not_count() -> None:
    rng = np.random.default_rng(0)
    mean = np.full((400, 2), 10.0, dtype=np.float32)
    x = rng.poisson(mean).astype(np.float32)
    use = np.ones(mean.shape, dtype=bool)
    use[:200, 1] = False
    some = _log_likelihood(sp.csr_matrix(x[200:]), mean[200:], use[200:])
    x[:200, 1] = 1000
    both = _log_likelihood(sp.csr_matrix(x), mean, use)
    np.testing.assert_allclose(both[:, 1], some[:, 1])


def test_draws_have_the_variance_that_was_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, excess = torch.full((200_000, 3), 8.0), torch.tensor([0.0, 0.1, 1.0]).expand(200_000, 3)
    drawn = overdispersed(mean, excess, generator)
    torch.testing.assert_close(drawn.mean(0), torch.full((3,), 8.0), rtol=0.02, atol=0)
    torch.testing.assert_close(drawn.var(0), torch.tensor([8.0, 14.4, 72.0]), rtol=0.03, atol=0)


def test_what_is_known_of_a_cell() -> None:
    mosaic = read_mosaic(simulated(unpaired_fraction=0.0))
    seen = mosaic.modalities["adt"].present.copy()
    measured = np.isin(mosaic.batch, np.unique(mosaic.batch[seen]))
    assert 0 < measured.sum() < len(measured)
    seen[np.flatnonzero(seen)[:5]] = False
    found = measurement_status(mosaic, "adt", seen)
    np.testing.assert_array_equal(found == MEASURED, seen)
    assert (found == UNMEASURED).sum() == 5
    np.testing.assert_array_equal(found == BATCH_UNMEASURED, ~measured)


@pytest.fixture(scope="module")
def rough() -> MIDAS:
    """A small model, so that counts lie farther from what it expects than Poisson counts would."""
    config = tiny().to_dict()
    config["training"] |= {"epochs": 80, "learning_rate": 1e-2}
    return MIDAS(simulated(adt_depth=2000), config=Config.from_dict(config)).fit(progress=False)


def test_intervals_hold_as_many_counts_as_they_say(rough: MIDAS) -> None:
    assert rough.mosaic is not None
    cells = rough.mosaic.cells[rough.mosaic.modalities["adt"].present]
    draws = np.stack([np.asarray(rough.impute("adt", sample=True, seed=s)[cells].X) for s in range(60)])
    true = simulated(adt_depth=2000)["adt"][cells, rough.impute("adt").var_names].X.toarray()
    assert 0.8 < coverage(true, draws)[0.9] < 0.98
    poisson = np.stack([np.random.default_rng(s).poisson(rough.impute("adt")[cells].X) for s in range(60)])
    assert coverage(true, poisson)[0.9] < 0.8  # or this test tells nothing


def test_a_model_that_was_told_not_to_draws_from_its_likelihood_alone() -> None:
    config = Config.from_dict({**tiny().to_dict(), "inference": {"spread": False, "n_neighbors": 0}})
    model = MIDAS(simulated(), config=config).fit(progress=False)
    assert model.learned.spread == {}
    expected = np.asarray(model.impute("rna").X)
    draws = np.stack([np.asarray(model.impute("rna", sample=True, seed=s).X) for s in range(200)])
    assert (draws.var(0).mean() / expected.mean()) == pytest.approx(1, rel=0.05)


def test_a_single_modality_and_few_cells_have_a_spread_or_none() -> None:
    alone = MIDAS(simulated(mosaic=("rna",), unpaired_fraction=0.0), config=tiny()).fit(progress=False)
    excess = alone.learned.spread["rna"].excess
    np.testing.assert_array_equal(excess[MEASURED], excess[UNMEASURED])  # no other modality to look at cells by
    np.testing.assert_array_equal(excess[MEASURED], excess[BATCH_UNMEASURED])  # one batch
    few = MIDAS(simulated(mosaic=("rna+adt",), n_cells=30), config=tiny()).fit(progress=False)
    assert few.learned.spread == {}
    assert few.impute("rna", sample=True).n_obs == 30


def test_cells_of_a_batch_that_never_measured_a_modality_scatter_most(rough: MIDAS) -> None:
    excess = rough.learned.spread["adt"].excess
    assert (excess[BATCH_UNMEASURED] > excess[UNMEASURED]).all()
    assert excess[UNMEASURED].mean() >= excess[MEASURED].mean()


def test_batches_differ_by_their_means() -> None:
    mosaic = read_mosaic({f"b{i}": ad.AnnData(np.full((20, 2), [2.0 + 4 * i, 3.0], np.float32)) for i in range(2)})
    np.testing.assert_allclose(_between_batches(mosaic, "rna"), [8 / 16, 0])
    first = ad.AnnData(np.full((20, 3), 2.0, np.float32), var=pd.DataFrame(index=["x", "y", "z"]))
    second = ad.AnnData(np.full((20, 2), 6.0, np.float32), var=pd.DataFrame(index=["x", "y"]))
    alone = _between_batches(read_mosaic({"b0": first, "b1": second}), "rna")
    np.testing.assert_allclose(alone, [8 / 16] * 3, err_msg="one batch measured z, which differs as others do")
    one = read_mosaic(ad.AnnData(np.full((20, 2), 3.0, np.float32)), batch_key=None)
    np.testing.assert_array_equal(_between_batches(one, "rna"), [0, 0])
