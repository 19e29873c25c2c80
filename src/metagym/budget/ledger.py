"""The ledger: the use of play and model calls so far. Times and costs are here, never in a record.

`with ledger.open():` books every model call inside on that ledger, also in the tasks that start there, whichever
model object makes the call. A meta-environment opens its ledger while it plays, and `optimize` while it reflects.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path

from metagym.budget.records import Attempt, Budget, BudgetUse, Prices, Purpose, Spending
from metagym.errors import BudgetExceededError
from metagym.types import Trajectory, Usage

_LEDGER: ContextVar[Ledger | None] = ContextVar("metagym_ledger", default=None)
open_ledger: Callable[[], Ledger | None] = _LEDGER.get
"""Returns the ledger that is open at this point."""

SpendingKey = tuple[str, Purpose, int]
"""(role, purpose, meta-step)"""


class Ledger:
    """Counts episodes, steps and time played, books every attempt at a model call, and keeps the budget.

    An upper bound is reserved before each attempt and settled after it, so that `budget` is never exceeded: if
    there is no room, `BudgetExceededError` is raised.

    A ledger with a `parent` holds the books of one method within a run, on which budgets are equalised; it books
    in both. It counts each whole reply and each requested episode, also those that an earlier process paid for. So a
    resumed run stops at the same point as an uninterrupted one. Attempts
    that the server failed on are in the parent alone, because no method causes them. Both budgets hold;
    `error.ledger` is the ledger whose budget was exceeded.

    >>> run = Ledger()
    >>> method = Ledger(Budget(episodes=10), parent=run)
    >>> method.begin_episodes(4)
    >>> method.used.episodes, run.used.episodes
    (4, 4)
    """

    def __init__(self, budget: Budget | None = None, *, parent: Ledger | None = None) -> None:
        self.budget, self.parent = budget or Budget(), parent
        self.num_episodes = self.num_steps = self.num_failed = 0
        self.usage = Usage()
        """Tokens and calls in the records of the finished episodes; `spent()` is the real usage."""
        self.wall_time_s = 0.0
        self.unknown: list[Attempt] = []
        """Attempts that were cut off on the way, with an upper bound of their usage."""
        self.on_attempt: Callable[[Attempt], None] | None = None
        """Called with each attempt: when it is reserved, and with its outcome."""
        self._sums: dict[SpendingKey, Spending] = {}
        self._total = Spending()
        self._reserved: dict[int, Attempt] = {}
        self._numbers_in_parent: dict[int, int] = {}
        self._num_attempts = self._num_begun = self._num_timed = 0
        self._timed_from = 0.0
        self._lock = threading.RLock()
        self._waiters: list[asyncio.Future[None]] = []
        self._paid: set[int] = set()
        """Hashes of the exchanges that this ledger paid for, if it has a parent."""
        self.loaded: set[Path] = set()
        """The logs whose attempts or episodes are booked here already."""

    def begin_episodes(self, num: int, *, num_recorded: int = 0) -> None:
        """Count episodes that will be played now, or taken from a record: all of them, or no episode.

        `num_recorded` of them are in the record. A ledger without a parent counted these before.
        """
        new = num - num_recorded if self.parent is None else num
        with self._lock:
            limit = self.budget.episodes
            if limit is not None and new and new > (left := limit - self._num_begun):
                problem = f"The budget of {limit:,} episodes leaves {max(0, left):,}, and the next batch takes {new:,}"
                raise self._refusal(problem)
            if self.parent is not None:
                self.parent.begin_episodes(num, num_recorded=num_recorded)
            self._num_begun += new

    def give_back_episodes(self, num: int, *, num_recorded: int = 0) -> None:
        """Subtract episodes that were started and not finished; `num_recorded` as for `begin_episodes`."""
        with self._lock:
            self._num_begun -= num - num_recorded if self.parent is None else num
        if self.parent is not None:
            self.parent.give_back_episodes(num, num_recorded=num_recorded)

    def count_earlier_episodes(self, log: Path, num: int) -> None:
        """Count the finished episodes of a log that is continued; each log counts once."""
        if self.parent is not None:
            self.parent.count_earlier_episodes(log, num)
            return
        with self._lock:
            if log not in self.loaded:
                self.loaded.add(log)
                self._num_begun += num

    def add(self, trajectory: Trajectory) -> None:
        """Count a finished episode."""
        self.num_episodes += 1
        self.num_steps += len(trajectory.steps)
        self.num_failed += trajectory.score is None
        self.usage += trajectory.usage
        if self.parent is not None:
            self.parent.add(trajectory)

    def count_recorded(self, trajectory: Trajectory, prices: Prices | None) -> None:
        """Count the calls of an episode that comes from the record as if they were made now.

        A ledger without a parent does nothing: it booked these calls when they were made.
        """
        usage, episode = trajectory.usage, trajectory.episode
        if self.parent is not None and usage.num_calls:
            self.parent.count_recorded(trajectory, prices)
            cost = None if prices is None else prices.of(usage)
            about = {"meta_step": episode.meta_step, "arm": episode.arm, "usage": usage, "cost": cost}
            attempt = Attempt(number=-1, role="actor", purpose="learning", outcome="whole", **about)
            self._add_as_paid(attempt, num_calls=usage.num_calls)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time of the body to `wall_time_s`; bodies that run at the same time count once."""
        with contextlib.nullcontext() if self.parent is None else self.parent.timed():
            with self._lock:
                self._num_timed += 1
                if self._num_timed == 1:
                    self._timed_from = time.perf_counter()
            try:
                yield
            finally:
                with self._lock:
                    self._num_timed -= 1
                    if self._num_timed == 0:
                        self.wall_time_s += time.perf_counter() - self._timed_from

    @property
    def limited_units(self) -> set[str]:
        """The units (`tokens`, `calls`, `cost`, `episodes`) that a budget limits, here or in the parent."""
        own = {name for name, limit in dict(self.budget).items() if limit is not None}
        return own if self.parent is None else own | self.parent.limited_units

    @property
    def used(self) -> BudgetUse:
        """The usage so far; episodes under way are counted."""
        total = self._total
        return BudgetUse(episodes=self._num_begun, calls=total.max_calls, tokens=total.max_tokens, cost=total.max_cost)

    def spent(
        self, *, role: str | None = None, purpose: Purpose | None = None, meta_step: int | None = None
    ) -> Spending:
        """Return the sum of the attempts with that role, purpose and meta-step; None means all."""
        wanted = (role, purpose, meta_step)
        if wanted == (None, None, None):
            return self._total
        total = Spending()
        for key, spending in self._sums.items():
            if all(want in (None, have) for want, have in zip(wanted, key, strict=True)):
                total += spending
        return total

    def rows(self) -> dict[SpendingKey, Spending]:
        """Return the sums by (role, purpose, meta-step), sorted."""
        return dict(sorted(self._sums.items()))

    @contextlib.contextmanager
    def open(self) -> Iterator[Ledger]:
        """Book every model call inside on this ledger."""
        token = _LEDGER.set(self)
        try:
            yield self
        finally:
            _LEDGER.reset(token)

    def load(self, attempts: Iterable[Attempt]) -> None:
        """Book the attempts of an earlier run; one that was under way when the process died counts as unknown."""
        last = {attempt.number: attempt for attempt in attempts}
        for attempt in last.values():
            self._add(attempt.lost() if attempt.outcome == "reserved" else attempt)
        self._num_attempts = max(self._num_attempts, max(last, default=-1) + 1)

    async def reserve(self, attempt: Attempt) -> Attempt:
        """Reserve the most that the attempt may use, and number it; wait for others to settle if that may make room."""
        while True:
            with self._lock:
                problem = self._find_shortage(attempt, self._reserved.values())
                if not problem:
                    attempt = self._numbered(attempt)
                    self._reserved[attempt.number] = attempt
                    break
                # Others may use less than they reserved. If there is no room even without them, waiting is useless.
                if not self._reserved or (certain := self._find_shortage(attempt, ())):
                    raise self._refusal(
                        f"{certain if self._reserved else problem}, and the next call ({attempt.role}, meta-step "
                        f"{attempt.meta_step}) may take up to {attempt.max_tokens} tokens"
                    )
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
            await waiter
        if self.parent is not None:
            try:
                self._numbers_in_parent[attempt.number] = (await self.parent.reserve(attempt)).number
            except BaseException:
                self._release(attempt.number)
                raise
        self._report(attempt)
        return attempt

    def settle(self, attempt: Attempt) -> None:
        """Book the outcome of a reserved attempt, and release the rest of its reservation."""
        if self.parent is not None:
            number = self._numbers_in_parent.pop(attempt.number)
            self.parent.settle(attempt.model_copy(update={"number": number}))
        if self.parent is None or attempt.outcome == "whole":
            self._add(attempt)
        self._release(attempt.number)
        self._report(attempt)

    def book_replayed(self, attempt: Attempt, exchange: int) -> None:
        """Book a reply from a cassette: no cost in the run, but as if paid now in a ledger with a parent.

        The `exchange` is the hash of the call and its messages. If it was paid for here before (the episode failed, and
        was started again), it costs nothing.
        """
        if self.parent is None:
            self._add(attempt)
        else:
            self.parent.book_replayed(attempt, exchange)
            if exchange not in self._paid:
                self._add_as_paid(attempt)
                self._paid.add(exchange)
        self._report(attempt)

    def note_paid(self, exchange: int) -> None:
        """Remember that this exchange was paid for; see `book_replayed`."""
        if self.parent is not None:
            self.parent.note_paid(exchange)
            self._paid.add(exchange)

    def adopt(self, attempts: Iterable[Attempt]) -> None:
        """Book attempts that were settled on another machine, under numbers of this ledger."""
        settled = tuple(attempts)
        if self.parent is not None:
            self.parent.adopt(settled)
            for attempt in settled:
                if attempt.outcome in ("whole", "replayed"):
                    self._add_as_paid(attempt)
            return
        for attempt in settled:
            with self._lock:
                booked = attempt if attempt.outcome == "replayed" else self._numbered(attempt)
                self._add(booked)
            self._report(booked)

    def _numbered(self, attempt: Attempt) -> Attempt:
        attempt = attempt.model_copy(update={"number": self._num_attempts})
        self._num_attempts += 1
        return attempt

    def _report(self, attempt: Attempt) -> None:
        if self.on_attempt is not None:
            self.on_attempt(attempt)

    def _release(self, number: int) -> None:
        """Release the reservation of the attempt of that number, and wake the calls that wait for room."""
        with self._lock:
            self._reserved.pop(number, None)
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nothing waits any more
                waiter.get_loop().call_soon_threadsafe(lambda own: None if own.done() else own.set_result(None), waiter)

    def _add(self, attempt: Attempt) -> None:
        key: SpendingKey = (attempt.role, attempt.purpose, attempt.meta_step)
        with self._lock:
            self._sums[key] = add_attempt(self._sums.get(key, Spending()), attempt)
            self._total = add_attempt(self._total, attempt)
            if attempt.outcome == "unknown":
                self.unknown.append(attempt)

    def _add_as_paid(self, attempt: Attempt, num_calls: int = 1) -> None:
        """Add a payment of an earlier process, if there is room. There was room then, unless it is asked for twice."""
        usage = attempt.usage.model_copy(update={"num_calls": num_calls})
        tokens = usage.prompt_tokens + usage.completion_tokens
        more = {"tokens": tokens, "calls": num_calls, "cost": attempt.cost or 0.0}
        with self._lock:
            used, limits = dict(self.used), dict(self.budget)
            for name, amount in more.items():
                if limits[name] is not None and used[name] + amount > limits[name]:
                    problem = f"The budget of {limits[name]:,} ({name}) does not cover what is asked for again"
                    raise self._refusal(problem)
            self._add(attempt.model_copy(update={"outcome": "whole", "usage": usage}))

    def _find_shortage(self, attempt: Attempt, reserved: Collection[Attempt]) -> str:
        """Return the budget that is too small for the attempt and the `reserved` ones; empty if all suffice."""
        total, budget = self._total, self.budget
        if budget.tokens is not None:
            left = budget.tokens - total.max_tokens - sum(other.max_tokens for other in reserved)
            if attempt.max_tokens > left:
                return f"The budget of {budget.tokens:,} tokens leaves {max(0, left):,}"
        if budget.calls is not None and total.max_calls + len(reserved) >= budget.calls:
            return f"The budget of {budget.calls:,} calls is spent"
        if budget.cost is not None:
            money = budget.cost - total.max_cost - sum(other.cost or 0.0 for other in reserved)
            if (attempt.cost or 0.0) > money:
                return f"The budget of {budget.cost:g} (money) leaves {max(0.0, money):.4g}"
        return ""

    def _refusal(self, problem: str) -> BudgetExceededError:
        error = BudgetExceededError(
            f"{problem}. Finished episodes are kept if there is a run folder. Continue with a larger budget."
        )
        error.ledger = self
        return error

    def __repr__(self) -> str:
        usage, total = self.usage, self._total
        return (
            f"Ledger(num_episodes={self.num_episodes}, num_steps={self.num_steps}, num_failed={self.num_failed}, "
            f"calls={max(usage.num_calls, total.usage.num_calls)}, "
            f"tokens={max(usage.prompt_tokens + usage.completion_tokens, total.max_tokens)}, "
            f"unknown={total.num_unknown}, cost={total.cost:.4g}, wall_time_s={self.wall_time_s:.2f})"
        )


def add_attempt(total: Spending, attempt: Attempt) -> Spending:
    """Return the sum with one more attempt; an attempt under way counts as unknown."""
    whole, unknown = attempt.outcome == "whole", attempt.outcome in ("unknown", "reserved")
    cost = attempt.cost or 0.0
    # It runs once or twice per model call: the parts are valid already, so they are not validated again.
    return Spending.model_construct(
        usage=total.usage + attempt.usage if whole else total.usage,
        num_retries=total.num_retries + (attempt.retry > 0),
        num_refused=total.num_refused + (attempt.outcome == "refused"),
        num_unknown=total.num_unknown + unknown,
        num_replayed=total.num_replayed + (attempt.outcome == "replayed"),
        unknown_tokens=total.unknown_tokens + unknown * attempt.max_tokens,
        cost=total.cost + whole * cost,
        unknown_cost=total.unknown_cost + unknown * cost,
        waiting_s=total.waiting_s + attempt.waiting_s,
        working_s=total.working_s + attempt.working_s,
    )
