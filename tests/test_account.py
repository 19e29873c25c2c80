"""An account: what one method caused, inside the run's ledger; both budgets hold, and a resumed run counts alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from metagym.budget import Account, Attempt, Budget, Charge, Ledger, Outlay, Prices
from metagym.errors import BudgetExceededError
from metagym.types import Usage
from tests.conftest import make_trajectory

PRICES = Prices(prompt=1_000.0, completion=1_000.0)


def call(ledger: Ledger, tokens: int = 10, *, bound: int | None = None, end: str = "whole", **fields: Any) -> None:
    async def main() -> None:
        with ledger.open():
            charge = Charge("actor", **{"model": "m", "prices": PRICES, "fallback": Ledger(), **fields})
            if end == "replayed":
                charge.replayed(Usage(prompt_tokens=tokens))
                return
            await charge.reserve(tokens if bound is None else bound, 0)
            if end == "whole":
                charge.whole(Usage(prompt_tokens=tokens))
            else:
                getattr(charge, end)("for the test")

    asyncio.run(main())


def test_what_an_account_takes_stands_in_both_books() -> None:
    run = Ledger()
    first, second = Account(within=run), Account(within=run)
    call(first, 10)
    call(second, 5)
    first.begin_episodes(3)
    first.add(make_trajectory())
    assert first.outlay == Outlay(episodes=3, calls=1, tokens=10, cost=0.01)
    assert second.outlay == Outlay(calls=1, tokens=5, cost=0.005)
    assert run.outlay == Outlay(episodes=3, calls=2, tokens=15, cost=0.015)
    assert (first.num_episodes, second.num_episodes, run.num_episodes) == (1, 0, 1)


def test_each_attempt_has_one_number_in_the_runs_log() -> None:
    run, logged = Ledger(), []
    run.on_attempt = logged.append
    for account in (Account(within=run), Account(within=run)):
        call(account)
        call(account)
    assert [(item.number, item.outcome) for item in logged] == [
        (number, outcome) for number in range(4) for outcome in ("reserved", "whole")
    ]


@pytest.mark.parametrize("limits", [{"tokens": 15}, {"calls": 1}, {"cost": 0.015}])
def test_both_budgets_hold_and_the_error_says_whose_it_was(limits: dict[str, Any]) -> None:
    account = Account(Budget(**limits), within=Ledger())
    call(account)
    with pytest.raises(BudgetExceededError) as raised:
        call(account)
    assert raised.value.ledger is account
    assert account.within.outlay == account.outlay

    run = Ledger(Budget(**limits))
    account = Account(within=run)
    call(account)
    with pytest.raises(BudgetExceededError) as raised:
        call(account)
    assert raised.value.ledger is run
    run.budget = Budget()
    call(account)  # what was held back for the refused attempt was given back
    assert account.outlay == run.outlay


def test_episodes_are_refused_in_both_books_or_counted_in_both() -> None:
    run = Ledger(Budget(episodes=5))
    account = Account(Budget(episodes=4), within=run)
    with pytest.raises(BudgetExceededError, match="The budget of 4 episodes leaves 4, and the next batch takes 5"):
        account.begin_episodes(5)
    Account(within=run).begin_episodes(3)
    with pytest.raises(BudgetExceededError, match="The budget of 5 episodes leaves 2"):
        account.begin_episodes(4)
    assert (account.outlay.episodes, run.outlay.episodes) == (0, 3)
    account.begin_episodes(2)
    account.give_back_episodes(1)
    assert (account.outlay.episodes, run.outlay.episodes) == (1, 4)


def test_what_comes_from_the_record_counts_as_if_it_were_paid_now_but_not_in_the_run() -> None:
    fresh, again = Account(within=Ledger()), Account(within=Ledger())
    for _ in range(3):
        call(fresh, 10)
    call(again, 10, end="replayed")
    episode = make_trajectory(usage=Usage(prompt_tokens=20, num_calls=2))
    again.recall(episode, PRICES)
    again.recall(make_trajectory(), PRICES)  # without calls
    assert again.outlay == fresh.outlay
    assert again.spent(role="actor").usage == fresh.spent(role="actor").usage
    assert again.within.outlay == Outlay()
    assert again.within.spent().num_replayed == 1


@pytest.mark.parametrize("limits", [{"tokens": 25}, {"calls": 2}, {"cost": 0.025}])
def test_not_even_the_record_passes_a_budget(limits: dict[str, Any]) -> None:
    account = Account(Budget(**limits), within=Ledger())
    call(account, 10, end="replayed")
    call(account, 10, end="replayed")
    with pytest.raises(BudgetExceededError, match="does not cover what is asked for again"):
        call(account, 10, end="replayed")
    assert account.outlay == Outlay(calls=2, tokens=20, cost=0.02)


@pytest.mark.parametrize("end", ["unknown", "refused"])
def test_what_a_servers_failure_took_is_the_runs_alone(end: str) -> None:
    account = Account(Budget(tokens=100), within=Ledger())
    call(account, 60, end=end)
    assert account.outlay == Outlay()
    assert account.within.outlay.tokens == (60 if end == "unknown" else 0)
    call(account, 60)  # its room was given back


def test_what_was_played_on_another_machine_stands_in_both_books() -> None:
    away, run = Ledger(), Ledger()
    settled: list[Attempt] = []
    away.on_attempt = settled.append
    call(away, 10)
    call(away, 60, end="unknown")
    account = Account(Budget(episodes=5), within=run)
    account.adopt(item for item in settled if item.outcome != "reserved")
    assert account.outlay == Outlay(calls=1, tokens=10, cost=0.01)
    assert (run.outlay.calls, run.outlay.tokens) == (2, 70)


@pytest.mark.parametrize("limits", [{"tokens": 1}, {"calls": 1}, {"cost": 1.0}])
def test_a_budget_of_either_book_limits_calls_and_one_in_episodes_does_not(limits: dict[str, Any]) -> None:
    assert not Account(Budget(episodes=1), within=Ledger(Budget(episodes=1))).limits_calls
    assert Account(Budget(**limits), within=Ledger()).limits_calls
    assert Account(within=Ledger(Budget(**limits))).limits_calls
