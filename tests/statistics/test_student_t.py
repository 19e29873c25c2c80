"""Student's t against scipy."""

from __future__ import annotations

import math

import pytest

from metagym.statistics import t_cdf, t_quantile, two_sided_p

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 29, 99, 1_000])
@pytest.mark.parametrize("t", [-40.0, -3.0, -0.5, 0.0, 0.1, 1.0, 2.5, 12.0])
def test_the_distribution_function_is_scipys(t: float, df: int) -> None:
    assert t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), rel=1e-10, abs=1e-14)
    assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-10)


@pytest.mark.parametrize("df", [1, 2, 4, 9, 29, 1_000])
@pytest.mark.parametrize("probability", [0.001, 0.025, 0.2, 0.5, 0.8, 0.95, 0.975, 0.9999])
def test_the_quantile_is_scipys(probability: float, df: int) -> None:
    assert t_quantile(probability, df) == pytest.approx(stats.t.ppf(probability, df), rel=1e-9, abs=1e-12)


def test_the_ends() -> None:
    assert (t_cdf(math.inf, 3), t_cdf(-math.inf, 3), two_sided_p(math.inf, 3)) == (1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"probability must be between 0 and 1, got 1"):
        t_quantile(1.0, 3)
