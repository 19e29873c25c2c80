"""How a model is asked: through the open cassette, and with each attempt booked on the open ledger.

Also how many tokens a conversation has: the estimate for rate limits, and the upper bound that a budget reserves.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from metagym.budget import Attempt, AttemptOutcome, Ledger, Prices, current_purpose, open_ledger
from metagym.errors import ConfigError
from metagym.extensions import Extension, extension_of
from metagym.models.cassette import open_cassette
from metagym.models.chat import Call, ChatModel
from metagym.seeding import derive_seed
from metagym.types import Completion, Message, Usage

_SAMPLE: ContextVar[int] = ContextVar("metagym_sample", default=0)
BYTES_PER_TOKEN = 4
"""The usual estimate for English text."""
_MESSAGE_TOKENS, _TEMPLATE_TOKENS = 16, 128  # a generous bound of what chat templates add


@contextlib.contextmanager
def sample(number: int) -> Iterator[None]:
    """Give the reflector's calls inside their own seeds; sample 0 keeps the usual seeds.

    So one reflector, asked several times about the same history, writes several candidates. The actor's seeds
    come from its episode and do not change.
    """
    token = _SAMPLE.set(number)
    try:
        yield
    finally:
        _SAMPLE.reset(token)


async def ask(model: ChatModel, messages: Sequence[Message], call: Call) -> Completion:
    """Return the model's reply, or the recorded one; see `ChatModel.complete`.

    Raises:
        BudgetExceededError: the ledger's budget leaves no room for the call.
        CassetteMissError: a cassette is replayed that does not hold the exchange.
    """
    number = _SAMPLE.get()
    if number and call.role != "actor":
        call = call._replace(seed=derive_seed(call.seed, number), repetition=number)
    cassette = open_cassette()
    if cassette is None:
        return await _complete(model, messages, call)
    recorded = cassette.recall(model, messages, call)
    if recorded is not None:
        _booking(model, call).replayed(recorded.usage)
        return recorded
    with cassette.keeping_overflow(model, messages, call):
        completion = await _complete(model, messages, call)
    cassette.keep(model, messages, call, completion)
    return completion


async def _complete(model: ChatModel, messages: Sequence[Message], call: Call) -> Completion:
    about = model if isinstance(model, Extension) else extension_of(model)
    if about.keeps_ledger:
        return await model.complete(messages, call)
    booking = _booking(model, call)
    await booking.reserve(max_tokens(messages), about.max_reply_tokens)
    try:
        completion = await model.complete(messages, call)
    except BaseException as error:
        booking.unknown(f"{type(error).__name__}: {error}")
        raise
    booking.whole(completion.usage)
    return completion


def _booking(model: ChatModel, call: Call) -> Booking:
    about = extension_of(model)
    return Booking(call, model=about.model or type(model).__name__, prices=about.prices)


class Booking:
    """One model call while it is booked: reserve before each attempt, then report the attempt's outcome.

    It is booked on the ledger that is open at this point, else on `fallback`.
    """

    def __init__(self, call: Call, *, model: str, prices: Prices | None, fallback: Ledger | None = None) -> None:
        self.ledger = open_ledger() or fallback or Ledger()
        self._prices = prices
        self._draft = Attempt(
            number=-1,
            role=call.role,
            purpose=current_purpose(),
            meta_step=call.meta_step,
            arm=call.arm,
            model=model,
            outcome="reserved",
        )
        self._mark = time.perf_counter()
        self._num_attempts = 0
        self._attempt: Attempt | None = None

    async def reserve(self, prompt_tokens: int, completion_tokens: int | None) -> None:
        """Reserve what the next attempt can use at most; None means a reply without a token limit.

        Raises:
            BudgetExceededError: the budget leaves no room for it.
            ConfigError: there is a budget, but no token limit or no price to check it with.
        """
        limited = self.ledger.limited_units
        if completion_tokens is None and limited & {"tokens", "cost"}:
            raise ConfigError(
                "A budget in tokens or money needs a token limit for each reply, got none. Set sampling={'max_tokens': "
                "N} (or max_completion_tokens), or the attribute max_reply_tokens of your own ChatModel."
            )
        if "cost" in limited and self._prices is None:
            raise ConfigError(
                f"A budget in money needs the prices of {self._draft.model or 'the model'}, got none. Add them: "
                "client={'prices': {'prompt': P, 'completion': C}}, in money per million tokens."
            )
        completion = completion_tokens or 0
        draft = self._draft.model_copy(
            update={
                "max_tokens": prompt_tokens + completion,
                "cost": None if self._prices is None else self._prices.at_most(prompt_tokens, completion),
                "retry": self._num_attempts,
            }
        )
        self._attempt = await self.ledger.reserve(draft)
        self._num_attempts += 1
        now = time.perf_counter()
        self._waiting_s, self._mark = now - self._mark, now

    def whole(self, usage: Usage) -> None:
        """Settle the attempt: the reply arrived whole, and the server counted it."""
        self._settle("whole", usage=usage.model_copy(update={"num_calls": 1}), cost=self._cost(usage))

    def refused(self, reason: str) -> None:
        """Settle the attempt: nothing was paid."""
        self._settle("refused", reason=reason, cost=None)

    def unknown(self, reason: str) -> None:
        """Settle the attempt: it was cut off on the way, or the server did not count it."""
        self._settle("unknown", reason=reason)

    def replayed(self, usage: Usage) -> None:
        """Book a reply from a cassette: nothing was paid, and no budget of the run is used."""
        update = {"outcome": "replayed", "usage": usage, "cost": self._cost(usage)}
        self.ledger.book_replayed(self._draft.model_copy(update=update))

    def _cost(self, usage: Usage) -> float | None:
        return None if self._prices is None else self._prices.of(usage)

    def _settle(self, outcome: AttemptOutcome, **fields: object) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return  # nothing was reserved, or it is settled already
        now = time.perf_counter()
        update = {"outcome": outcome, "waiting_s": self._waiting_s, "working_s": now - self._mark, **fields}
        self._mark = now
        self.ledger.settle(attempt.model_copy(update=update))


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Return about how many tokens the conversation has: one for four bytes, and four more for each message.

    >>> estimate_tokens([{"role": "user", "content": "x" * 400}])
    104
    """
    return sum(_num_bytes(message) // BYTES_PER_TOKEN + 4 for message in messages)


def max_tokens(messages: Sequence[Message]) -> int:
    """Return an upper bound of the conversation's tokens: no tokenizer makes more than one token of a byte."""
    return sum(_num_bytes(message) + _MESSAGE_TOKENS for message in messages) + _TEMPLATE_TOKENS


def _num_bytes(message: Message) -> int:
    content = message["content"]
    return len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass"))
