"""The ledger: what the play has taken so far. Times and costs live here, never in a record.

Whose ledger a model call goes to follows from who is running: `with ledger.open():` puts every call inside
on its account, through tasks and threads that begin there, whatever model object makes it. A meta-environment
opens its own ledger while it plays, and `optimize` while it reflects.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar

from metagym.budget.records import Attempt, Budget, Outlay, Prices, Purpose, Spending
from metagym.errors import BudgetExceededError
from metagym.types import Trajectory, Usage

_LEDGER: ContextVar[Ledger | None] = ContextVar("metagym_ledger", default=None)
_PURPOSE: ContextVar[Purpose] = ContextVar("metagym_purpose", default="learning")

Key = tuple[str, Purpose, int]
"""(role, purpose, meta-step)"""


@contextlib.contextmanager
def spending_on(purpose: Purpose) -> Iterator[None]:
    """Book the model calls inside as `learning` (the default elsewhere) or `measurement`."""
    token = _PURPOSE.set(purpose)
    try:
        yield
    finally:
        _PURPOSE.reset(token)


def current_purpose() -> Purpose:
    """Return what model calls are for at this point."""
    return _PURPOSE.get()


class Ledger:
    """Counts episodes, steps and time played, and every attempt at a model call; keeps the budget.

    `spent()` sums the attempts, by role, purpose and meta-step where asked. Before each attempt an upper
    bound of what it can take is reserved, and afterwards settled, so that `budget` is never passed; where it
    leaves no room, `BudgetExceededError` is raised.

    >>> ledger = Ledger(Budget(calls=100))
    >>> ledger.spent(role="actor").usage.num_calls
    0
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.num_episodes = 0
        self.num_steps = 0
        self.num_failed = 0
        self.usage = Usage()
        """Tokens and calls in the records of the finished episodes; `spent()` is what was really taken."""
        self.wall_time_s = 0.0
        self.unknown: list[Attempt] = []
        """The attempts that were cut on the way, with an upper bound of what they took."""
        self.on_attempt: Callable[[Attempt], None] | None = None
        """Called with each attempt, as reserved and with its outcome; a run folder keeps them."""
        self._sums: dict[Key, Spending] = {}
        self._total = Spending()
        self._held: dict[int, Attempt] = {}
        self._num_attempts = 0
        self._num_begun = 0
        self._num_measured, self._measured_from = 0, 0.0
        self._lock = threading.Lock()
        self._waiters: list[asyncio.Future[None]] = []

    # What was played --------------------------------------------------------------------------------

    def begin_episodes(self, num: int) -> None:
        """Count episodes that are about to be played, or taken from the record of an earlier run.

        Raises:
            BudgetExceededError: the budget does not cover all of them; none is counted.
        """
        with self._lock:
            left = None if self.budget.episodes is None else self.budget.episodes - self._num_begun
            if left is not None and num > left:
                limit = f"The budget of {self.budget.episodes:,} episodes"
                raise self._refusal(f"{limit} leaves {max(0, left):,}, and the next batch takes {num:,}")
            self._num_begun += num

    def give_back_episodes(self, num: int) -> None:
        """Take back episodes that were begun and not finished."""
        with self._lock:
            self._num_begun -= num

    @property
    def limits_calls(self) -> bool:
        """Whether a budget holds for model calls, so that each must be asked for before it is made."""
        return not self.budget.model_copy(update={"episodes": None}).is_unlimited

    @property
    def outlay(self) -> Outlay:
        """What has been taken so far; episodes under way are counted."""
        total = self._total
        return Outlay(episodes=self._num_begun, calls=total.max_calls, tokens=total.max_tokens, cost=total.max_cost)

    def recall(self, trajectory: Trajectory, prices: Prices | None) -> None:
        """Take note of an episode that comes from the record of an earlier run: its calls are booked already."""

    def add(self, trajectory: Trajectory) -> None:
        """Count a finished episode."""
        self.num_episodes += 1
        self.num_steps += len(trajectory.steps)
        self.num_failed += trajectory.score is None
        self.usage += trajectory.usage

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Count the time that the body takes; bodies that run at the same time count once."""
        with self._lock:
            self._num_measured += 1
            if self._num_measured == 1:
                self._measured_from = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._num_measured -= 1
                if self._num_measured == 0:
                    self.wall_time_s += time.perf_counter() - self._measured_from

    # What model calls took --------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(self) -> Iterator[Ledger]:
        """Put every model call inside on this ledger's account."""
        token = _LEDGER.set(self)
        try:
            yield self
        finally:
            _LEDGER.reset(token)

    def spent(
        self, *, role: str | None = None, purpose: Purpose | None = None, meta_step: int | None = None
    ) -> Spending:
        """Return the sum of the attempts with that role, purpose and meta-step; None means all."""
        wanted = (role, purpose, meta_step)
        if wanted == (None, None, None):
            return self._total
        chosen = (
            spending
            for key, spending in self._sums.items()
            if all(want is None or want == have for want, have in zip(wanted, key, strict=True))
        )
        return sum(chosen, Spending())

    def rows(self) -> dict[Key, Spending]:
        """Return the sums by (role, purpose, meta-step), sorted."""
        return dict(sorted(self._sums.items()))

    def load(self, attempts: Iterable[Attempt]) -> None:
        """Take over the attempts of an earlier run; one that was under way when it died counts as unknown."""
        last = {attempt.number: attempt for attempt in attempts}
        for attempt in last.values():
            self.book(attempt.lost() if attempt.outcome == "reserved" else attempt)
        self._num_attempts = max(last, default=-1) + 1

    async def reserve(self, attempt: Attempt) -> Attempt:
        """Hold back what the attempt may take, and number it; wait for others to settle where that may make room.

        Raises:
            BudgetExceededError: the budget leaves no room for it.
        """
        while True:
            with self._lock:
                problem = self._problem(attempt, held=True)
                if not problem:
                    attempt = attempt.model_copy(update={"number": self._num_attempts})
                    self._num_attempts += 1
                    self._held[attempt.number] = attempt
                    break
                # What others hold back may turn out too much; without them it is certain.
                if not self._held or (certain := self._problem(attempt, held=False)):
                    raise self._refusal(
                        f"{certain if self._held else problem}, and the next call ({attempt.role}, meta-step "
                        f"{attempt.meta_step}) may take up to {attempt.max_tokens} tokens"
                    )
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
            await waiter
        if self.on_attempt is not None:
            self.on_attempt(attempt)
        return attempt

    def settle(self, attempt: Attempt) -> None:
        """Book the outcome of an attempt, and give back what it did not take."""
        self.book(attempt)
        self.release(attempt.number)
        if self.on_attempt is not None:
            self.on_attempt(attempt)

    def release(self, number: int) -> None:
        """Give back what is held back for the attempt of that number, and wake those that wait for room."""
        with self._lock:
            self._held.pop(number, None)
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits any more
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)

    def book(self, attempt: Attempt) -> None:
        """Add an attempt to the sums; nothing had to be reserved for it."""
        with self._lock:
            self._book(attempt)

    def _refusal(self, problem: str) -> BudgetExceededError:
        error = BudgetExceededError(
            f"{problem}. What was played is kept: go on with a larger budget (metagym resume RUN --max-tokens N, "
            "--max-calls N, --max-cost X)."
        )
        error.ledger = self
        return error

    def adopt(self, attempts: Iterable[Attempt]) -> None:
        """Book attempts that were settled on another ledger (on another machine), under numbers of this one."""
        for attempt in attempts:
            if attempt.outcome == "replayed":
                self.book(attempt)
                continue
            with self._lock:
                attempt = attempt.model_copy(update={"number": self._num_attempts})
                self._num_attempts += 1
                self._book(attempt)
            if self.on_attempt is not None:
                self.on_attempt(attempt)

    def _book(self, attempt: Attempt) -> None:
        key: Key = (attempt.role, attempt.purpose, attempt.meta_step)
        self._sums[key] = self._sums.get(key, Spending()).plus(attempt)
        self._total = self._total.plus(attempt)
        if attempt.outcome == "unknown":
            self.unknown.append(attempt)

    def _problem(self, attempt: Attempt, *, held: bool) -> str:
        """Say which budget has no room for the attempt; nothing where all have."""
        total, budget = self._total, self.budget
        others = list(self._held.values()) if held else []
        if budget.tokens is not None:
            left = budget.tokens - total.max_tokens - sum(other.max_tokens for other in others)
            if attempt.max_tokens > left:
                return f"The budget of {budget.tokens:,} tokens leaves {max(0, left):,}"
        if budget.calls is not None and total.max_calls + len(others) >= budget.calls:
            return f"The budget of {budget.calls:,} calls is spent"
        if budget.cost is not None:
            money = budget.cost - total.max_cost - sum(other.cost or 0.0 for other in others)
            if (attempt.cost or 0.0) > money:
                return f"The budget of {budget.cost:g} (money) leaves {max(0.0, money):.4g}"
        return ""

    def __repr__(self) -> str:
        total = self._total
        return (
            f"Ledger(num_episodes={self.num_episodes}, num_steps={self.num_steps}, num_failed={self.num_failed}, "
            f"calls={max(self.usage.num_calls, total.usage.num_calls)}, "
            f"tokens={max(self.usage.prompt_tokens + self.usage.completion_tokens, total.max_tokens)}, "
            f"unknown={total.num_unknown}, cost={total.cost:.4g}, wall_time_s={self.wall_time_s:.2f})"
        )


def open_ledger() -> Ledger | None:
    """Return the ledger that is open at this point."""
    return _LEDGER.get()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
