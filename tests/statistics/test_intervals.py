"""Each method against scipy, a closed form, or a slow obvious version."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from metagym.errors import ConfigError
from metagym.statistics import (
    at_any_look_bounded,
    chosen_on_other_seeds,
    equivalence_p,
    finite_mean,
    holm,
    macro_average,
    mean_interval,
    sign_flip_p,
    two_way_bootstrap,
    welch_difference,
)

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("num", [2, 3, 10, 100])
def test_the_interval_and_p_are_those_of_scipys_t_test(num: int) -> None:
    sample = np.random.default_rng(num).normal(0.3, 1.0, size=num)
    ours, theirs = mean_interval(sample), stats.ttest_1samp(sample, 0.0)
    interval = theirs.confidence_interval(0.95)
    assert ours is not None
    assert (ours.mean, ours.p_value, ours.low, ours.high) == pytest.approx(
        (sample.mean(), theirs.pvalue, interval.low, interval.high), rel=1e-9
    )


def test_missing_replicates_are_left_out_and_no_replicate_gives_no_estimate() -> None:
    assert mean_interval([1.0, math.nan, 3.0]) == mean_interval([1.0, 3.0])
    assert mean_interval([math.nan]) is None
    alone = mean_interval([0.5])
    assert alone is not None
    assert (alone.mean, alone.low, alone.p_value, alone.sign) == (0.5, None, None, 0)


@pytest.mark.parametrize("value", [0.0, 0.25, 0.1])
def test_equal_values_of_an_unknown_resolution_give_no_interval(value: float) -> None:
    estimate = mean_interval([value] * 7)
    assert estimate is not None
    assert (estimate.low, estimate.high, estimate.std, estimate.sign) == (None, None, 0.0, 0)
    assert estimate.p_value == (2 / 2**7 if value else 1.0)


@pytest.mark.parametrize("num", [2, 3, 10])
def test_equal_values_leave_room_for_three_more_episodes_that_end_otherwise(num: int) -> None:
    """The rule of three: the variance is that of num * n episodes that change with probability 3 / (num * n)."""
    num_episodes = 20
    estimate = mean_interval([0.4] * num, resolution=1 / num_episodes)
    assert estimate is not None
    assert estimate.high is not None
    change = 3 / (num * num_episodes)
    std = math.sqrt(num_episodes * change) / num_episodes
    assert estimate.high - 0.4 == pytest.approx(stats.t.ppf(0.975, num - 1) * std / math.sqrt(num))


def test_the_resolution_hardly_changes_an_interval_of_ordinary_variance() -> None:
    sample = np.random.default_rng(0).normal(0.1, 0.15, size=10)
    plain, fine = mean_interval(sample), mean_interval(sample, resolution=0.05)
    assert plain is not None
    assert fine is not None
    assert 1 < (fine.high - fine.low) / (plain.high - plain.low) < 1.03  # type: ignore[operator]


def test_an_interval_stays_within_the_bounds_of_the_scores() -> None:
    estimate = mean_interval([1.0, 1.0, 0.9], bounds=(0.0, 1.0))
    assert estimate is not None
    assert estimate.low is not None
    assert 0 <= estimate.low < estimate.mean < estimate.high == 1.0


def test_the_bootstrap_of_equal_cells_gives_no_interval() -> None:
    estimate = two_way_bootstrap([np.zeros((4, 10))], rng=np.random.default_rng(0))
    assert estimate is not None
    assert (estimate.mean, estimate.low, estimate.high) == (0.0, None, None)


@pytest.mark.parametrize("num", [1, 4, 5, 6, 9])
def test_the_sign_flip_counts_all_patterns(num: int) -> None:
    sample = np.random.default_rng(num).normal(0.5, 1.0, size=num)
    sums = [
        abs(sum(s * v for s, v in zip(signs, sample, strict=True))) for signs in itertools.product((1, -1), repeat=num)
    ]
    assert sign_flip_p(sample) == np.mean(np.array(sums) >= abs(sample.sum()) - 1e-12)


def test_the_sign_flip_is_scipys_permutation_test() -> None:
    sample = np.random.default_rng(1).normal(0.4, 1.0, size=10)
    theirs = stats.permutation_test((sample,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    assert sign_flip_p(sample) == pytest.approx(theirs.pvalue)


def test_the_smallest_sign_flip_p_falls_below_five_percent_at_six() -> None:
    assert sign_flip_p([0.1] * 5) == 0.0625
    assert sign_flip_p([0.1] * 6) == 0.03125


def test_many_differences_are_flipped_at_random_and_p_is_never_zero() -> None:
    sample = np.random.default_rng(3).normal(0.3, 1.0, size=40)
    assert sign_flip_p(sample) == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, abs=0.01)
    assert sign_flip_p(np.ones(50), num_flips=20_000) == 1 / 20_001
    assert sign_flip_p([]) == 1.0


def test_the_two_way_bootstrap_is_the_slow_obvious_one() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6, 8)) + rng.normal(size=(6, 1)) + rng.normal(size=(1, 8))
    table[2, 3] = np.nan
    slow = []
    for _ in range(6_000):
        seeds, tasks = rng.integers(6, size=6), rng.integers(8, size=8)
        slow.append(np.nanmean(table[np.ix_(seeds, tasks)]))
    ours = two_way_bootstrap([table], rng=rng, num_resamples=6_000)
    assert ours is not None
    assert ours.mean == pytest.approx(np.nanmean(table))
    assert (ours.low, ours.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.06)


def test_the_two_way_bootstrap_weighs_families_equally_whatever_their_number_of_tasks() -> None:
    estimate = two_way_bootstrap([np.zeros((4, 100)), np.ones((4, 2))], rng=np.random.default_rng(0))
    assert estimate is not None
    assert (estimate.mean, estimate.low) == (0.5, None)
    assert two_way_bootstrap([np.full((2, 2), np.nan)], rng=np.random.default_rng(0)) is None


def test_the_two_way_bootstrap_is_wider_than_the_one_over_seeds_if_tasks_differ() -> None:
    rng = np.random.default_rng(5)
    table = rng.normal(size=(10, 1)) * 0.1 + rng.normal(size=(1, 20))
    two_way, by_seed = two_way_bootstrap([table], rng=rng), mean_interval(table.mean(axis=1))
    assert two_way is not None
    assert by_seed is not None
    assert two_way.high - two_way.low > 2 * (by_seed.high - by_seed.low)  # type: ignore[operator]


def test_holm_is_the_step_down_rule() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_equivalence_is_two_one_sided_t_tests() -> None:
    sample = np.random.default_rng(2).normal(0.02, 0.1, size=12)
    below = stats.ttest_1samp(sample, -0.1, alternative="greater").pvalue
    above = stats.ttest_1samp(sample, 0.1, alternative="less").pvalue
    assert equivalence_p(sample, 0.1) == pytest.approx(max(below, above))
    assert equivalence_p([0.0] * 5, 0.1) == equivalence_p([0.2] * 5, 0.1) == 1.0  # no variance, no certainty
    assert equivalence_p([0.2], 0.1) is None


@pytest.mark.parametrize("margin", [0, -0.1, math.inf, math.nan])
def test_a_margin_that_is_no_finite_number_above_0_is_refused(margin: float) -> None:
    with pytest.raises(ConfigError, match=r"margin must be finite and above 0, in units of the score, got"):
        equivalence_p([0.1, 0.2, 0.3], margin)


@pytest.mark.parametrize(
    ("num_seeds", "rate", "margin"), [(2, 0.0, 0.01), (3, 0.0, 0.03), (5, 0.05, 0.08), (10, 0.0, 0.1)]
)
def test_arms_that_differ_by_the_margin_are_called_equal_in_at_most_five_percent(
    num_seeds: int, rate: float, margin: float
) -> None:
    """Near 0 all scores are often equal: without the variance at the margin 29 % were called equal."""
    rng = np.random.default_rng(num_seeds)
    ours, theirs = (rng.binomial(20, p, (2_000, num_seeds)) / 20 for p in (rate + margin, rate))
    found = [equivalence_p(row, margin, resolution=1 / 20) for row in ours - theirs]
    assert np.mean(np.array(found) < 0.05) <= 0.055


def test_two_seeds_of_zeros_show_no_equality() -> None:
    assert equivalence_p([0.0, 0.0], 0.01, resolution=1 / 20) > 0.3  # type: ignore[operator]
    assert equivalence_p([0.0] * 10, 0.05, resolution=1 / 100) < 0.001  # type: ignore[operator]


def test_the_finite_mean_leaves_out_nan_and_is_nan_without_any_value() -> None:
    assert finite_mean([[1.0, math.nan, 3.0], [math.nan] * 3]).tolist() == pytest.approx([2.0, math.nan], nan_ok=True)
    assert float(finite_mean([])) == pytest.approx(math.nan, nan_ok=True)


def test_a_seed_that_misses_a_family_is_no_replicate() -> None:
    assert macro_average([[1.0, 0.0], [0.0, math.nan]]).tolist() == pytest.approx([0.5, math.nan], nan_ok=True)


@pytest.mark.parametrize(
    "figure",
    [
        mean_interval,
        lambda values: float(finite_mean(values)),
        lambda values: welch_difference(values, np.arange(3.0)),
        lambda values: at_any_look_bounded(values, bounds=(-4.0, 4.0)),
        lambda values: chosen_on_other_seeds([values, values**2]),
        lambda values: float(macro_average(values)),
        lambda values: two_way_bootstrap([values[None, :]], rng=np.random.default_rng(0)).mean,  # type: ignore[union-attr]
    ],
)
def test_the_order_of_the_replicates_changes_no_bit(figure: Callable[[NDArray[np.float64]], object]) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=19) * 10 ** rng.uniform(-2, 2, 19)
    assert {repr(figure(rng.permutation(values))) for _ in range(100)} == {repr(figure(values))}
