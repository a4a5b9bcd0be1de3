"""Votes by hand, hierarchies that agree, confidence that means what it says, unknown cells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mudata as md
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from midas import MIDAS, keys
from midas.readings import Readings
from midas.transfer import UNKNOWN, LabelConfig, Mapped, Query, TransferConfig, automatic, label_cells

PLAIN = LabelConfig(unknown=False)


def mapped(
    model: MIDAS,
    z: np.ndarray,
    query: np.ndarray,
    novelty: np.ndarray | None = None,
    readings: Readings | None = None,
    **obs: object,
) -> Mapped:
    n = len(z)
    table = pd.DataFrame({name: [*values, *[None] * len(query)] for name, values in obs.items()})
    table.index = [f"c{i}" for i in range(n + len(query))]
    if keys.BATCH not in table:
        table[keys.BATCH] = [f"b{i % 3}" for i in range(n)] + ["q"] * len(query)
    table[keys.MODALITIES] = "rna"
    table[keys.ORIGIN] = ["reference"] * n + ["query"] * len(query)
    if novelty is not None:
        table[keys.NOVELTY] = np.concatenate([np.full(n, np.nan), novelty])
    latent = np.concatenate([z, query]).astype(np.float32)
    return Mapped(model, AnnData(obs=table, obsm={keys.LATENT: latent}), "encode", model.mosaic, readings)


def test_votes_are_weighted_by_inverse_distance(fitted: MIDAS) -> None:
    z = np.array([[0.0], [3.0], [4.0], [50.0]])
    both = mapped(fitted, z, np.array([[1.0], [2.5]]), kind=["a", "b", "b", "c"])
    # At 1: a 1/1 against b 1/2 + 1/3. At 2.5: a 1/2.5 against b 1/0.5 + 1/1.5.
    found = label_cells(both, "kind", config=LabelConfig(n_neighbors=3, unknown=False)).table
    assert found["kind_transferred"].tolist() == ["a", "b"]
    assert found.index.tolist() == ["c4", "c5"]
    assert label_cells(both, "kind", config=LabelConfig(n_neighbors=2, unknown=False)).table[
        "kind_transferred"
    ].tolist() == ["a", "b"]
    assert set(found.columns) == {"kind_transferred", "kind_confidence", "kind_unknown_score"}


def test_a_cell_that_lies_on_another_gets_its_label(fitted: MIDAS) -> None:
    both = mapped(fitted, np.array([[0.0], [1e-3], [1e-3]]), np.array([[0.0]]), kind=["a", "b", "b"])
    assert label_cells(both, "kind", config=PLAIN).table["kind_transferred"].tolist() == ["a"]


def test_cells_without_a_label_do_not_vote(fitted: MIDAS) -> None:
    z = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0]])
    kind = ["unknown", "Unassigned", None, np.nan, "", "b"]
    assert label_cells(mapped(fitted, z, np.zeros((1, 1)), kind=kind), "kind", config=PLAIN).table.iloc[0, 0] == "b"
    own = LabelConfig(unknown=False, unlabelled=("b",))
    assert (
        label_cells(mapped(fitted, z, np.full((1, 1), 9.0), kind=["x"] * 5 + ["B"]), "kind", config=own).table.iloc[
            0, 0
        ]
        == "x"
    )
    with pytest.raises(ValueError, match=r"Expected labels in the reference's column 'kind', found none"):
        label_cells(mapped(fitted, z, np.zeros((1, 1)), kind=["NA"] * 6), "kind")


def test_words_for_no_label_are_meant_whatever_their_case(fitted: MIDAS) -> None:
    z = np.array([[0.0], [0.1], [9.0]])
    both = mapped(fitted, z, np.zeros((1, 1)), kind=["Doublet", "DOUBLET", "b"])
    own = LabelConfig(unknown=False, unlabelled=("Doublet",))
    assert label_cells(both, "kind", config=own).table["kind_transferred"].tolist() == ["b"]


def test_the_seed_of_a_query_is_that_of_its_labels(
    fitted: MIDAS, mdata: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def label(*_: object, seed: int, **__: object) -> SimpleNamespace:
        seeds.append(seed)
        return SimpleNamespace(table=None)

    monkeypatch.setattr(automatic, "label_cells", label)
    for query in (mdata, Query(mdata, seed=3)):
        automatic.labels(fitted, query, "cell_type", mode="encode")
    assert seeds == [0, 3]


def test_a_column_that_is_not_there(fitted: MIDAS) -> None:
    both = mapped(fitted, np.zeros((2, 1)), np.zeros((1, 1)), kind=["a", "b"], level=["x", "y"])
    with pytest.raises(KeyError, match=r"Expected a column 'typo' in the reference's obs, found: kind, level"):
        label_cells(both, ["kind", "typo"])


def test_levels_of_a_hierarchy_agree(fitted: MIDAS) -> None:
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 9, 400)
    z = rng.normal(size=(400, 3))  # labels without meaning: single columns would disagree
    both = mapped(
        fitted, z, rng.normal(size=(200, 3)), fine=[f"f{i}" for i in fine], coarse=[f"g{i // 3}" for i in fine]
    )
    table = label_cells(both, ["coarse", "fine"], config=PLAIN).table
    for coarse, level in zip(table["coarse_transferred"], table["fine_transferred"], strict=True):
        assert coarse == f"g{int(level[1:]) // 3}"
    alone = [
        label_cells(both, name, config=PLAIN).table[f"{name}_transferred"].astype(str) for name in ("coarse", "fine")
    ]
    assert any(c != f"g{int(f[1:]) // 3}" for c, f in zip(*alone, strict=True))


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    bins = np.minimum((confidence * 10).astype(int), 9)
    return sum(
        abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)
    )


def test_confidence_is_the_share_that_is_right(fitted: MIDAS) -> None:
    rng = np.random.default_rng(0)
    centre = np.array([[0.0, 0.0], [1.2, 0.0], [0.0, 1.2]])
    truth = rng.integers(0, 3, 5000)
    z = centre[truth] + rng.normal(0, 0.7, (5000, 2))
    both = mapped(fitted, z[:3000], z[3000:], kind=[f"k{i}" for i in truth[:3000]])
    table = label_cells(both, "kind", config=PLAIN).table
    right = (table["kind_transferred"].astype(str) == [f"k{i}" for i in truth[3000:]]).to_numpy()
    assert 0.5 < right.mean() < 0.95
    assert expected_calibration_error(table["kind_confidence"].to_numpy(), right) < 0.05


def test_confidence_is_judged_by_what_the_query_was_measured_in(fitted: MIDAS) -> None:
    rng = np.random.default_rng(0)
    centre = np.array([[0.0, 0.0], [1.2, 0.0], [0.0, 1.2]])
    truth = rng.integers(0, 3, 5000)
    whole = centre[truth] + rng.normal(0, 0.2, (5000, 2))
    noisy = whole + rng.normal(0, 0.8, (5000, 2))  # what RNA alone tells
    kind = [f"k{i}" for i in truth[:3000]]
    rows = rng.permutation(3000)[:1000]
    told = Readings(rows, {"adt+rna": whole[rows].astype(np.float32), "rna": noisy[rows].astype(np.float32)})
    errors = {}
    for name, readings in (("told", told), ("not told", None)):
        both = mapped(fitted, whole[:3000], noisy[3000:], readings=readings, kind=kind)
        table = label_cells(both, "kind", config=PLAIN).table
        right = (table["kind_transferred"].astype(str) == [f"k{i}" for i in truth[3000:]]).to_numpy()
        errors[name] = expected_calibration_error(table["kind_confidence"].to_numpy(), right)
    assert errors["told"] < 0.05
    assert errors["not told"] > 0.1


def test_cells_that_are_new_are_unknown(fitted: MIDAS) -> None:
    rng = np.random.default_rng(0)
    novelty = np.concatenate([rng.normal(0, 1, 90), rng.normal(12, 1, 30)])
    z, query = rng.normal(size=(60, 2)), rng.normal(size=(120, 2))
    query[5] = np.nan
    novelty[5] = np.nan
    both = mapped(fitted, z, query, novelty, kind=["a", "b"] * 30)
    found = label_cells(both, "kind")
    given = found.table["kind_transferred"]
    assert ((given == UNKNOWN).to_numpy() == (np.arange(120) >= 90)).all()
    assert given.isna().to_numpy().nonzero()[0].tolist() == [5]
    assert np.isnan(found.table["kind_confidence"].iloc[5])
    assert 3 < found.cut.threshold < 10
    one_hump = mapped(fitted, z, query[:90], novelty[:90], kind=["a", "b"] * 30)
    assert UNKNOWN not in label_cells(one_hump, "kind").table["kind_transferred"].tolist()
    assert UNKNOWN not in label_cells(both, "kind", config=PLAIN).table["kind_transferred"].tolist()


def test_cells_that_are_not_sure_may_be_unknown(fitted: MIDAS) -> None:
    rng = np.random.default_rng(0)
    both = mapped(fitted, rng.normal(size=(300, 2)), rng.normal(size=(50, 2)), kind=["a", "b"] * 150)
    table = label_cells(both, "kind", config=LabelConfig(min_confidence=0.99)).table
    assert (table["kind_transferred"] == UNKNOWN).all()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (LabelConfig, {"n_neighbors": 0}),
        (LabelConfig, {"n_neighbors": 2.5}),
        (LabelConfig, {"min_confidence": 1.5}),
        (LabelConfig, {"unlabelled": "type4"}),
        (TransferConfig, {"step_fraction": "a"}),
        (TransferConfig, {"discriminator_warmup_steps": 2.5}),
        (TransferConfig, {"replay": -1.0}),
        (TransferConfig, {"tune": "none"}),
    ],
)
def test_impossible_choices(kind: type, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}\.{next(iter(values))}: expected"):
        kind(**values)


def test_a_lineage_without_finer_labels_is_given_without(fitted: MIDAS) -> None:
    z = np.repeat([0.0, 4.0, 20.0], 10)[:, None] + np.linspace(0, 0.1, 30)[:, None]
    lineage, fine = ["A"] * 20 + ["B"] * 10, ["a1"] * 10 + ["a2"] * 9 + ["unknown"] * 11
    both = mapped(fitted, z, np.array([[0.05], [4.05], [20.05]]), lineage=lineage, fine=fine)
    found = label_cells(both, ["lineage", "fine"], config=PLAIN).table
    assert found["lineage_transferred"].tolist() == ["A", "A", "B"]
    assert found["fine_transferred"].tolist()[:2] == ["a1", "a2"]
    assert found.loc["c32", ["fine_transferred", "fine_confidence"]].isna().all()
    assert np.isfinite(found["lineage_confidence"]).all()


def test_confidence_is_judged_where_one_batch_alone_has_labels(fitted: MIDAS) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 3))
    kind = np.where(
        np.arange(300) % 3 == 0, rng.choice(list("abcd"), 300), None
    )  # of no meaning, and of batch b0 alone
    both = mapped(fitted, z, rng.normal(size=(50, 3)), kind=kind)
    found = label_cells(both, "kind", config=LabelConfig(n_neighbors=1, unknown=False)).table
    assert found["kind_confidence"].mean() < 0.5


def test_cells_without_latents_have_no_say_in_what_is_unknown(fitted: MIDAS) -> None:
    rng = np.random.default_rng(0)
    novelty, query = np.r_[rng.normal(0, 1, 200), np.full(40, 9.0)], rng.normal(size=(240, 2))
    query[200:] = np.nan
    both = mapped(fitted, rng.normal(size=(30, 2)), query, novelty, kind=["a", "b", "c"] * 10)
    assert label_cells(both, "kind").cut.threshold == np.inf


def test_no_column_and_no_seed(fitted: MIDAS) -> None:
    both = mapped(fitted, np.array([[0.0], [1.0]]), np.array([[0.5]]), kind=["a", "b"])
    with pytest.raises(ValueError, match="Expected one column of the reference's obs or more, found none"):
        label_cells(both, [])
    with pytest.raises(ValueError, match=r"Expected seed to be a whole number from 0 up to .*, found -1"):
        label_cells(both, "kind", seed=-1)
    assert label_cells(both, "kind", seed=2**40).table["kind_transferred"].notna().all()
