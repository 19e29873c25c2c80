"""An account within a ledger: what one method caused while it learned, on which budgets are equalised."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from metagym.budget.ledger import Ledger
from metagym.budget.records import Attempt, Budget, Prices
from metagym.types import Trajectory


class Account(Ledger):
    """What one method caused while it learned: its own books, inside those of the run (`within`).

    It counts every reply that was delivered whole, and every episode that was asked for, whether it is paid now
    or stands in the record of an earlier process: a run that was killed and gone on with stops where an
    uninterrupted one stops. What a server's failures took is on the run's ledger alone, for no method causes
    it. Both budgets hold: `error.ledger` says which one a BudgetExceededError is about.

    >>> run = Ledger()
    >>> account = Account(Budget(episodes=10), within=run)
    >>> account.begin_episodes(4)
    >>> account.outlay.episodes, run.outlay.episodes
    (4, 4)
    """

    def __init__(self, budget: Budget | None = None, *, within: Ledger) -> None:
        super().__init__(budget)
        self.within = within
        self._number_within: dict[int, int] = {}

    def add(self, trajectory: Trajectory) -> None:
        """Count a finished episode."""
        super().add(trajectory)
        self.within.add(trajectory)

    def begin_episodes(self, num: int) -> None:
        """Count episodes that are about to be played, in both books."""
        super().begin_episodes(num)
        try:
            self.within.begin_episodes(num)
        except BaseException:
            super().give_back_episodes(num)
            raise

    def give_back_episodes(self, num: int) -> None:
        """Take back episodes that were begun and not finished."""
        super().give_back_episodes(num)
        self.within.give_back_episodes(num)

    def recall(self, trajectory: Trajectory, prices: Prices | None) -> None:
        """Count the calls of an episode that comes from the record as if they were made now.

        Raises:
            BudgetExceededError: the budget does not cover them.
        """
        episode, usage = trajectory.episode, trajectory.usage
        if usage.num_calls:
            attempt = Attempt(
                number=-1,
                role="actor",
                purpose="learning",
                meta_step=episode.meta_step,
                arm=episode.arm,
                outcome="whole",
                usage=usage,
                cost=None if prices is None else prices.of(usage),
            )
            self._count(attempt)

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Count the time that the body takes, in both books."""
        with super().measure(), self.within.measure():
            yield

    async def reserve(self, attempt: Attempt) -> Attempt:
        """Hold back what the attempt may take, in both books."""
        held = await super().reserve(attempt)
        try:
            within = await self.within.reserve(attempt)
        except BaseException:
            self.release(held.number)
            raise
        self._number_within[held.number] = within.number
        return held

    def settle(self, attempt: Attempt) -> None:
        """Book the outcome: here what was delivered whole, in the wider ledger whatever became of it."""
        self.within.settle(attempt.model_copy(update={"number": self._number_within.pop(attempt.number)}))
        if attempt.outcome == "whole":
            super().book(attempt)
        self.release(attempt.number)

    def book(self, attempt: Attempt) -> None:
        """Book a reply from a cassette as if it had been paid now; the wider ledger knows that it was not.

        Raises:
            BudgetExceededError: the budget does not cover it.
        """
        self.within.book(attempt)
        self._count(_as_paid(attempt))

    @property
    def limits_calls(self) -> bool:
        """Whether a budget holds for model calls, here or in the wider ledger."""
        return super().limits_calls or self.within.limits_calls

    def adopt(self, attempts: Iterable[Attempt]) -> None:
        """Book attempts that were settled on another machine, in both books."""
        settled = tuple(attempts)
        self.within.adopt(settled)
        for attempt in settled:
            if attempt.outcome in ("whole", "replayed"):
                self._count(_as_paid(attempt))

    def _count(self, attempt: Attempt) -> None:
        """Add what an earlier process paid, where there is room: it was there then, unless it is asked for twice."""
        usage = attempt.usage
        tokens, calls = usage.prompt_tokens + usage.completion_tokens, usage.num_calls
        with self._lock:
            now, limit = self.outlay, self.budget
            for name, left, wanted in (
                ("tokens", limit.tokens, now.tokens + tokens),
                ("calls", limit.calls, now.calls + calls),
                ("cost", limit.cost, now.cost + (attempt.cost or 0.0)),
            ):
                if left is not None and wanted > left:
                    raise self._refusal(f"The budget of {left:,} ({name}) does not cover what is asked for again")
            self._book(attempt)


def _as_paid(attempt: Attempt) -> Attempt:
    """Return the one call as if it had been paid now."""
    usage = attempt.usage.model_copy(update={"num_calls": 1})
    return attempt.model_copy(update={"outcome": "whole", "usage": usage})
