"""The ledger: every attempt is booked, by role, purpose and meta-step, and a budget is never passed."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym.budget import Attempt, Budget, Ledger, Prices, current_purpose, open_ledger, spending_on
from metagym.budget import ledger as ledger_module
from metagym.errors import BudgetExceededError, ConfigError
from metagym.models import Call
from metagym.models.asking import Booking
from metagym.types import Completion, Usage
from tests.conftest import make_trajectory

PRICES = Prices(prompt=2.0, completion=10.0, cached=0.5)


def booking(ledger: Ledger, role: str = "actor", *, prices: Prices | None = None, meta_step: int = 0) -> Booking:
    return Booking(Call(role, meta_step=meta_step), model="m", prices=prices, fallback=ledger)


def take(ledger: Ledger, tokens: int, *, role: str = "actor", bound: int | None = None, **fields: Any) -> None:
    async def main() -> None:
        one = booking(ledger, role, **fields)
        await one.reserve(bound if bound is not None else tokens, 0)
        one.whole(Completion(text="", usage=Usage(prompt_tokens=tokens)))

    asyncio.run(main())


def test_time_that_overlaps_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 17.0, 20.0, 21.0])
    monkeypatch.setattr(ledger_module.time, "perf_counter", lambda: next(ticks))
    ledger = Ledger()
    with ledger.timed(), ledger.timed():
        pass
    with ledger.timed():
        pass
    assert ledger.wall_time_s == 8.0


def test_attempts_are_summed_by_role_purpose_and_meta_step() -> None:
    ledger = Ledger()
    take(ledger, 10, meta_step=0)
    take(ledger, 20, meta_step=1)
    take(ledger, 5, role="reflector", meta_step=1)
    with spending_on("measurement"):
        take(ledger, 100, meta_step=1)
    assert ledger.spent().usage.prompt_tokens == 135
    assert ledger.spent(role="actor").usage.prompt_tokens == 130
    assert ledger.spent(purpose="learning").usage.prompt_tokens == 35
    assert ledger.spent(role="actor", purpose="learning", meta_step=1).usage.prompt_tokens == 20
    assert list(ledger.rows()) == [
        ("actor", "learning", 0),
        ("actor", "learning", 1),
        ("actor", "measurement", 1),
        ("reflector", "learning", 1),
    ]
    assert current_purpose() == "learning"


def test_calls_go_to_the_open_ledger_and_a_new_thread_has_none() -> None:
    outer, inner, fallback = Ledger(), Ledger(), Ledger()
    with outer.open():
        take(fallback, 1)
        with inner.open():
            take(fallback, 2)
        assert open_ledger() is outer
    take(fallback, 4)
    seen: list[Ledger | None] = []
    with outer.open():
        thread = threading.Thread(target=lambda: seen.append(open_ledger()))
        thread.start()  # a thread begins without a context of its own
        thread.join()
    assert [item.spent().usage.prompt_tokens for item in (outer, inner, fallback)] == [1, 2, 4]
    assert seen == [None]


def test_unknown_refused_and_replayed_attempts_are_kept_apart() -> None:
    async def main(ledger: Ledger) -> None:
        one = booking(ledger, prices=PRICES)
        await one.reserve(100, 50)
        one.unknown("cut")
        await one.reserve(100, 50)
        one.refused("HTTP 500")
        await one.reserve(100, 50)
        one.whole(Completion(text="", usage=Usage(prompt_tokens=30, completion_tokens=3)))
        booking(ledger).replayed(Usage(prompt_tokens=30, num_calls=1), 1)

    ledger = Ledger()
    asyncio.run(main(ledger))
    spent = ledger.spent()
    assert (spent.usage.num_calls, spent.num_unknown, spent.num_refused, spent.num_replayed) == (1, 1, 1, 1)
    assert (spent.num_retries, spent.unknown_tokens, spent.usage.prompt_tokens) == (2, 150, 30)
    assert spent.unknown_cost == pytest.approx(PRICES.at_most(100, 50))
    assert [(item.reason, item.max_tokens) for item in ledger.unknown] == [("cut", 150)]


def test_waiting_and_working_time_are_kept_apart() -> None:
    async def main(ledger: Ledger) -> None:
        one = booking(ledger)
        await asyncio.sleep(0.02)
        await one.reserve(1, 1)
        await asyncio.sleep(0.01)
        one.whole(Completion(text="", usage=Usage()))

    ledger = Ledger()
    asyncio.run(main(ledger))
    assert ledger.spent().waiting_s >= 0.019
    assert ledger.spent().working_s >= 0.009


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(tokens=99), r"The budget of 99 tokens leaves 49, and the next call \(actor, meta-step 3\)"),
        (Budget(calls=1), "The budget of 1 calls is spent"),
        (Budget(cost=0.0001), r"The budget of 0.0001 \(money\) leaves 0"),
    ],
)
def test_a_spent_budget_refuses_calls_with_the_rest_and_the_remedy(budget: Budget, message: str) -> None:
    ledger = Ledger(budget)
    take(ledger, 50, prices=PRICES)
    with pytest.raises(BudgetExceededError, match=message) as raised:
        take(ledger, 50, prices=PRICES, meta_step=3)
    assert "Continue with a larger budget" in str(raised.value)
    assert ledger.spent().usage.num_calls == 1


def test_a_larger_budget_allows_more_calls() -> None:
    ledger = Ledger(Budget(tokens=60))
    take(ledger, 50)
    with pytest.raises(BudgetExceededError):
        take(ledger, 50)
    ledger.budget = Budget(tokens=100)
    take(ledger, 50)
    assert ledger.spent().usage.prompt_tokens == 100


def test_unknown_attempts_count_against_the_budget() -> None:
    async def main() -> None:
        one = booking(ledger)
        await one.reserve(80, 0)
        one.unknown("cut")
        await one.reserve(80, 0)

    ledger = Ledger(Budget(tokens=100))
    with pytest.raises(BudgetExceededError, match="leaves 20"):
        asyncio.run(main())


def test_a_call_waits_for_others_that_may_use_less_than_they_reserved() -> None:
    async def main() -> None:
        first, second = booking(ledger), booking(ledger)
        await first.reserve(90, 0)
        waiting = asyncio.create_task(second.reserve(50, 0))
        await asyncio.sleep(0)
        assert not waiting.done()
        first.whole(Completion(text="", usage=Usage(prompt_tokens=10)))
        await waiting
        second.whole(Completion(text="", usage=Usage(prompt_tokens=50)))

    ledger = Ledger(Budget(tokens=100))
    asyncio.run(main())
    assert ledger.spent().usage.prompt_tokens == 60


def test_a_call_that_can_never_fit_does_not_wait() -> None:
    async def main() -> None:
        await booking(ledger).reserve(90, 0)
        await booking(ledger).reserve(101, 0)

    ledger = Ledger(Budget(tokens=100))
    with pytest.raises(BudgetExceededError):
        asyncio.run(main())


@given(
    budget=st.integers(0, 500),
    calls=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.booleans()), max_size=30),
)
def test_the_budget_is_never_exceeded_in_any_order_of_calls(budget: int, calls: list[tuple[int, int, bool]]) -> None:
    async def one(bound: int, share: int, lost: bool) -> None:
        mine = booking(ledger)
        try:
            await mine.reserve(bound, 0)
        except BudgetExceededError:
            return
        await asyncio.sleep(0)
        if lost:
            mine.unknown("cut")
        else:
            mine.whole(Completion(text="", usage=Usage(prompt_tokens=bound * share // 100)))

    async def main() -> None:
        async with asyncio.timeout(10):
            await asyncio.gather(*(one(*call) for call in calls))

    ledger = Ledger(Budget(tokens=budget))
    asyncio.run(main())
    assert ledger.spent().max_tokens <= budget


def test_a_budget_in_tokens_needs_a_limit_for_each_reply_and_one_in_money_needs_prices() -> None:
    async def reserve(ledger: Ledger, completion: int | None) -> None:
        await booking(ledger).reserve(10, completion)

    with pytest.raises(ConfigError, match=r"needs a token limit for each reply, got nothing. Set sampling="):
        asyncio.run(reserve(Ledger(Budget(tokens=100)), None))
    with pytest.raises(ConfigError, match=r"needs the prices of m, got nothing. Add them: client="):
        asyncio.run(reserve(Ledger(Budget(cost=1.0)), 10))
    asyncio.run(reserve(Ledger(Budget(calls=1)), None))


def test_attempts_of_an_earlier_run_count_and_reserved_ones_are_unknown() -> None:
    log: list[Attempt] = []
    first = Ledger()
    first.on_attempt = log.append
    take(first, 30, bound=40)
    reserved = log[0].model_copy(update={"number": 1})
    second = Ledger(Budget(tokens=100))
    second.load([*log, reserved])
    assert (second.spent().usage.prompt_tokens, second.spent().unknown_tokens) == (30, 40)
    assert second.unknown[0].reason == "the process died during the call"
    second.on_attempt = log.append
    take(second, 30)
    assert log[-1].number == 2
    with pytest.raises(BudgetExceededError):
        take(second, 1)


def test_attempt_numbers_continue_above_the_highest_of_a_log_with_gaps() -> None:
    attempt = Attempt(number=2, role="actor", purpose="learning", meta_step=0, outcome="whole")
    ledger, logged = Ledger(), list[Attempt]()
    ledger.load([attempt.model_copy(update={"number": number}) for number in (7, 2)])
    ledger.on_attempt = logged.append
    take(ledger, 1)
    take(ledger, 1)
    assert [item.number for item in logged] == [8, 8, 9, 9]


def test_episodes_are_counted_and_shown_by_repr() -> None:
    ledger = Ledger()
    ledger.add(make_trajectory(usage=Usage(prompt_tokens=5, num_calls=1)))
    ledger.add(make_trajectory(score=None))
    assert (ledger.num_episodes, ledger.num_failed, ledger.usage.prompt_tokens) == (2, 1, 5)
    assert repr(ledger).startswith("Ledger(num_episodes=2, num_steps=0, num_failed=1, calls=1, tokens=5")
