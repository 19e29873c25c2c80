"""Intervals that hold together, open ranks, and the score of the winner without its luck."""

from __future__ import annotations

import numpy as np
import pytest

from metagym.statistics import Estimate, chosen_on_other_seeds, holm, mean_interval, rank_intervals, together

stats = pytest.importorskip("scipy.stats")


def table_of(means: list[float], *, seed: int = 0, num: int = 10) -> dict[int, Estimate | None]:
    rng = np.random.default_rng(seed)
    return {arm: mean_interval(rng.normal(mean, 1.0, num)) for arm, mean in enumerate(means)}


def test_one_estimate_keeps_its_interval() -> None:
    (alone,) = together(table_of([1.0])).values()
    assert alone is not None
    assert alone.adjusted_p == alone.p_value
    assert alone.model_copy(update={"adjusted_p": None}) == table_of([1.0])[0]


def test_the_adjusted_p_is_holms_over_the_estimates_that_have_one() -> None:
    estimates = {"a": Estimate(mean=1.0, p_value=0.01, num=9), "b": None, "c": Estimate(mean=1.0, num=1)}
    found = together({**estimates, "d": Estimate(mean=1.0, p_value=0.2, num=9)})
    assert {name: item and item.adjusted_p for name, item in found.items()} == {
        "a": 0.02, "b": None, "c": None, "d": 0.2,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_intervals_are_bonferronis_and_agree_with_holms_p(seed: int) -> None:
    plain = table_of([0.0, 0.9, 1.1, 1.3, -1.0], seed=seed)
    found = together(plain)
    ps = holm([item.p_value for item in plain.values() if item and item.p_value is not None])
    for arm, p_value in enumerate(ps):
        before, item = plain[arm], found[arm]
        assert before is not None
        assert before.std is not None
        assert item is not None
        assert item.low is not None
        assert item.high is not None
        half = stats.t.ppf(1 - 0.05 / 5 / 2, 9) * before.std / np.sqrt(10)
        is_shown = p_value < 0.05
        low = max(0.0, before.mean - half) if is_shown and before.mean > 0 else before.mean - half
        high = min(0.0, before.mean + half) if is_shown and before.mean < 0 else before.mean + half
        assert (item.low, item.high) == pytest.approx((low, high))
        assert item.sign == (np.sign(before.mean) if is_shown else 0)
        assert (item.low >= 0 or item.high <= 0) == is_shown  # an interval never contradicts the p


def test_nine_equal_arms_seldom_show_a_difference() -> None:
    rng = np.random.default_rng(0)
    shown = unadjusted = 0
    for _ in range(400):
        arms = rng.normal(size=(10, 6))
        plain = {arm: mean_interval(arms[0] - arms[arm]) for arm in range(1, 10)}
        unadjusted += any(item is not None and item.sign for item in plain.values())
        shown += any(item is not None and item.sign for item in together(plain).values())
    assert shown / 400 <= 0.05
    assert unadjusted / 400 > 0.2


def test_ranks_are_open_where_nothing_is_shown() -> None:
    rng = np.random.default_rng(1)
    equal = rank_intervals({arm: rng.normal(size=8) for arm in "abcd"})
    assert set(equal.values()) == {(1, 4)}
    apart = rank_intervals({arm: place + rng.normal(0, 0.1, 8) for place, arm in enumerate("dcba")})
    assert apart == {"d": (4, 4), "c": (3, 3), "b": (2, 2), "a": (1, 1)}


def test_open_ranks_hold_the_true_ranks_of_all_arms_at_once() -> None:
    rng = np.random.default_rng(2)
    truth = np.array([0.0, 0.5, 1.0, 1.5])
    held = 0
    for _ in range(200):
        found = rank_intervals({arm: truth[arm] + rng.normal(size=6) for arm in range(4)})
        held += all(best <= 4 - arm <= worst for arm, (best, worst) in found.items())
    assert held / 200 >= 0.95


def test_the_winner_by_split_has_no_luck() -> None:
    """Of nine equal arms, the best mean is too high; chosen on other seeds it is not."""
    rng = np.random.default_rng(3)
    tables = rng.normal(0.5, 0.2, size=(500, 9, 5))
    assert tables.mean(axis=2).max(axis=1).mean() > 0.6
    assert np.mean([chosen_on_other_seeds(table) for table in tables]) == pytest.approx(0.5, abs=0.02)


def test_the_winner_by_split_is_the_slow_obvious_one() -> None:
    table = np.array([[0.1, 0.9, 0.5], [0.6, 0.2, 0.8], [np.nan, 0.3, 0.3]])
    assert chosen_on_other_seeds(table[:2]) == pytest.approx((0.1 + 0.2 + 0.5) / 3)
    assert chosen_on_other_seeds(table[:, :2]) is None  # one whole seed is left
