"""How a model is asked: through the open cassette, each attempt booked on the open ledger, with retries.

It knows no HTTP: an attempt returns, or raises `AttemptFailedError` with a `Failure`. It also counts the tokens of a
conversation: the estimate for rate limits, and the upper bound that a budget reserves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

from metagym.budget import Attempt, AttemptOutcome, Ledger, Prices, current_purpose, open_ledger
from metagym.errors import ConfigError, ContextOverflowError, ConversationError, ModelError, mask_addresses
from metagym.models.cassette import open_cassette
from metagym.models.chat import Call, ChatModel
from metagym.models.client_config import ClientConfig
from metagym.models.server_failures import AttemptFailedError, Breaker, Clock, Failure
from metagym.optional_attributes import Extension, extension_of
from metagym.types import Completion, Message, Usage, derive_seed

logger = logging.getLogger(__name__)

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
_LOG_RETRIES_EVERY_S = 1.0
_NAP_S = 0.5
_MAX_LESSONS = 5
_MAX_QUESTION_RETRIES = 2
_NOT_DOWN = frozenset({"HTTP 429", "HTTP 503", "HTTP 529"})
_SAMPLE: ContextVar[int] = ContextVar("metagym_sample", default=0)
_MESSAGE_TOKENS, _TEMPLATE_TOKENS = 16, 128  # a generous bound of the tokens of chat templates


@contextlib.contextmanager
def sample(number: int) -> Iterator[None]:
    """Give the reflector's calls inside their own seeds, so that it writes another candidate; 0 keeps the usual seeds.

    The actor's seeds come from its episode and do not change.
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
        CassetteMissError: the cassette that is replayed does not hold the exchange.
    """
    number = _SAMPLE.get()
    if number and call.role != "actor":
        call = call._replace(seed=derive_seed(call.seed, number), repetition=number)
    cassette = open_cassette()
    if cassette is None:
        return await _complete(model, messages, call)
    exchange = hash((call, *(message["content"] for message in messages)))
    recorded = cassette.recall(model, messages, call)
    if recorded is not None:
        _booking(model, call).replayed(recorded.usage, exchange)
        return recorded
    try:
        completion = await _complete(model, messages, call)
    except ConversationError as error:
        if call.role == "actor":  # it is data and ends the episode
            cassette.keep(model, messages, call, error)
        raise
    cassette.keep(model, messages, call, completion)
    if (ledger := open_ledger()) is not None:
        ledger.note_paid(exchange)
    return completion


async def _complete(model: ChatModel, messages: Sequence[Message], call: Call) -> Completion:
    # An Extension needs no look-up: one file less between the prompt and the request.
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
    return booking.whole(completion)


def _booking(model: ChatModel, call: Call) -> Booking:
    about = extension_of(model)
    return Booking(call, model=about.model or type(model).__name__, prices=about.prices)


class Booking:
    """One model call while it is booked, on the open ledger or on `fallback`: reserve, then report the outcome."""

    def __init__(self, call: Call, *, model: str, prices: Prices | None, fallback: Ledger | None = None) -> None:
        self.ledger = open_ledger() or fallback or Ledger()
        self._prices = prices
        about = {"role": call.role, "meta_step": call.meta_step, "arm": call.arm, "model": model, "seed": call.seed}
        self._draft = Attempt(number=-1, purpose=current_purpose(), outcome="reserved", **about)
        self._mark = time.perf_counter()
        self._num_attempts = 0
        self._most: tuple[int, int | None] = (0, None)
        self._attempt: Attempt | None = None

    async def reserve(self, prompt_tokens: int, completion_tokens: int | None) -> None:
        """Reserve the most that the next attempt can use; None means a reply without a token limit."""
        limited = self.ledger.limited_units
        if completion_tokens is None and limited & {"tokens", "cost"}:
            raise ConfigError(
                "A budget in tokens or money needs a token limit for each reply, got nothing. Set sampling={"
                "'max_tokens': N} (or max_completion_tokens), or the attribute max_reply_tokens of your own ChatModel."
            )
        if "cost" in limited and self._prices is None:
            raise ConfigError(
                f"A budget in money needs the prices of {self._draft.model or 'the model'}, got nothing. Add them: "
                "client={'prices': {'prompt': P, 'completion': C}}, in money per million tokens."
            )
        completion, self._most = completion_tokens or 0, (prompt_tokens, completion_tokens)
        cost = None if self._prices is None else self._prices.at_most(prompt_tokens, completion)
        update = {"max_tokens": prompt_tokens + completion, "cost": cost, "retry": self._num_attempts}
        self._attempt = await self.ledger.reserve(self._draft.model_copy(update=update))
        self._num_attempts += 1
        now = time.perf_counter()
        self._waiting_s, self._mark = now - self._mark, now

    def whole(self, completion: Completion) -> Completion:
        """Settle the attempt: the reply arrived whole, and the server counted it. Return it with its booked usage.

        A count above the reservation cannot be true, unless the server ignored the token limit and the reply
        itself is as long. It is booked as unknown, so that no claim of a server passes a budget.
        """
        usage, (prompt, reply) = completion.usage, self._most
        if reply is not None and self._attempt is not None:
            received = completion.text, completion.reasoning, *completion.tool_calls
            reply = max(reply, sum(len(text.encode()) for text in received))
            if usage.prompt_tokens > prompt or usage.completion_tokens > reply:
                claim = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"
                self.unknown(
                    f"the server did not count it: {claim} are more than {prompt} + {reply}, the most possible"
                )
                return completion.model_copy(update={"usage": Usage(num_calls=1)})
        self._settle("whole", usage=usage.model_copy(update={"num_calls": 1}), cost=self._cost(usage))
        return completion

    def refused(self, reason: str) -> None:
        """Settle the attempt: nothing was paid."""
        self._settle("refused", reason=mask_addresses(reason), cost=None)

    def unknown(self, reason: str) -> None:
        """Settle the attempt: it was cut off on the way, or the server did not count it."""
        self._settle("unknown", reason=mask_addresses(reason))

    def replayed(self, usage: Usage, exchange: int) -> None:
        """Book a reply from a cassette: nothing was paid, and no budget of the run is used."""
        update = {"outcome": "replayed", "usage": usage, "cost": self._cost(usage)}
        self.ledger.book_replayed(self._draft.model_copy(update=update), exchange)

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


class Retrier:
    """Retries a call while its failure may pass, within `max_retry_s`.

    A server that is not available (no connection, 429, 502, 503, 504, a model that is loading) is waited for: the time
    counts, and not the tries, unless `max_retries` is 0. Every other failure may have been paid, and is retried at
    most `max_retries` times. Pauses are random, unless the server sends `Retry-After`. `server` names it in messages.
    """

    def __init__(
        self,
        server: str,
        *,
        max_retries: int,
        config: ClientConfig,
        breaker: Breaker,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.server, self.max_retries, self._config, self._breaker = server, max_retries, config, breaker
        self._clock, self._sleep = clock, sleep
        self._logged_at = float("-inf")

    def for_question(self) -> Retrier:
        """Return one for a question that the server may refuse: few tries, and their failures count nowhere else."""
        return Retrier(
            self.server,
            max_retries=min(self.max_retries, _MAX_QUESTION_RETRIES),
            config=self._config,
            breaker=Breaker(self._config),
            clock=self._clock,
            sleep=self._sleep,
        )

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `attempt`, after retries if needed; raise a ModelError if it failed for good."""
        began_at = self._clock()
        retries_end_at, num_tries, num_counted, num_lessons = None, 0, 0, 0
        while True:
            if not self._breaker.is_quiet:
                self._breaker.check()
            num_tries += 1
            tried_at = self._clock()
            try:
                result = await attempt()
            except AttemptFailedError as error:
                failure = error.failure
                if failure.is_lesson and num_lessons < _MAX_LESSONS:
                    num_lessons += 1
                    logger.info("Asking %s in another way from now on, after: %s", self.server, failure.message)
                    continue
                # A refused key or model stops the run without the breaker.
                if failure.may_pass and failure.kind not in _NOT_DOWN:
                    self._breaker.failed(failure, tried_at, self.server)
                num_counted += not failure.is_outage
                pause_s = failure.retry_after_s
                if pause_s is None:
                    pause_s = random_pause_s(num_tries, self._config)
                if retries_end_at is None:
                    retries_end_at = self._clock() + self._config.max_retry_s
                is_late = self._clock() + pause_s >= retries_end_at
                if not failure.may_pass or num_counted > self.max_retries or is_late or not self.max_retries:
                    self._give_up(error, began_at, num_tries, is_late=is_late)
            else:
                if not self._breaker.is_quiet:
                    self._breaker.succeeded()
                return result
            self._log_retry(failure, pause_s, num_counted)
            while pause_s > 0:  # in short pieces, so that an open breaker wakes the calls that wait
                self._breaker.check()
                await self._sleep(min(pause_s, _NAP_S))
                pause_s -= _NAP_S

    def _give_up(self, error: AttemptFailedError, began_at: float, num_tries: int, *, is_late: bool) -> NoReturn:
        failure = error.failure
        if (not failure.may_pass and failure.error is ModelError) or failure.kind in _NOT_DOWN:
            self._breaker.failed(failure, began_at, self.server)
        self._breaker.check()
        if issubclass(failure.error, ConversationError):
            is_long = failure.error is ContextOverflowError
            why = "The conversation is too long for" if is_long else "The content filter ends the conversation with"
            raise failure.error(f"{why} {self.server}: {failure.message}") from error
        tried = ""
        if failure.may_pass:
            lasted_s = self._clock() - began_at
            tried = f" Tried {num_tries} time{'s' if num_tries > 1 else ''} in {lasted_s:.1f} s."
            if is_late and failure.retry_after_s is not None:
                tried += (
                    f" The server asks to wait {failure.retry_after_s:g} s, longer than max_retry_s="
                    f"{self._config.max_retry_s:g} allows."
                )
        text = f"Expected a reply from {self.server}, got {failure.message}. {failure.remedy}{tried}"
        raise failure.error(text.rstrip()) from error.__cause__

    def _log_retry(self, failure: Failure, pause_s: float, num_counted: int) -> None:
        if self._clock() - self._logged_at >= _LOG_RETRIES_EVERY_S:
            self._logged_at = self._clock()
            asked = " (as the server asks)" if failure.retry_after_s is not None else ""
            tried = "" if failure.is_outage else f", after try {num_counted} of {self.max_retries + 1}"
            logger.warning("Waiting %.1f s%s for %s%s: %s", pause_s, asked, self.server, tried, failure.message)


def random_pause_s(num_tries: int, config: ClientConfig) -> float:
    """Return a random pause before the next try, in seconds; its bound doubles with each try (full jitter)."""
    # The exponent is bounded: a float overflows at 2**1024.
    return random.uniform(0.0, min(config.max_pause_s, config.first_pause_s * 2 ** min(num_tries - 1, 60)))


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Return about how many tokens the conversation has: one for four bytes (as in English), and four a message.

    >>> estimate_tokens([{"role": "user", "content": "x" * 400}])
    104
    """
    return sum(_num_bytes(message) // 4 + 4 for message in messages)


def max_tokens(messages: Sequence[Message]) -> int:
    """Return an upper bound of the conversation's tokens: no tokenizer makes more than one token of a byte."""
    return sum(_num_bytes(message) + _MESSAGE_TOKENS for message in messages) + _TEMPLATE_TOKENS


def conversation_of(request: Mapping[str, Any]) -> list[Message]:
    """Return the messages of a request, with its tools as one more: a server writes them into the prompt."""
    # Some chat templates indent them.
    tools = [json.dumps(tool, indent=4) for tool in request.get("tools") or ()]
    return [*request["messages"], *({"role": "system", "content": text} for text in tools)]


def _num_bytes(message: Message) -> int:
    content = message["content"] or ""  # None beside calls
    num_bytes = len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass"))
    if len(message) > 2:
        rest = {name: value for name, value in message.items() if name not in ("role", "content")}
        num_bytes += len(json.dumps(rest))
    return num_bytes
