"""A query's batches are shifted to a reference's clusters; what the reference lacks stays apart."""

from __future__ import annotations

import numpy as np
import pytest

from midas.transfer.placing import Landmarks

CENTRES = np.array([[0.0, 0, 0, 0], [4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0]])


def cells(type_of: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(scale=0.3, size=(len(type_of), 4))
    return (CENTRES[type_of] + noise).astype(np.float32)


@pytest.fixture(scope="module")
def landmarks() -> Landmarks:
    return Landmarks.of(cells(np.repeat(np.arange(4), 200), 0), seed=0)


def test_a_shift_that_differs_between_types_is_taken_away(landmarks: Landmarks) -> None:
    type_of = np.repeat(np.arange(4), 60)
    true = cells(type_of, 1)
    shift = np.array([[0.0, 0, 0, 1.5], [0.3, 0, 0, 1.5], [0, 0.3, 0, 1.5], [0, 0, 0, 1.2]], dtype=np.float32)
    shifted = landmarks.shift_to_reference(true + shift[type_of], np.zeros(240, dtype=np.int64))
    for one in range(4):
        away = shifted[type_of == one].mean(0) - true[type_of == one].mean(0)
        assert np.linalg.norm(away) < 0.25 * np.linalg.norm(shift[one])


def test_places_within_a_type_are_kept(landmarks: Landmarks) -> None:
    type_of = np.repeat(np.arange(4), 60)
    true = cells(type_of, 2)
    shifted = landmarks.shift_to_reference(true + np.float32(0.8), np.zeros(240, dtype=np.int64))
    within = [x[type_of == 0] - x[type_of == 0].mean(0) for x in (true, shifted)]
    assert np.corrcoef(within[0].reshape(-1), within[1].reshape(-1))[0, 1] > 0.8


def test_a_type_that_the_reference_lacks_stays_apart(landmarks: Landmarks) -> None:
    known, strange = cells(np.repeat(np.arange(4), 60), 3), cells(np.zeros(60, dtype=np.int64), 4)
    strange += np.array([0, 0, 0, 6], dtype=np.float32)
    shifted = landmarks.shift_to_reference(np.concatenate([known, strange]), np.zeros(300, dtype=np.int64))
    apart = np.linalg.norm(shifted[240:, None] - CENTRES[None], axis=2).min(1)
    assert np.median(apart) > 4
    assert np.linalg.norm(shifted[:240] - known, axis=1).mean() < 0.4


def test_batches_are_shifted_each_for_itself(landmarks: Landmarks) -> None:
    type_of = np.tile(np.arange(4), 60)
    true, group = cells(type_of, 5), np.repeat([0, 1], 120)
    shifted = landmarks.shift_to_reference(true + np.where(group == 0, 1.0, -1.0)[:, None].astype(np.float32), group)
    assert np.linalg.norm(shifted[group == 0].mean(0) - shifted[group == 1].mean(0)) < 0.6  # of 4


def test_few_cells_move_little(landmarks: Landmarks) -> None:
    one = cells(np.array([0]), 6) + np.float32(0.5)
    moved = landmarks.shift_to_reference(one, np.zeros(1, dtype=np.int64)) - one
    assert np.linalg.norm(moved) < 0.3


def test_cells_of_the_reference_are_known_and_others_not(landmarks: Landmarks) -> None:
    c = cells(np.repeat(np.arange(4), 60), 9)
    assert landmarks.known(c).mean() > 0.95
    assert landmarks.known(c + np.array([0, 0, 0, 6], dtype=np.float32)).max() < 0.01
    assert landmarks.known(np.full((1, 4), np.nan, dtype=np.float32)) == 0


def test_cells_without_a_place_keep_none(landmarks: Landmarks) -> None:
    c = cells(np.zeros(30, dtype=np.int64), 7)
    c[3] = np.nan
    shifted = landmarks.shift_to_reference(c, np.zeros(30, dtype=np.int64))
    assert np.isnan(shifted[3]).all()
    assert np.isfinite(np.delete(shifted, 3, axis=0)).all()


@pytest.mark.parametrize("n", [1, 5])
def test_a_tiny_reference_has_landmarks(n: int) -> None:
    assert len(Landmarks.of(cells(np.zeros(n, dtype=np.int64), 8), seed=0).centres) == 1
