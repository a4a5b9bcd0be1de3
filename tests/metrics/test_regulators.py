"""Links of regulators to targets."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from helpers import names
from midas import metrics

RNG = np.random.default_rng(0)
GENES = names("G", 40)
STATE = RNG.normal(size=(300, 2))
RATE = np.exp(STATE @ RNG.normal(size=(2, 40)))
COUNTS = RNG.poisson(RATE)


def test_links_of_what_is_kept_are_recovered_and_those_of_noise_are_not() -> None:
    same = metrics.link_recovery(COUNTS, sp.csr_matrix(COUNTS), GENES, GENES[:4])
    assert (same.precision, same.auprc, same.n_links) == (1.0, pytest.approx(1.0), 4 * 39)
    smooth = metrics.link_recovery(COUNTS, RATE, GENES, GENES[:4])
    noise = metrics.link_recovery(COUNTS, RNG.poisson(3.0, COUNTS.shape), GENES, GENES[:4])
    assert smooth.auprc > 0.5 > noise.auprc
    assert smooth.r > 0.8
    assert abs(noise.r) < 0.3
    assert noise.chance == pytest.approx(8 / 156)


def test_strength_is_the_correlation_of_log_counts() -> None:
    found = metrics.link_recovery(COUNTS[:, :3], COUNTS[:, :3] * 0 + RATE[:, :3], GENES[:3], ["G0"])
    x, y = np.corrcoef(np.log1p(COUNTS[:, :3]).T)[0, 1:], np.corrcoef(np.log1p(RATE[:, :3]).T)[0, 1:]
    assert found.r == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_what_cannot_be_compared_is_refused() -> None:
    for genes, regulators, message in (
        (GENES[:3], ["G0"], "Expected the same cells and genes"),
        (GENES, ["OTHER"], "found 0 regulators and 40 genes that vary in 300 cells"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.link_recovery(COUNTS, RATE, genes, regulators)
    with pytest.raises(ValueError, match="top to be a share"):
        metrics.link_recovery(COUNTS, RATE, GENES, ["G0"], top=5)
    hole = np.where(np.arange(300)[:, None] < 290, RATE, np.nan)
    assert metrics.link_recovery(COUNTS, hole, GENES, ["G0"]).n_links == 39
