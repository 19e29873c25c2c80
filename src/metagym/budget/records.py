"""What model calls cost, as data: prices, budgets, one attempt, and sums of attempts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from metagym.types import Record, Usage

Purpose = Literal["learning", "measurement"]
"""What a call is for: to find a better prompt, or to say how good one is."""

Outcome = Literal["whole", "refused", "unknown", "replayed", "reserved"]
"""What became of an attempt.

`whole`: the reply was delivered whole. `refused`: the server never took the request, or answered with an
error, so that nothing was paid. `unknown`: it was cut on the way, paid or not. `replayed`: it came from a
cassette, unpaid. `reserved`: it is under way, or the process died meanwhile.
"""


class Prices(Record):
    """What a model costs, in money per million tokens; the currency is yours."""

    prompt: float = Field(ge=0.0)
    completion: float = Field(ge=0.0)
    """Reasoning tokens count as completion."""
    cached: float | None = Field(default=None, ge=0.0)
    """For prompt tokens that the server took from its cache; None means the price of the others."""

    def of(self, usage: Usage) -> float:
        """Return the price of `usage`."""
        cached = self.prompt if self.cached is None else self.cached
        fresh_tokens = usage.prompt_tokens - usage.cached_tokens
        return (
            fresh_tokens * self.prompt + usage.cached_tokens * cached + usage.completion_tokens * self.completion
        ) / 1e6

    def at_most(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the highest price that so many tokens can have."""
        dearest = max(self.prompt, self.cached or 0.0)
        return (prompt_tokens * dearest + completion_tokens * self.completion) / 1e6


class Budget(Record):
    """What a run may take in all; None means without limit. It is never passed."""

    tokens: int | None = Field(default=None, ge=0)
    """Prompt and completion together."""
    calls: int | None = Field(default=None, ge=0)
    """Calls that were paid, or may have been."""
    cost: float | None = Field(default=None, ge=0.0)
    """Money, in the currency of the prices; every model then needs prices."""
    episodes: int | None = Field(default=None, ge=0)
    """Episodes; no batch is begun that it does not cover."""

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing is limited."""
        return all(value is None for value in dict(self).values())


class Outlay(Record):
    """What had been taken at one point, in all four units of a budget."""

    episodes: int = 0
    calls: int = 0
    tokens: int = 0
    cost: float = 0.0
    """Money; only calls with prices count."""


class Attempt(Record):
    """One request to a model server, and what became of it: a line of the ledger."""

    number: int
    """Names the attempt within its ledger."""
    role: str
    purpose: Purpose
    meta_step: int
    arm: str = ""
    model: str = ""
    retry: int = 0
    """How many attempts at the same call came before."""
    outcome: Outcome
    reason: str = ""
    """Why it was refused, or what is not known about it."""
    usage: Usage = Usage()
    """What the server counted; zero unless the reply was whole."""
    max_tokens: int = 0
    """An upper bound of what it can have taken; the budget holds it back until the outcome is known."""
    cost: float | None = None
    """In the currency of the prices; an upper bound where the outcome is unknown; None without prices."""
    waiting_s: float = 0.0
    """From the call (or the attempt before) to the request: pauses, limits, budget."""
    working_s: float = 0.0
    """From the request to its end."""

    def lost(self) -> Attempt:
        """Return the attempt, which was under way, as it stands when its process has died."""
        return self.model_copy(update={"outcome": "unknown", "reason": "the process died meanwhile"})


class Spending(Record):
    """A sum of attempts."""

    usage: Usage = Usage()
    """Tokens and calls of the replies that were delivered whole."""
    num_retries: int = 0
    num_refused: int = 0
    """Attempts that the server refused or never saw."""
    num_unknown: int = 0
    """Attempts that were cut on the way: their cost is unknown."""
    num_replayed: int = 0
    """Replies that came from a cassette, unpaid."""
    unknown_tokens: int = 0
    """At most so many tokens for the unknown ones."""
    cost: float = 0.0
    """Of the whole replies; only attempts with prices count."""
    unknown_cost: float = 0.0
    """At most so much for the unknown ones."""
    waiting_s: float = 0.0
    working_s: float = 0.0

    @property
    def max_tokens(self) -> int:
        """Tokens that were, or may have been, taken."""
        return self.usage.prompt_tokens + self.usage.completion_tokens + self.unknown_tokens

    @property
    def max_calls(self) -> int:
        """Calls that were, or may have been, paid."""
        return self.usage.num_calls + self.num_unknown

    @property
    def max_cost(self) -> float:
        """Money that was, or may have been, spent."""
        return self.cost + self.unknown_cost

    def plus(self, attempt: Attempt) -> Spending:
        """Return the sum with one attempt more; an attempt under way counts as unknown."""
        whole, unknown = attempt.outcome == "whole", attempt.outcome in ("unknown", "reserved")
        cost = attempt.cost or 0.0
        # Once or twice a model call: what comes from validated parts is not validated again.
        return Spending.model_construct(
            usage=self.usage + attempt.usage if whole else self.usage,
            num_retries=self.num_retries + (attempt.retry > 0),
            num_refused=self.num_refused + (attempt.outcome == "refused"),
            num_unknown=self.num_unknown + unknown,
            num_replayed=self.num_replayed + (attempt.outcome == "replayed"),
            unknown_tokens=self.unknown_tokens + unknown * attempt.max_tokens,
            cost=self.cost + whole * cost,
            unknown_cost=self.unknown_cost + unknown * cost,
            waiting_s=self.waiting_s + attempt.waiting_s,
            working_s=self.working_s + attempt.working_s,
        )

    def __add__(self, other: Spending) -> Spending:
        mine, theirs = dict(self), dict(other)
        return Spending(**{name: mine[name] + theirs[name] for name in mine})
