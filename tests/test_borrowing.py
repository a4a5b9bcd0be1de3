"""Cells that lack a modality borrow from cells that measured it."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from midas import keys, read_mosaic
from midas.borrowing import Borrowing, Lenders
from midas.data import Mosaic

ALIKE = pd.DataFrame(0.0, index=["a", "b"], columns=["a", "b"])


def table(c: np.ndarray, combination: list[str], batch: list[str] | None = None) -> ad.AnnData:
    """A model's own cells, one dimension of c and one of u, which is ten times c."""
    names = [f"c{i}" for i in range(len(c))]
    obs = pd.DataFrame(
        {keys.MODALITIES: pd.Categorical(combination), keys.BATCH: pd.Categorical(batch or ["a"] * len(c))}, index=names
    )
    return ad.AnnData(obs=obs, obsm={keys.LATENT: c[:, None], keys.TECHNICAL: 10 * c[:, None]})


def state(c: list[float]) -> np.ndarray:
    return np.array([[x, 0.0] for x in c], dtype=np.float32)


def all_of(n: int) -> pd.DataFrame:
    """Both batches measured all of `n` features."""
    return pd.DataFrame(True, index=["a", "b"], columns=[f"f{i}" for i in range(n)])


def mosaic_of(c: list[float], names: list[str] | None = None) -> Mosaic:
    """Cells of batch a, which has RNA alone."""
    cells = names or [f"x{i}" for i in range(len(c))]
    rna = ad.AnnData(np.ones((len(c), 1), dtype=np.float32), obs=pd.DataFrame({"batch": "a"}, index=cells))
    return read_mosaic({"rna": rna, "adt": rna[:0]})


def lend(lenders: Lenders, c: list[float], asking: list[int], k: int, names: list[str] | None = None) -> np.ndarray:
    """Mean state that cells of batch a are lent, their own part included; NaN for those that borrow nothing."""
    borrows = np.isin(np.arange(len(c)), asking)
    borrowing = Borrowing.from_cells(lenders, mosaic_of(c, names), "adt", borrows, k)
    assert len(borrowing.panels) == bool(len(lenders.z))
    found = np.full((len(c), 2), np.nan)
    if not borrowing.panels or (loans := borrowing.loans(0, state(c))) is None:
        return found
    assert (loans.weight >= 0).all()
    own = 1 - loans.weight.sum(1, keepdims=True)
    found[loans.rows] = np.einsum("ij,ijk->ik", loans.weight, lenders.z[loans.at]) + own * loans.z
    # Block by block it is the same.
    parts = [borrowing.take(np.array([i])).loans(0, state(c)[[i]]) for i in loans.rows]
    np.testing.assert_allclose(np.concatenate([part.weight for part in parts if part]), loans.weight, rtol=1e-5)
    return found


def test_the_nearest_that_measured_it_lend() -> None:
    cells = table(np.array([0.0, 1, 2, 10, 11, 0.1]), ["adt", "adt+rna", "adt", "adt", "rna+adt", "rna"])
    lenders = Lenders.of(cells, "adt", all_of(1), ALIKE, seed=0)
    assert len(lenders.z) == 5
    lent = lend(lenders, [0.5, 10.5, 5], [0, 1], 2)
    np.testing.assert_allclose(lent[:2], [[0.5, 5], [10.5, 105]], rtol=1e-5)
    assert np.isnan(lent[2]).all()  # did not ask


def test_nearer_lenders_count_more() -> None:
    lenders = Lenders.of(table(np.array([0.0, 1, 10]), ["adt"] * 3), "adt", all_of(1), ALIKE, seed=0)
    variance = lenders.z[:, 0].var()
    far, near = np.exp(-np.square([0.9, 0.1]) / variance / 0.3)
    np.testing.assert_allclose(lend(lenders, [0.9], [0], 2)[0, 0], near / (near + far), rtol=1e-5)


def test_no_cell_borrows_from_itself() -> None:
    lenders = Lenders.of(table(np.array([0.0, 1, 3, 9]), ["adt"] * 4), "adt", all_of(1), ALIKE, seed=0)
    np.testing.assert_allclose(lend(lenders, [0.0, 3], [0, 1], 1, ["c0", "c9"])[:, 0], [1, 3])


@pytest.mark.parametrize(("apart", "from_batch"), [(0.0, "b"), (1.0, "a"), (np.nan, "a"), (None, "b")])
def test_batches_that_measure_alike_lend_first(apart: float | None, from_batch: str) -> None:
    # Of each state, one cell of the borrower's own batch, and one a little nearer of another.
    c, batch = np.array([0.0, 0.3, 10, 10.3]), ["b", "a", "b", "a"]
    distances = pd.DataFrame({"a": [0.0, apart], "b": [apart, 0.0]}, index=["a", "b"], dtype=np.float64)
    known = pd.DataFrame() if apart is None else distances
    lenders = Lenders.of(table(c, ["adt"] * 4, batch), "adt", all_of(1), known, seed=0)
    lent = lend(lenders, [0.1, 10.1], [0, 1], 1)
    np.testing.assert_allclose(lent[:, 0], [0, 10] if from_batch == "b" else [0.3, 10.3], rtol=1e-5)


def test_a_cell_unlike_all_lenders_keeps_its_own_state_and_borrows_the_noise() -> None:
    lenders = Lenders.of(table(np.array([-1.0, 1, -1, 1]), ["adt"] * 4), "adt", all_of(1), ALIKE, seed=0)
    assert lenders.z[:, 0].var() == 1
    np.testing.assert_allclose(
        lend(lenders, [30.0, 1 + np.sqrt(1.5)], [0, 1], 2), [[30, 10], [(30**0 + 1 + 1.5**0.5) / 2, 10]], rtol=1e-5
    )


@pytest.mark.parametrize(("combination", "k"), [("rna", 1), ("adt", 0), ("adt", 3), ("adtx", 1), ("", 1)])
def test_nothing_is_lent_where_too_few_measured_it(combination: str, k: int) -> None:
    lenders = Lenders.of(table(np.array([0.0, 1, 2]), [combination] * 3), "adt", all_of(1), ALIKE, seed=0)
    assert np.isnan(lend(lenders, [0.0], [0], k)).all()


def test_cells_without_a_state_neither_lend_nor_borrow() -> None:
    lenders = Lenders.of(table(np.array([0.0, np.nan, 2, 3]), ["adt"] * 4), "adt", all_of(1), ALIKE, seed=0)
    lent = lend(lenders, [1.0, np.nan], [0, 1], 2)
    np.testing.assert_allclose(lent[0, 0], 1, rtol=1e-5)
    assert np.isnan(lent[1, 0])


def test_lenders_that_are_all_alike() -> None:
    lenders = Lenders.of(table(np.full(4, 2.0), ["adt"] * 4), "adt", all_of(1), ALIKE, seed=0)
    np.testing.assert_allclose(lend(lenders, [2.0, 40.0], [0, 1], 2), [[2, 20], [40, 20]])


def test_a_table_of_an_older_model_lends_nothing() -> None:
    cells = table(np.arange(4.0), ["adt"] * 4)
    del cells.obs[keys.MODALITIES]
    assert len(Lenders.of(cells, "adt", all_of(1), ALIKE, seed=0).z) == 0


def test_the_order_of_the_cells_and_many_of_them_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = table(np.random.default_rng(0).normal(size=200).astype(np.float32), ["adt"] * 200, ["a", "b"] * 100)
    asked = list(np.linspace(-1, 1, 7))
    found = [
        lend(Lenders.of(some, "adt", all_of(1), ALIKE, seed=1, most=50), asked, list(range(7)), 5)
        for some in (cells, cells[::-1].copy())
    ]
    np.testing.assert_array_equal(*found)
    assert len(Lenders.of(cells, "adt", all_of(1), ALIKE, seed=1, most=50).z) == 50
    monkeypatch.setattr("midas.borrowing._MOST_VALUES", 200)
    assert len(Lenders.of(cells, "adt", all_of(10), ALIKE, seed=1).z) == 20


def test_each_feature_that_lenders_measured_is_in_one_panel() -> None:
    rng = np.random.default_rng(0)
    batches = [f"b{i}" for i in range(6)]
    measured = pd.DataFrame(rng.random((6, 40)) < 0.7, batches, [f"f{i}" for i in range(40)])
    measured.iloc[:, :10], measured.iloc[:, 39] = True, False
    cells = table(rng.normal(size=60).astype(np.float32), ["adt"] * 60, batches * 10)
    lenders = Lenders.of(cells, "adt", measured, pd.DataFrame(), seed=0)
    panels = lenders.panels()
    assert len(panels) == 4
    assert sorted(np.concatenate([panel.features for panel in panels])) == list(range(39))
    assert panels[0].features.tolist()[:10] == list(range(10))
    for panel in panels:
        of_lender = measured.loc[lenders.batch[panel.lenders]].to_numpy()
        np.testing.assert_array_equal(panel.measured, of_lender[:, panel.features])
        assert panel.measured.any(1).all()
        np.testing.assert_array_equal(panel.joint, of_lender.all(0))
    assert [panel.measured.all() for panel in panels] == [True, True, True, False]


def test_a_batch_borrows_what_it_did_not_measure_from_others_alone() -> None:
    measured = pd.DataFrame([[True, False], [True, True]], ["a", "b"], ["f0", "f1"])
    c = np.array([0.0, 0.1, 0.2, 5, 5.1, 5.2, 9])
    cells = table(c, ["adt"] * 7, ["a", "a", "a", "b", "b", "b", "b"])
    lenders = Lenders.of(cells, "adt", measured, ALIKE, seed=0)
    counts = np.array([[4.0, 0], [6, 0]], dtype=np.float32)
    asking = ad.AnnData(
        counts, obs=pd.DataFrame({"batch": "a"}, index=["x", "y"]), var=pd.DataFrame(index=["f0", "f1"])
    )
    mosaic = read_mosaic({"adt": asking}, measured={"adt": measured.loc[["a"]]})
    borrowing = Borrowing.from_cells(lenders, mosaic, "adt", np.zeros(2, dtype=bool), 2)
    panels = [panel.features.tolist() for panel in borrowing.panels]
    assert borrowing.loans(panels.index([0]), state([0.0, 0.1])) is None  # measured
    loans = borrowing.loans(panels.index([1]), state([0.0, 0.1]))
    assert loans is not None
    assert set(lenders.batch.to_numpy()[borrowing.panels[panels.index([1])].lenders[loans.at]].ravel()) == {"b"}
    np.testing.assert_allclose(loans.totals, [4, 6])
    np.testing.assert_allclose(loans.weight.sum(1) <= 0.5, True)


def test_a_cell_whose_nearest_lenders_all_bear_its_name_borrows_nothing() -> None:
    cells = table(np.array([0.0, 0, 3, 9]), ["adt"] * 4)
    cells.obs_names = ["c0", "c0", "c2", "c3"]
    lenders = Lenders.of(cells, "adt", all_of(1), ALIKE, seed=0)
    lent = lend(lenders, [0.0, 3], [0, 1], 1, ["c0", "c9"])
    assert np.isnan(lent[0]).all()
    assert lent[1, 0] == 3
