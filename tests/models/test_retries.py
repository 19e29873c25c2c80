"""The retry policy: what is tried again, how often, how long, and what stops the run. No real time passes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from metagym.errors import ContextOverflowError, ModelError, ModelUnavailableError
from metagym.models import ClientConfig
from metagym.models.asking import Retrier
from metagym.models.server_failures import AttemptFailedError, Breaker, Failure
from tests.models.clock import Clock

DOWN = Failure("HTTP 500", "HTTP 500: out of order", "Look at the server's log.", may_pass=True)
BUSY = Failure("HTTP 429", "HTTP 429: slow down", "Lower the load.", may_pass=True, overload=True)


def retrier(clock: Clock, *, max_retries: int = 3, **config: Any) -> Retrier:
    limits = ClientConfig(**config)
    breaker = Breaker(limits, clock=clock)
    return Retrier("model 'm'", max_retries=max_retries, config=limits, breaker=breaker, clock=clock, sleep=clock.sleep)


def run(policy: Retrier, *outcomes: Failure | str, each: Callable[[], None] = lambda: None) -> str:
    """Run a call whose attempts end like this, the last outcome for ever."""
    left = list(outcomes)

    async def attempt() -> str:
        each()
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Failure):
            raise AttemptFailedError(outcome)
        return outcome

    return asyncio.run(policy.run(attempt))


def test_a_call_that_succeeds_does_not_wait() -> None:
    clock = Clock()
    assert run(retrier(clock), "ok") == "ok"
    assert clock.naps == []


def test_a_failure_that_may_pass_is_retried_until_it_passes() -> None:
    clock = Clock()
    assert run(retrier(clock), DOWN, DOWN, "ok") == "ok"
    assert len(clock.naps) >= 1


def test_the_number_of_attempts_is_bounded_and_in_the_error() -> None:
    clock, tries = Clock(), []
    with pytest.raises(ModelError, match=r"got HTTP 500: out of order. Look at the server's log. Tried 4 times in"):
        run(retrier(clock, max_retries=3), DOWN, each=lambda: tries.append(1))
    assert len(tries) == 4


def test_without_retries_there_is_one_attempt() -> None:
    tries: list[int] = []
    with pytest.raises(ModelError, match="Tried 1 time in"):
        run(retrier(Clock(), max_retries=0), DOWN, each=lambda: tries.append(1))
    assert len(tries) == 1


def test_pauses_grow_but_stay_below_their_bound() -> None:
    clock = Clock()
    with pytest.raises(ModelError):
        run(retrier(clock, max_retries=12, first_pause_s=1.0, max_pause_s=4.0, breaker_failures=99), DOWN)
    assert clock.now - 100.0 <= 1 + 2 + 4 * 10


def test_retry_after_is_the_pause() -> None:
    clock = Clock()
    assert run(retrier(clock), BUSY._replace(retry_after_s=7.0), "ok") == "ok"
    assert sum(clock.naps) == 7.0


def test_a_retry_after_beyond_the_time_limit_fails_at_once_with_the_reason() -> None:
    clock = Clock()
    asks_an_hour = BUSY._replace(retry_after_s=3600.0)
    with pytest.raises(ModelError, match=r"The server asks to wait 3600 s, longer than max_retry_s=300 allows"):
        run(retrier(clock), asks_an_hour)
    assert clock.naps == []


def test_a_failure_that_will_not_pass_is_not_retried() -> None:
    tries: list[int] = []
    refused = Failure("HTTP 400", "HTTP 400: no", "Take it out.")
    with pytest.raises(ModelError, match=r"got HTTP 400: no. Take it out.$"):
        run(retrier(Clock()), refused, each=lambda: tries.append(1))
    assert len(tries) == 1


def test_a_context_overflow_has_an_error_of_its_own() -> None:
    with pytest.raises(ContextOverflowError, match="The conversation is too long for model 'm'"):
        run(retrier(Clock()), Failure("HTTP 400", "HTTP 400: too long", "", ContextOverflowError))


def test_an_error_that_is_not_the_servers_goes_through() -> None:
    async def attempt() -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        asyncio.run(retrier(Clock()).run(attempt))


def test_the_log_says_at_most_once_a_second_why_a_call_waits(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    clock = Clock()
    policy = retrier(clock, max_retries=4, first_pause_s=0.001)
    assert run(policy, DOWN, DOWN, BUSY._replace(retry_after_s=2.0), DOWN, "ok") == "ok"
    message = [record.message for record in caplog.records]
    assert message[0].endswith("for model 'm', after try 1 of 5: HTTP 500: out of order")
    assert len(message) == 2  # the second and third come within a second of the first


def test_a_server_that_never_answered_stops_the_run_after_breaker_failures() -> None:
    tries: list[int] = []
    policy = retrier(Clock(), max_retries=50, breaker_failures=6)
    with pytest.raises(ModelUnavailableError, match=r"same error 6 times in a row within .* s, with no success betw"):
        run(policy, DOWN, each=lambda: tries.append(1))
    assert len(tries) == 6


def test_an_open_breaker_fails_calls_at_once_and_lets_one_try_later() -> None:
    clock, tries = Clock(), []
    policy = retrier(clock, max_retries=50, breaker_failures=2)
    with pytest.raises(ModelUnavailableError):
        run(policy, DOWN)
    with pytest.raises(ModelUnavailableError, match="The run stops here; its episodes are kept"):
        run(policy, "ok", each=lambda: tries.append(1))
    assert tries == []
    clock.now += 6
    assert run(policy, "ok") == "ok"
    assert run(policy, DOWN, "ok") == "ok"


def test_a_short_outage_of_a_server_that_answered_is_waited_for() -> None:
    clock = Clock()
    policy = retrier(clock, max_retries=50, breaker_failures=3, breaker_s=30.0, first_pause_s=1.0)
    assert run(policy, "ok") == "ok"
    assert run(policy, *[DOWN] * 5, "ok") == "ok"


def test_a_long_outage_of_a_server_that_answered_stops_the_run() -> None:
    clock = Clock()
    policy = retrier(clock, max_retries=500, breaker_failures=3, breaker_s=30.0)
    run(policy, "ok")
    with pytest.raises(ModelUnavailableError):
        run(policy, DOWN)
    assert 30 <= clock.now - 100 <= 30 + 2 * 30


def test_failures_of_different_kinds_are_not_the_same_error() -> None:
    clock = Clock()
    policy = retrier(clock, max_retries=4, breaker_failures=4)
    other = DOWN._replace(kind="timeout")
    assert run(policy, DOWN, DOWN, other, DOWN, "ok") == "ok"


@pytest.mark.parametrize("kind", ["HTTP 429", "HTTP 503", "HTTP 529"])
def test_a_busy_or_loading_server_counts_only_when_a_call_is_given_up(kind: str) -> None:
    policy = retrier(Clock(), max_retries=1, breaker_failures=3)
    for _ in range(2):
        with pytest.raises(ModelError, match="slow down") as raised:
            run(policy, BUSY._replace(kind=kind))
        assert not isinstance(raised.value, ModelUnavailableError)
    with pytest.raises(ModelUnavailableError, match="same error 3 times"):
        run(policy, BUSY._replace(kind=kind))
