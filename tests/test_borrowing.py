"""Cells that lack a modality borrow the mean state of cells that measured it."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from midas import keys
from midas.borrowing import Lenders


def table(c: np.ndarray, combination: list[str]) -> ad.AnnData:
    """A model's own cells, one dimension of c and one of u, which is ten times c."""
    names = [f"c{i}" for i in range(len(c))]
    obs = pd.DataFrame({keys.MODALITIES: pd.Categorical(combination)}, index=names)
    return ad.AnnData(obs=obs, obsm={keys.LATENT: c[:, None], keys.TECHNICAL: 10 * c[:, None]})


def state(c: list[float]) -> np.ndarray:
    return np.array([[x, 0.0] for x in c], dtype=np.float32)


def test_the_nearest_that_measured_it_lend_the_mean_of_their_states() -> None:
    cells = table(np.array([0.0, 1, 2, 10, 11, 0.1]), ["adt", "adt+rna", "adt", "adt", "rna+adt", "rna"])
    lenders = Lenders.of(cells, "adt", seed=0)
    assert len(lenders.z) == 5
    new = pd.Index(["x", "y", "z"])
    lent = lenders.lend(state([0.4, 10.4, 5]), new, np.array([0, 1]), 2)
    np.testing.assert_allclose(lent[:2], [[0.5, 5], [10.5, 105]])
    assert np.isnan(lent[2]).all()  # did not ask


def test_no_cell_borrows_from_itself() -> None:
    cells = table(np.array([0.0, 1, 3, 9]), ["adt"] * 4)
    lent = Lenders.of(cells, "adt", seed=0).lend(state([0.0, 3]), pd.Index(["c0", "c9"]), np.array([0, 1]), 1)
    np.testing.assert_allclose(lent[:, 0], [1, 3])


@pytest.mark.parametrize(("combination", "k"), [("rna", 1), ("adt", 0), ("adt", 3), ("adtx", 1), ("", 1)])
def test_nothing_is_lent_where_too_few_measured_it(combination: str, k: int) -> None:
    lenders = Lenders.of(table(np.array([0.0, 1, 2]), [combination] * 3), "adt", seed=0)
    assert np.isnan(lenders.lend(state([0.0]), pd.Index(["x"]), np.array([0]), k)).all()


def test_cells_without_a_state_neither_lend_nor_borrow() -> None:
    lenders = Lenders.of(table(np.array([0.0, np.nan, 2, 3]), ["adt"] * 4), "adt", seed=0)
    lent = lenders.lend(state([1.0, np.nan]), pd.Index(["x", "y"]), np.array([0, 1]), 2)
    np.testing.assert_allclose(lent[0, 0], 1)
    assert np.isnan(lent[1]).all()


def test_a_table_of_an_older_model_lends_nothing() -> None:
    cells = table(np.arange(4.0), ["adt"] * 4)
    del cells.obs[keys.MODALITIES]
    assert len(Lenders.of(cells, "adt", seed=0).z) == 0


def test_the_order_of_the_cells_and_many_of_them_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas.borrowing._MOST_LENDERS", 50)
    monkeypatch.setattr("midas.borrowing._ROWS_AT_ONCE", 3)
    cells = table(np.random.default_rng(0).normal(size=200).astype(np.float32), ["adt"] * 200)
    z, names = state(list(np.linspace(-1, 1, 7))), pd.Index([f"x{i}" for i in range(7)])
    found = [Lenders.of(some, "adt", seed=1).lend(z, names, np.arange(7), 5) for some in (cells, cells[::-1].copy())]
    np.testing.assert_array_equal(*found)
    assert len(Lenders.of(cells, "adt", seed=1).z) == 50
