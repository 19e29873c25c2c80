"""Prices and sums of attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.budget import Attempt, Prices, Spending, add_attempt
from metagym.types import Usage

PRICES = Prices(prompt=2.0, completion=10.0, cached=0.5)


def test_cost_counts_cached_tokens_at_their_price() -> None:
    usage = Usage(prompt_tokens=1000, cached_tokens=400, completion_tokens=100)
    assert PRICES.of(usage) == pytest.approx((600 * 2.0 + 400 * 0.5 + 100 * 10.0) / 1e6)
    assert Prices(prompt=2.0, completion=10.0).of(usage) == pytest.approx((1000 * 2.0 + 100 * 10.0) / 1e6)


@given(prompt=st.integers(0, 10_000), cached=st.integers(0, 10_000), completion=st.integers(0, 10_000))
def test_no_usage_within_the_bound_costs_more_than_the_bound(prompt: int, cached: int, completion: int) -> None:
    usage = Usage(prompt_tokens=prompt, cached_tokens=min(prompt, cached), completion_tokens=completion)
    for prices in (PRICES, Prices(prompt=1.0, completion=0.0, cached=3.0)):
        assert prices.of(usage) <= prices.at_most(prompt, completion) + 1e-12


def test_sums_add_up() -> None:
    whole = Attempt(number=0, role="actor", purpose="learning", meta_step=0, outcome="whole", usage=Usage(num_calls=1))
    lost = Attempt(number=1, role="actor", purpose="learning", meta_step=0, outcome="unknown", max_tokens=7, cost=0.5)
    left, right = add_attempt(Spending(), whole), add_attempt(Spending(), lost)
    assert left + right == add_attempt(add_attempt(Spending(), whole), lost)
    assert ((left + right).max_calls, (left + right).max_tokens, (left + right).max_cost) == (2, 7, 0.5)
