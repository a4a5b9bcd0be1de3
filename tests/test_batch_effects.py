"""How differently batches measured cells of the same state."""

from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
import pytest

from helpers import names, one, tiny
from midas import MIDAS, RNA, read_mosaic
from midas.batch_effects import batch_distances

TYPES = np.array([[1.0, 20, 3, 8], [12, 2, 9, 1]])  # mean counts of four genes


def cells(batches: dict[str, tuple[float, list[int]]], seed: int = 0) -> tuple[dict, np.ndarray]:
    """Batches of so many cells of each type, whose second gene is counted so many times too often; and the cells' states."""
    rng = np.random.default_rng(seed)
    kind = np.concatenate([np.repeat([0, 1], n) for _, n in batches.values()])
    batch = [name for name, (_, n) in batches.items() for _ in range(sum(n))]
    factor = np.concatenate([np.full(sum(n), f) for f, n in batches.values()])
    expected = TYPES[kind]
    expected[:, 1] *= factor
    rna = one(names("c", len(kind)), names("g", 4), batch)
    rna.X = rng.poisson(expected).astype(np.float32)
    return {"rna": rna}, np.where(kind, 5.0, -5.0)[:, None] + rng.normal(0, 0.1, (len(kind), 1))


def test_an_effect_sets_batches_apart_and_composition_does_not() -> None:
    data, c = cells({"a": (1.0, [150, 30]), "b": (1.0, [30, 150]), "x": (3.0, [150, 30]), "y": (3.0, [30, 150])})
    found = batch_distances(read_mosaic(data, batch_key="batch"), c.astype(np.float32), seed=0)
    np.testing.assert_array_equal(np.diag(found), 0)
    np.testing.assert_allclose(found, found.T, atol=1e-6)
    assert found[~np.eye(4, dtype=bool)].mean() == pytest.approx(1, abs=1e-5)
    assert max(found[0, 1], found[2, 3]) < 0.1
    assert found[:2, 2:].min() > 1


def test_only_what_both_measured_is_compared() -> None:
    data, c = cells({"a": (1.0, [60, 60]), "b": (1.0, [60, 60]), "x": (3.0, [60, 60])})
    c = c.astype(np.float32)
    measured = pd.DataFrame(True, index=["a", "b", "x"], columns=names("g", 4))
    measured.loc["x", "g1"] = False
    seen = batch_distances(read_mosaic(data, batch_key="batch"), c, seed=0)
    masked = batch_distances(read_mosaic(data, batch_key="batch", measured={"rna": measured}), c, seed=0)
    assert seen[0, 2] > 10 * seen[0, 1]
    assert max(masked[0, 1], masked[0, 2]) < 0.2
    measured.loc["x"] = [False, True, False, False]
    measured.loc["a"] = [True, False, True, True]
    apart = batch_distances(read_mosaic(data, batch_key="batch", measured={"rna": measured}), c, seed=0)
    assert np.isnan(apart[0, 2])
    assert np.isfinite(apart[1]).all()


def test_a_modality_that_two_batches_alone_have_is_held_against_the_others() -> None:
    """Every two of three batches share another modality; one pair counts alike, the other two do not."""
    counts, c = {}, {}
    for i, (factor, pair) in enumerate(((1.0, ("a", "b")), (3.0, ("a", "x")), (3.0, ("b", "x")))):
        data, c[pair] = cells({pair[0]: (1.0, [90, 60]), pair[1]: (factor, [90, 60])}, seed=0)
        counts[f"m{i}"] = data["rna"]
        counts[f"m{i}"].obs_names = [f"{pair[0]}{j}" for j in range(150)] + [f"{pair[1]}{j}" for j in range(150)]
    mosaic = read_mosaic(counts, batch_key="batch", modalities=dict.fromkeys(counts, RNA))
    state = {}
    for pair, values in c.items():
        own = [f"{pair[0]}{j}" for j in range(150)] + [f"{pair[1]}{j}" for j in range(150)]
        state |= dict(zip(own, values[:, 0], strict=True))
    states = np.array([[state[name]] for name in mosaic.cells], dtype=np.float32)
    found = batch_distances(mosaic, states, seed=0)
    assert found[0, 1] < 0.1
    assert min(found[0, 2], found[1, 2]) > 0.8


def test_batches_without_a_modality_in_common_are_not_compared(mdata: md.MuData) -> None:
    mosaic = read_mosaic({"rna": mdata["rna"]}, batch_key="batch")
    one_batch = mosaic.load(np.flatnonzero(mosaic.batch == 0))
    c = np.random.default_rng(0).normal(size=(one_batch.n_cells, 2)).astype(np.float32)
    c[3] = np.nan
    found = batch_distances(one_batch, c, seed=0)
    assert found[0, 0] == 0
    assert np.isnan(found[0, 1:]).all()


def test_the_order_of_cells_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas.batch_effects._MOST_OF_BATCH", 40)
    monkeypatch.setattr("midas.batch_effects._MOST_FEATURES", 3)
    data, c = cells({"a": (1.0, [50, 50]), "b": (2.0, [50, 50])})
    order = np.random.default_rng(1).permutation(len(c))
    mosaics = (read_mosaic({"rna": data["rna"][rows].copy()}, batch_key="batch") for rows in (slice(None), order))
    found = [
        batch_distances(m, part.astype(np.float32), seed=3) for m, part in zip(mosaics, (c, c[order]), strict=True)
    ]
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_a_model_keeps_them_and_without_neighbours_does_not_look(
    fitted: MIDAS, mdata: md.MuData, tmp_path: Path
) -> None:
    assert list(fitted.learned.distances.index) == list(fitted.schema.batches)
    fitted.save(tmp_path / "model")
    pd.testing.assert_frame_equal(MIDAS.load(tmp_path / "model").learned.distances, fitted.learned.distances)
    config = tiny().to_dict() | {"inference": {"n_neighbors": 0}}
    alone = MIDAS(mdata, config=type(tiny()).from_dict(config)).fit(progress=False)
    assert alone.learned.distances.empty
    alone.save(tmp_path / "alone")
    assert MIDAS.load(tmp_path / "alone").learned.distances.empty
