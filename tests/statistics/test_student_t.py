"""Student's t and the power of its paired test, against scipy and the tables of the textbook."""

from __future__ import annotations

import math
from itertools import product

import pytest

from metagym.errors import ConfigError
from metagym.statistics import detectable_effect, paired_power, seeds_needed, t_cdf, t_quantile, two_sided_p

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


@pytest.mark.parametrize(("num", "alpha"), [*product((2, 3, 5, 10, 30, 1_000, 100_000), (0.2, 0.05, 0.001))])
def test_the_power_is_that_of_scipys_noncentral_t(num: int, alpha: float) -> None:
    edge = stats.t.ppf(1 - alpha / 2, num - 1)
    for shift in (0.0, 0.5, 2.0, 4.0, 10.0):
        lower = stats.nct.cdf(-edge, num - 1, shift)
        exact = stats.nct.sf(edge, num - 1, shift) + (0.0 if math.isnan(lower) else lower)  # scipy: nan far out
        assert paired_power(num, shift / math.sqrt(num), alpha=alpha) == pytest.approx(exact, abs=1e-8)


def test_without_an_effect_the_power_is_alpha() -> None:
    for num in (2, 3, 10, 100):
        assert paired_power(num, 0.0) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("effect", "num_seeds"),
    [(0.2, 199), (0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6), (3.0, 4)],
)
def test_seeds_for_80_percent_power_are_those_of_the_tables(effect: float, num_seeds: int) -> None:
    """Two-sided paired t test, alpha 5 %; Cohen 1988, and G*Power 3.1 (`dz`)."""
    assert seeds_needed(effect, 1.0) == num_seeds


@pytest.mark.parametrize(("num", "power"), [*product((2, 3, 6, 10, 30, 500), (0.5, 0.8, 0.95))])
def test_the_detectable_effect_is_found_with_the_power_asked_for(num: int, power: float) -> None:
    effect = detectable_effect(1.0, num, power=power)
    assert paired_power(num, effect) == pytest.approx(power, abs=1e-9)
    assert detectable_effect(2.0, num, power=power) == pytest.approx(2 * effect)


@pytest.mark.parametrize("num", [4, 9, 40])
def test_an_effect_that_is_just_detectable_needs_that_many_seeds(num: int) -> None:
    effect = detectable_effect(0.1, num)
    assert seeds_needed(1.0001 * effect, 0.1) == num
    assert seeds_needed(0.9999 * effect, 0.1) == num + 1


def test_one_replicate_detects_nothing() -> None:
    assert detectable_effect(1.0, 1) == math.inf


@pytest.mark.parametrize("numbers", [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.0), (math.inf, 1.0), (0.1, math.inf)])
def test_effects_and_deviations_that_are_not_finite_and_positive_are_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="Expected finite effect, sd > 0"):
        seeds_needed(*numbers)


def test_an_effect_that_needs_more_than_a_million_seeds_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs more than a million seeds"):
        seeds_needed(1e-6, 1.0)
