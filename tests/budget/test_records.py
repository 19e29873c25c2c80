"""Prices and sums of attempts; the log of model calls survives a crash and says what is broken."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metagym.budget import Attempt, AttemptOutcome, CallLog, Prices, Spending, add_attempt
from metagym.errors import RunFolderError
from metagym.types import Usage

PRICES = Prices(prompt=2.0, completion=10.0, cached=0.5)


def test_cost_counts_cached_tokens_at_their_price() -> None:
    usage = Usage(prompt_tokens=1000, cached_tokens=400, completion_tokens=100)
    assert PRICES.of(usage) == pytest.approx((600 * 2.0 + 400 * 0.5 + 100 * 10.0) / 1e6)
    assert Prices(prompt=2.0, completion=10.0).of(usage) == pytest.approx((1000 * 2.0 + 100 * 10.0) / 1e6)


@pytest.mark.parametrize("price", [math.inf, math.nan, -1.0])
@pytest.mark.parametrize("name", ["prompt", "completion", "cached"])
def test_a_price_is_a_finite_number(name: str, price: float) -> None:
    with pytest.raises(ValidationError):
        Prices(**{"prompt": 1.0, "completion": 1.0, name: price})


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


def attempt(number: int, outcome: AttemptOutcome = "whole") -> Attempt:
    return Attempt(
        number=number, role="actor", purpose="learning", meta_step=0, outcome=outcome, usage=Usage(prompt_tokens=number)
    )


def test_attempts_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = CallLog(tmp_path / "calls.jsonl")
    assert list(log.read()) == []
    for number in range(3):
        log.write(attempt(number))
    log.close()
    log.close()
    assert list(CallLog(log.path).read()) == [attempt(number) for number in range(3)]


def test_a_torn_last_line_is_dropped_with_a_warning_and_the_next_one_begins_a_new_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = CallLog(tmp_path / "calls.jsonl")
    log.write(attempt(0))
    log.close()
    with log.path.open("ab") as file:
        file.write(b'{"number":1,"ro')
    assert list(log.read()) == [attempt(0)]
    assert "was torn by a crash; it is dropped" in caplog.text
    log.write(attempt(2))
    log.close()
    assert list(log.read()) == [attempt(0), attempt(2)]


def test_a_broken_line_inside_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text("nonsense\n")
    with pytest.raises(RunFolderError, match=r"Line 1 of .*calls.jsonl is broken"):
        list(CallLog(path).read())


def test_attempts_that_a_dead_process_left_under_way_are_settled_by_the_next_process(tmp_path: Path) -> None:
    log = CallLog(tmp_path / "calls.jsonl")
    for number in range(3):
        log.write(attempt(number, "reserved"))
    log.write(attempt(1))
    log.close()
    again = CallLog(log.path)
    before = list(again.read())
    again.write(attempt(3, "reserved"))
    again.write(attempt(3))
    again.close()
    added = list(CallLog(log.path).read())[len(before) :]
    assert added == [attempt(0, "reserved").lost(), attempt(2, "reserved").lost(), attempt(3, "reserved"), attempt(3)]
    assert {item.outcome for item in added[:2]} == {"unknown"}
