"""A client for any server that speaks the OpenAI protocol, and the limiter of its calls in flight."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from metagym.background import LOOP
from metagym.budget import Ledger
from metagym.errors import ConfigError, ModelUnavailableError
from metagym.models.asking import Booking, Retrier, Sleep, estimate_tokens, max_tokens
from metagym.models.chat import Call
from metagym.models.client_config import (
    PLACEHOLDER_KEY,
    ClientConfig,
    find_key,
    merge_sampling,
    merge_system,
    read_base_url,
)
from metagym.models.server_failures import AttemptFailedError, Breaker, Clock, read_failure
from metagym.models.server_replies import read_completion
from metagym.models.server_words import has_meaning
from metagym.optional_attributes import Extension
from metagym.types import Completion, Message, clean_text

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    _Connection = tuple[AsyncOpenAI, "AdaptiveLimiter"]

logger = logging.getLogger(__name__)

DEFAULT_CLIENT = ClientConfig()
Signal = Literal["success", "overload", "other"]
_WINDOW_S = 60.0
_LOG_WAITS_FROM_S = 5.0


class OpenAIChatModel(Extension):
    """A chat model behind an OpenAI-compatible server.

    `sampling` goes into each request unchanged, over the defaults temperature 0 and 500 tokens; the value None
    removes a default (or the `seed`). `OPENAI_API_KEY` is sent only to the SDK's own address or OPENAI_BASE_URL; a
    `base_url` that is given here gets the key in the environment variable `api_key_env`, or a placeholder.

    `timeout_s` limits each attempt, in seconds. Connection errors, time-outs, broken replies and the statuses 408,
    409, 429 and 5xx are retried, at most `max_retries` times; everything else fails at once. `client` holds the
    finer limits. Every attempt is booked in the open ledger, else in `ledger`.

    >>> OpenAIChatModel("Qwen/Qwen3-8B", base_url="http://localhost:8000/v1").sampling
    {'temperature': 0.0, 'max_tokens': 500}
    """

    keeps_ledger = True

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str | None = None,
        sampling: Mapping[str, Any] | None = None,
        timeout_s: float = 120.0,
        max_retries: int = 8,
        client: ClientConfig = DEFAULT_CLIENT,
    ) -> None:
        self._arguments = (model, base_url, api_key_env, sampling, timeout_s, max_retries, client)
        if not model:
            raise ConfigError("model must name a model, got an empty text. Ask the server: GET {base_url}/models.")
        if timeout_s <= 0 or max_retries < 0:
            raise ConfigError(f"Expected timeout_s > 0 and max_retries >= 0, got {timeout_s} and {max_retries}.")
        self.model = model
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._address, self._query = read_base_url(self.base_url)
        self._api_key = PLACEHOLDER_KEY if client.offline else find_key(base_url, self.base_url, api_key_env)
        self.sampling = merge_sampling(sampling or {})
        limits = (self.sampling.get("max_completion_tokens"), self.sampling.get("max_tokens"))
        num_replies = max(self.sampling.get("n", 1), self.sampling.get("best_of", 1))  # all of them are paid
        self.max_reply_tokens = next((limit * num_replies for limit in limits if isinstance(limit, int)), None)
        self.timeout_s, self.max_retries, self.client, self.prices = timeout_s, max_retries, client, client.prices
        # What decides the replies. It holds no key.
        self.fingerprint = {"model": model, "base_url": self.base_url, "sampling": dict(self.sampling)}
        self.ledger = Ledger()
        server = f"model {model!r} at {self.base_url or 'the OpenAI API'}"
        self._retrier = Retrier(server, max_retries=max_retries, config=client, breaker=Breaker(client))
        # Newer OpenAI models take the token limit under another name; the first refusal names it.
        self._renamed: dict[str, str] = {}
        self._has_no_system_role = False  # some chat templates (Gemma) know none; the first refusal says so
        self._logged_names: set[str] = set()
        # An HTTP client and its waiting calls belong to the event loop that they were made on.
        self._connections: MutableMapping[asyncio.AbstractEventLoop, _Connection] = weakref.WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        # No key travels: each process takes it from its own environment.
        return _make_again, (self.base_url, *self._arguments)

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        """Return the server's reply; see `ChatModel.complete`. A ModelUnavailableError should stop the run."""
        booking = Booking(call, model=self.model, prices=self.prices, fallback=self.ledger)
        sdk, limiter = self._connect()
        sampling = {"seed": call.seed, **self.sampling}
        # A lone surrogate cannot be sent; it is replaced as in a reply.
        sent = [{**message, "content": clean_text(message["content"])} for message in messages]
        request = {"model": self.model, "messages": sent}
        request |= {name: value for name, value in sampling.items() if value is not None}
        completion = await self._retrier.run(lambda: self._attempt(sdk, limiter, request, booking))
        if completion.model and completion.model not in self._logged_names:
            self._logged_names.add(completion.model)
            # Servers answer with a dated snapshot of the name; any other name may be another model.
            level = logging.INFO if completion.model.startswith(self.model) else logging.WARNING
            logger.log(level, "Asked for model %r, the server answers as %r.", self.model, completion.model)
        return completion

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        LOOP.remove_closer(self.aclose)
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection[0].close()

    async def _attempt(
        self, sdk: AsyncOpenAI, limiter: AdaptiveLimiter, request: dict[str, Any], booking: Booking
    ) -> Completion:
        """Ask once, within the limits; the ledger books the attempt whatever happens."""
        messages, limit = request["messages"], self.max_reply_tokens
        grant = await limiter.acquire(estimate_tokens(messages) + (limit or 0))
        signal: Signal = "other"
        num_tokens = None
        try:
            await booking.reserve(max_tokens(messages), limit)
            body = {self._renamed.get(name, name): value for name, value in request.items()}
            if self._has_no_system_role:
                body["messages"] = merge_system(messages)
            try:
                async with asyncio.timeout(self.timeout_s):
                    reply = await sdk.post("/chat/completions", body=body, cast_to=bytes)
                completion, is_counted = read_completion(reply, self.model)
            except Exception as error:
                failure = read_failure(error, timeout_s=self.timeout_s)
                if failure is None:
                    raise
                if self._api_key != PLACEHOLDER_KEY:  # a server may repeat the key
                    failure = failure._replace(message=failure.message.replace(self._api_key, "***"))
                if failure.retry_after_s is not None:
                    limiter.pause(min(failure.retry_after_s, self.client.max_retry_s))
                signal = "overload" if failure.overload else "other"
                (booking.unknown if failure.maybe_paid else booking.refused)(f"{failure.kind}: {failure.message}")
                if self._adapt(failure.parameter, failure.message):
                    failure = failure._replace(may_pass=True)
                raise AttemptFailedError(failure) from error
            signal = "success"
            if is_counted:
                num_tokens = completion.usage.prompt_tokens + completion.usage.completion_tokens
                booking.whole(completion.usage)
            else:
                booking.unknown("the server did not count it")
            return completion
        except BaseException as error:
            booking.unknown(f"{type(error).__name__}: {error}")  # a cancelled call; settled ones stay settled
            raise
        finally:
            limiter.release(grant, signal, num_tokens)

    def _adapt(self, parameter: str, message: str) -> bool:
        """Adapt to the server: its name of the token limit, its roles; return whether that changes the next request."""
        if not self._has_no_system_role and has_meaning("system role", message):
            self._has_no_system_role = True
            return True
        is_limit = parameter == "max_tokens" and "max_completion_tokens" in message
        if not is_limit or "max_tokens" in self._renamed or "max_tokens" not in self.sampling:
            return False
        self._renamed["max_tokens"] = "max_completion_tokens"
        return True

    def _connect(self) -> _Connection:
        if self.client.offline:
            raise ModelUnavailableError(f"Model {self.model!r} is offline (client={{'offline': True}}): no call.")
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            sdk = self.client.connect(self._api_key, self._address, query=self._query, timeout_s=self.timeout_s)
            limits = self.client.model_dump(include={"requests_per_minute", "tokens_per_minute"})
            limiter = AdaptiveLimiter(self.client.max_concurrency, **limits)
            connection = self._connections[loop] = sdk, limiter
            if LOOP.owns(loop):
                LOOP.add_closer(self.aclose)
        return connection


def _make_again(address: str | None, model: str, *arguments: Any) -> OpenAIChatModel:
    """Make a model with the same arguments in another process, if it asks the same server there."""
    names = ("base_url", "api_key_env", "sampling", "timeout_s", "max_retries", "client")
    made = OpenAIChatModel(model, **dict(zip(names, arguments, strict=True)))
    if made.base_url != address:
        raise ConfigError(
            f"Expected the server {address or 'of the OpenAI API'}, as in the first process, got {made.base_url!r} "
            "from this process's OPENAI_BASE_URL. Give base_url in the actor's mapping, or set the variable on all "
            "machines."
        )
    return made


class Grant(NamedTuple):
    """The permission for one call in flight: its start, and its entry in the limit of tokens per minute."""

    at: float
    entry: list[float]


class AdaptiveLimiter:
    """Limits the calls in flight, and the calls and tokens in any 60 seconds.

    The limit of calls in flight starts at `max_concurrency`. Overload halves it, once for all calls that were in
    flight at that time. Each success raises it by one divided by the limit, so a full round of successes adds one.
    Source of the rule: Chiu and Jain 1989 (additive increase, multiplicative decrease). Calls start in the order
    in which they arrived. A limiter belongs to one event loop.
    """

    def __init__(
        self,
        max_concurrency: int,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.max_concurrency, self.limit, self.num_in_flight = max_concurrency, float(max_concurrency), 0
        self._windows = (_SlidingWindow(requests_per_minute), _SlidingWindow(tokens_per_minute))
        self._clock, self._sleep = clock, sleep
        self._paused_until = self._halved_at = self._logged_at = float("-inf")
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._turn = asyncio.Lock()

    async def acquire(self, num_tokens: int) -> Grant:
        """Wait until a call of about `num_tokens` may start."""
        if self._waiters or self.num_in_flight >= int(self.limit):
            await self._queue_up()
        else:
            self.num_in_flight += 1
        try:
            if self._delay(num_tokens) > 0:
                async with self._turn:  # in order, so that small calls do not overtake a large one for ever
                    while (delay_s := self._delay(num_tokens)) > 0:
                        self._log_wait(delay_s)
                        await self._sleep(delay_s)
        except BaseException:
            self._leave()
            raise
        now = self._clock()
        self._windows[0].add(now, 1)
        return Grant(now, self._windows[1].add(now, num_tokens))

    def release(self, grant: Grant, signal: Signal, num_tokens: int | None = None) -> None:
        """End a call: `signal` is how it ended, `num_tokens` what it used, if that is known."""
        if num_tokens is not None:
            self._windows[1].correct(grant.entry, num_tokens)
        if signal == "success":
            self.limit = min(float(self.max_concurrency), self.limit + 1 / self.limit)
        elif signal == "overload" and grant.at > self._halved_at:
            # A call that started before the last halving says nothing about the new limit.
            self.limit = max(1.0, min(self.limit, float(self.num_in_flight)) / 2)
            self._halved_at = self._clock()
            logger.info("The server is overloaded: at most %d calls at once from now on.", int(self.limit))
        self._leave()

    def pause(self, seconds: float) -> None:
        """Let no call start for `seconds`: the server asked for it."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _delay(self, num_tokens: int) -> float:
        now = self._clock()
        requests, tokens = self._windows
        return max(self._paused_until - now, requests.delay(now, 1), tokens.delay(now, num_tokens))

    def _log_wait(self, delay_s: float) -> None:
        now = self._clock()
        if delay_s >= _LOG_WAITS_FROM_S and now - self._logged_at >= _LOG_WAITS_FROM_S:
            self._logged_at = now
            why = "the server asked for a pause" if self._paused_until > now else "the limit per minute is used up"
            logger.warning("Waiting %.0f s: %s.", delay_s, why)

    async def _queue_up(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._leave()  # its turn had come already
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _leave(self) -> None:
        self.num_in_flight -= 1
        while self._waiters and self.num_in_flight < int(self.limit):
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.num_in_flight += 1
                waiter.set_result(None)


class _SlidingWindow:
    """Allows at most `limit` in any 60 seconds; one amount above the limit passes alone."""

    def __init__(self, limit: int | None) -> None:
        self._limit, self._sum = limit, 0.0
        self._entries: deque[list[float]] = deque()

    def delay(self, now: float, amount: float) -> float:
        if self._limit is None:
            return 0.0
        while self._entries and self._entries[0][0] <= now - _WINDOW_S + 1e-6:
            self._sum -= self._entries.popleft()[1]
        excess, delay_s = self._sum + amount - self._limit, 0.0
        for entered_at, entered in self._entries:
            if excess <= 0:
                break
            excess, delay_s = excess - entered, entered_at + _WINDOW_S - now
        return delay_s

    def add(self, now: float, amount: float) -> list[float]:
        entry = [now, amount]
        if self._limit is not None:
            self._entries.append(entry)
            self._sum += amount
        return entry

    def correct(self, entry: list[float], amount: float) -> None:
        if self._entries and entry[0] >= self._entries[0][0]:
            self._sum += amount - entry[1]
            entry[1] = amount
