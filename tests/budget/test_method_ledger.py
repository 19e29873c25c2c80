"""The ledger of a method inside a run's: both budgets hold, and a resumed run counts as an uninterrupted one."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from metagym.budget import Attempt, Budget, BudgetUse, CallLog, Ledger, Prices
from metagym.errors import BudgetExceededError, ConfigError
from metagym.models import Call, Cassette, ask
from metagym.models.asking import Booking
from metagym.testing import FakeChatModel
from metagym.types import Completion, Usage
from tests.conftest import make_trajectory

PRICES = Prices(prompt=1_000.0, completion=1_000.0)
EXCHANGES = itertools.count()


def call(ledger: Ledger, tokens: int = 10, *, bound: int | None = None, end: str = "whole") -> None:
    async def main() -> None:
        with ledger.open():
            booking = Booking(Call("actor"), model="m", prices=PRICES)
            if end == "replayed":
                booking.replayed(Usage(prompt_tokens=tokens), next(EXCHANGES))
                return
            await booking.reserve(tokens if bound is None else bound, 0)
            if end == "whole":
                booking.whole(Completion(text="", usage=Usage(prompt_tokens=tokens)))
            else:
                getattr(booking, end)("for the test")

    asyncio.run(main())


def test_a_method_is_booked_in_its_own_ledger_and_in_the_parent() -> None:
    run = Ledger()
    first, second = Ledger(parent=run), Ledger(parent=run)
    call(first, 10)
    call(second, 5)
    first.begin_episodes(3)
    first.add(make_trajectory())
    assert first.used == BudgetUse(episodes=3, calls=1, tokens=10, cost=0.01)
    assert second.used == BudgetUse(calls=1, tokens=5, cost=0.005)
    assert run.used == BudgetUse(episodes=3, calls=2, tokens=15, cost=0.015)
    assert (first.num_episodes, second.num_episodes, run.num_episodes) == (1, 0, 1)


def test_each_attempt_has_one_number_in_the_log_of_the_run() -> None:
    run, logged = Ledger(), []
    run.on_attempt = logged.append
    for ledger in (Ledger(parent=run), Ledger(parent=run)):
        call(ledger)
        call(ledger)
    assert [(item.number, item.outcome) for item in logged] == [
        (number, outcome) for number in range(4) for outcome in ("reserved", "whole")
    ]


@pytest.mark.parametrize("limits", [{"tokens": 15}, {"calls": 1}, {"cost": 0.015}])
def test_both_budgets_hold_and_the_error_names_the_ledger(limits: dict[str, Any]) -> None:
    ledger = Ledger(Budget(**limits), parent=Ledger())
    call(ledger)
    with pytest.raises(BudgetExceededError) as raised:
        call(ledger)
    assert raised.value.ledger is ledger
    assert ledger.parent is not None
    assert ledger.parent.used == ledger.used

    run = Ledger(Budget(**limits))
    ledger = Ledger(parent=run)
    call(ledger)
    with pytest.raises(BudgetExceededError) as raised:
        call(ledger)
    assert raised.value.ledger is run
    run.budget = Budget()
    call(ledger)  # the room reserved for the refused attempt was released
    assert ledger.used == run.used


def test_episodes_are_counted_in_both_ledgers_or_in_none() -> None:
    run = Ledger(Budget(episodes=5))
    ledger = Ledger(Budget(episodes=4), parent=run)
    with pytest.raises(BudgetExceededError, match="The budget of 4 episodes leaves 4, and the next batch takes 5"):
        ledger.begin_episodes(5)
    Ledger(parent=run).begin_episodes(3)
    with pytest.raises(BudgetExceededError, match="The budget of 5 episodes leaves 2"):
        ledger.begin_episodes(4)
    assert (ledger.used.episodes, run.used.episodes) == (0, 3)
    ledger.begin_episodes(2)
    ledger.give_back_episodes(1)
    assert (ledger.used.episodes, run.used.episodes) == (1, 4)


def test_recorded_calls_count_as_paid_for_the_method_but_not_for_the_run() -> None:
    fresh, again = Ledger(parent=Ledger()), Ledger(parent=Ledger())
    for _ in range(3):
        call(fresh, 10)
    call(again, 10, end="replayed")
    episode = make_trajectory(usage=Usage(prompt_tokens=20, num_calls=2))
    again.count_recorded(episode, PRICES)
    again.count_recorded(make_trajectory(), PRICES)  # without calls
    assert again.used == fresh.used
    assert again.spent(role="actor").usage == fresh.spent(role="actor").usage
    assert again.parent.used == BudgetUse()
    assert again.parent.spent().num_replayed == 1


@pytest.mark.parametrize("limits", [{"tokens": 25}, {"calls": 2}, {"cost": 0.025}])
def test_recorded_calls_never_exceed_a_budget(limits: dict[str, Any]) -> None:
    ledger = Ledger(Budget(**limits), parent=Ledger())
    call(ledger, 10, end="replayed")
    call(ledger, 10, end="replayed")
    with pytest.raises(BudgetExceededError, match="does not cover what is asked for again"):
        call(ledger, 10, end="replayed")
    assert ledger.used == BudgetUse(calls=2, tokens=20, cost=0.02)


@pytest.mark.parametrize("end", ["unknown", "refused"])
def test_attempts_that_the_server_failed_on_are_in_the_run_alone(end: str) -> None:
    ledger = Ledger(Budget(tokens=100), parent=Ledger())
    call(ledger, 60, end=end)
    assert ledger.used == BudgetUse()
    assert ledger.parent.used.tokens == (60 if end == "unknown" else 0)
    call(ledger, 60)  # its room was released


def test_attempts_from_another_machine_are_booked_in_both_ledgers() -> None:
    away, run = Ledger(), Ledger()
    settled: list[Attempt] = []
    away.on_attempt = settled.append
    call(away, 10)
    call(away, 60, end="unknown")
    call(away, 5, end="replayed")
    ledger = Ledger(Budget(episodes=5), parent=run)
    ledger.adopt(item for item in settled if item.outcome != "reserved")
    assert ledger.used == BudgetUse(calls=2, tokens=15, cost=0.015)
    assert (run.used.calls, run.used.tokens, run.spent().num_replayed) == (2, 70, 1)


@pytest.mark.parametrize("limits", [{"tokens": 1}, {"calls": 1}, {"cost": 1.0}])
def test_a_budget_of_either_ledger_limits_calls_and_one_in_episodes_does_not(limits: dict[str, Any]) -> None:
    assert Ledger(Budget(episodes=1), parent=Ledger(Budget(episodes=1))).limited_units == {"episodes"}
    assert Ledger(Budget(**limits), parent=Ledger()).limited_units == set(limits)
    assert Ledger(parent=Ledger(Budget(**limits))).limited_units == set(limits)


def test_a_budget_of_the_parent_needs_a_token_limit_and_prices_as_well() -> None:
    async def reserve(budget: Budget, completion: int | None) -> None:
        with Ledger(parent=Ledger(budget)).open():
            await Booking(Call("actor"), model="", prices=None).reserve(10, completion)

    with pytest.raises(ConfigError, match="needs a token limit for each reply, got nothing"):
        asyncio.run(reserve(Budget(tokens=100), None))
    with pytest.raises(ConfigError, match="needs the prices of the model, got nothing"):
        asyncio.run(reserve(Budget(cost=1.0), 10))


def test_recorded_calls_count_in_every_ledger_with_a_parent() -> None:
    run = Ledger()
    outer = Ledger(parent=run)
    inner = Ledger(parent=outer)
    inner.count_recorded(make_trajectory(usage=Usage(prompt_tokens=20, num_calls=2)), PRICES)
    assert inner.used == outer.used == BudgetUse(calls=2, tokens=20, cost=0.02)
    assert run.used == BudgetUse()


def test_a_replayed_reply_is_reported_but_not_in_the_log_of_calls(tmp_path: Path) -> None:
    run, log = Ledger(), CallLog(tmp_path / "calls.jsonl")
    run.on_attempt = log.write
    call(Ledger(parent=run), 10, end="replayed")
    assert list(log.read()) == []
    assert run.spent().num_replayed == 1


def test_a_method_does_not_pay_again_for_an_episode_that_is_started_again(tmp_path: Path) -> None:
    model, run = FakeChatModel(["ok"]), Ledger()
    method = Ledger(parent=run)

    async def play() -> None:
        for seed in range(3):
            await ask(model, [{"role": "user", "content": "A gate."}], Call("actor", seed=seed))

    for _ in range(2):  # a crash of the inner environment, and the same calls again
        with closing(Cassette(tmp_path / "replies.sqlite")) as cassette, cassette.open(), method.open():
            asyncio.run(play())
    assert (method.used.calls, run.used.calls, len(model.calls)) == (3, 3, 3)
    resumed = Ledger(parent=run)
    with closing(Cassette(tmp_path / "replies.sqlite")) as cassette, cassette.open(), resumed.open():
        asyncio.run(play())
        asyncio.run(play())
    assert (resumed.used.calls, run.used.calls) == (3, 3)
