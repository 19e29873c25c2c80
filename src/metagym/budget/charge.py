"""One model call on a ledger's account: what a chat model tells the ledger, attempt by attempt."""

from __future__ import annotations

import time

from metagym.budget.ledger import Ledger, current_purpose, open_ledger
from metagym.budget.records import Attempt, Outcome, Prices
from metagym.errors import ConfigError
from metagym.types import Usage


class Charge:
    """One model call on a ledger's account: reserve before each attempt, then say what became of it.

    It goes to the ledger that is open at this point, else to `fallback`.
    """

    def __init__(
        self, role: str, *, arm: str = "", meta_step: int = 0, model: str = "", prices: Prices | None, fallback: Ledger
    ) -> None:
        self.ledger = open_ledger() or fallback
        self._prices = prices
        self._draft = Attempt(
            number=-1,
            role=role,
            purpose=current_purpose(),
            meta_step=meta_step,
            arm=arm,
            model=model,
            outcome="reserved",
        )
        self._mark = time.perf_counter()
        self._num_tries = 0
        self._attempt: Attempt | None = None

    async def reserve(self, prompt_tokens: int, completion_tokens: int | None) -> None:
        """Hold back what the next attempt can take at most; None for a reply without a token limit.

        Raises:
            BudgetExceededError: the budget leaves no room for it.
            ConfigError: there is a budget, but no limit or no price to keep it by.
        """
        budget = self.ledger.budget
        if completion_tokens is None and (budget.tokens is not None or budget.cost is not None):
            raise ConfigError(
                "A budget in tokens or money needs a token limit for each reply, got none. Set sampling={'max_tokens': "
                "N} (or max_completion_tokens), or the attribute max_reply_tokens of a ChatModel of your own."
            )
        if budget.cost is not None and self._prices is None:
            raise ConfigError(
                f"A budget in money needs the prices of {self._draft.model or 'the model'}, got none. Add them: "
                "client={'prices': {'prompt': P, 'completion': C}}, in money per million tokens."
            )
        completion = completion_tokens or 0
        draft = self._draft.model_copy(
            update={
                "max_tokens": prompt_tokens + completion,
                "cost": None if self._prices is None else self._prices.at_most(prompt_tokens, completion),
                "retry": self._num_tries,
            }
        )
        self._attempt = await self.ledger.reserve(draft)
        self._num_tries += 1
        now = time.perf_counter()
        self._waiting_s, self._mark = now - self._mark, now

    def whole(self, usage: Usage) -> None:
        """The reply came whole, and the server said what it took."""
        cost = None if self._prices is None else self._prices.of(usage)
        self._end("whole", usage=usage.model_copy(update={"num_calls": 1}), cost=cost)

    def refused(self, reason: str) -> None:
        """Nothing was paid."""
        self._end("refused", reason=reason, cost=None)

    def unknown(self, reason: str) -> None:
        """It was cut on the way, or the server did not say what it took."""
        self._end("unknown", reason=reason)

    def replayed(self, usage: Usage) -> None:
        """The reply came from a cassette; nothing was paid, and no budget is touched."""
        cost = None if self._prices is None else self._prices.of(usage)
        attempt = self._draft.model_copy(update={"outcome": "replayed", "usage": usage, "cost": cost})
        self.ledger.book(attempt)

    def _end(self, outcome: Outcome, **fields: object) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return  # nothing was reserved, or it is settled already
        now = time.perf_counter()
        update = {"outcome": outcome, "waiting_s": self._waiting_s, "working_s": now - self._mark, **fields}
        self._mark = now
        self.ledger.settle(attempt.model_copy(update=update))
