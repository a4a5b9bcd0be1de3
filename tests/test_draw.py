from __future__ import annotations

import numpy as np

from midas.draw import at_most


def test_some_of_many_keep_their_order() -> None:
    assert at_most(5, 5, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]
    assert at_most(0, 5, np.random.default_rng(0)).tolist() == []
    drawn = at_most(1_000, 50, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == 50
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, at_most(1_000, 50, np.random.default_rng(0)))


def test_nothing_is_drawn_where_all_are_taken() -> None:
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    at_most(5, 5, rng)
    assert rng.random() == other.random()
