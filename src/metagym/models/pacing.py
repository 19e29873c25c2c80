"""When an attempt at a call may start: concurrency, pauses, limits per minute, retries, and when the run stops.

It knows no HTTP: an attempt returns, or raises `AttemptFailedError` with a `Failure`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, NoReturn, TypeVar

from metagym.errors import ContextOverflowError, ModelError, ModelUnavailableError
from metagym.models.client_config import ClientConfig
from metagym.models.server_failures import AttemptFailedError, Failure

logger = logging.getLogger(__name__)

T = TypeVar("T")
Signal = Literal["success", "overload", "other"]
Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]
_WINDOW_S = 60.0
_LOG_WAITS_FROM_S = 5.0
_LOG_RETRIES_EVERY_S = 1.0
_NAP_S = 0.5
_HALF_OPEN_AFTER_S = 5.0
_NOT_DOWN = frozenset({"HTTP 429", "HTTP 503", "HTTP 529"})


class Grant(NamedTuple):
    """The permission for one call in flight."""

    at: float
    entry: list[float]
    """Its time and tokens in the limit per minute; `release` corrects the tokens."""


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
        self.max_concurrency = max_concurrency
        self.limit = float(max_concurrency)
        self.num_in_flight = 0
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
            else:
                with contextlib.suppress(ValueError):
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
        self._limit = limit
        self._entries: deque[list[float]] = deque()
        self._sum = 0.0

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


class Breaker:
    """Stops the run when a server fails in the same way again and again, with no success between.

    `breaker_failures` failures of one kind in a row open it. If the server has answered before, the row must also
    last `breaker_s` seconds from the start of its first attempt. A 429, 503 or 529 counts only when a call is given
    up: a server that limits the rate, or still loads its model, is not down. While the breaker is open, every call
    fails at once. After five seconds one call may try: a failure opens it again, a success closes it.
    """

    def __init__(self, config: ClientConfig, *, clock: Clock = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._has_answered = False
        self._kind, self._length, self._began_at = "", 0, 0.0
        self._error: ModelUnavailableError | None = None
        self._opened_at = 0.0

    def check(self) -> None:
        """Let a call through, or not.

        Raises:
            ModelUnavailableError: the breaker is open.
        """
        if self._error is not None and self._clock() - self._opened_at < _HALF_OPEN_AFTER_S:
            raise ModelUnavailableError(str(self._error))

    def succeeded(self) -> None:
        """Note a reply."""
        self._has_answered, self._length, self._error = True, 0, None

    def failed(self, failure: Failure, began_at: float, server: str) -> None:
        """Note an attempt at `server` that began at `began_at` and failed."""
        if failure.kind != self._kind or self._length == 0:
            self._kind, self._length, self._began_at = failure.kind, 0, began_at
        self._length += 1
        self._began_at = min(self._began_at, began_at)
        lasted_s = self._clock() - self._began_at
        is_short = self._has_answered and lasted_s < self._config.breaker_s
        if self._length < self._config.breaker_failures or is_short:
            return
        self._opened_at = self._clock()
        self._error = ModelUnavailableError(
            f"Expected a reply from {server}, got the same error {self._length} times in a row within "
            f"{lasted_s:.1f} s, with no success between: {failure.message}. The run stops here; what was played is "
            f"kept. {failure.remedy}"
        )


class Retrier:
    """Retries a call while its failure may pass: at most `max_retries` times, and within `max_retry_s`.

    Pauses are random; their bound doubles from `first_pause_s` to `max_pause_s` (full jitter). If the server sends
    `Retry-After`, that is the pause. The log says why a call waits and how long, at most once a second for all
    calls together. `server` names the server in messages.
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

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, after retries if they are needed.

        Raises:
            ModelError: it failed for good. Anything that it raises besides AttemptFailedError goes through.
        """
        began_at = self._clock()
        retries_end_at, num_tries = None, 0
        while True:
            self._breaker.check()
            num_tries += 1
            try:
                return await self._try(attempt)
            except AttemptFailedError as error:
                failure = error.failure
                pause_s = random_pause_s(num_tries, self._config)
                if failure.retry_after_s is not None:
                    pause_s = failure.retry_after_s
                if retries_end_at is None:
                    retries_end_at = self._clock() + self._config.max_retry_s
                is_late = self._clock() + pause_s >= retries_end_at
                if not failure.may_pass or num_tries > self.max_retries or is_late:
                    self._give_up(error, began_at, num_tries)
            self._log_retry(failure, pause_s, num_tries)
            await self._pause(pause_s)

    async def _try(self, attempt: Callable[[], Awaitable[T]]) -> T:
        began_at = self._clock()
        try:
            result = await attempt()
        except AttemptFailedError as error:
            # A refused key or model stops the run without the breaker.
            if error.failure.may_pass and error.failure.kind not in _NOT_DOWN:
                self._breaker.failed(error.failure, began_at, self.server)
            raise
        self._breaker.succeeded()
        return result

    def _give_up(self, error: AttemptFailedError, began_at: float, num_tries: int) -> NoReturn:
        failure = error.failure
        if (not failure.may_pass and failure.error is ModelError) or failure.kind in _NOT_DOWN:
            self._breaker.failed(failure, began_at, self.server)
        self._breaker.check()
        if issubclass(failure.error, ContextOverflowError):
            raise failure.error(f"The conversation is too long for {self.server}: {failure.message}") from error
        tried = ""
        if failure.may_pass:
            lasted_s = self._clock() - began_at
            tried = f" Tried {num_tries} time{'s' if num_tries > 1 else ''} in {lasted_s:.1f} s."
            if num_tries <= self.max_retries and failure.retry_after_s is not None:
                tried += (
                    f" The server asks to wait {failure.retry_after_s:g} s, longer than max_retry_s="
                    f"{self._config.max_retry_s:g} allows."
                )
        text = f"Expected a reply from {self.server}, got {failure.message}. {failure.remedy}{tried}"
        raise failure.error(text.rstrip()) from error.__cause__

    async def _pause(self, seconds: float) -> None:
        """Sleep in short pieces, so that an open breaker wakes the calls that wait."""
        while seconds > 0:
            self._breaker.check()
            await self._sleep(min(seconds, _NAP_S))
            seconds -= _NAP_S

    def _log_retry(self, failure: Failure, pause_s: float, num_tries: int) -> None:
        if self._clock() - self._logged_at < _LOG_RETRIES_EVERY_S:
            return
        self._logged_at = self._clock()
        logger.warning(
            "Waiting %.1f s%s for %s, after try %d of %d: %s",
            pause_s,
            " (as the server asks)" if failure.retry_after_s is not None else "",
            self.server,
            num_tries,
            self.max_retries + 1,
            failure.message,
        )


def random_pause_s(num_tries: int, config: ClientConfig) -> float:
    """Return a random pause before the next try, in seconds (full jitter)."""
    # The exponent is bounded: a float overflows at 2**1024.
    return random.uniform(0.0, min(config.max_pause_s, config.first_pause_s * 2 ** min(num_tries - 1, 60)))
