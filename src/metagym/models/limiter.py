"""The limiter of a client's calls: how many are in flight, and how many calls and tokens there are in a minute."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Literal, NamedTuple

from metagym.models.asking import Sleep
from metagym.models.server_failures import Clock

logger = logging.getLogger(__name__)

Signal = Literal["success", "overload", "other"]
_WINDOW_S = 60.0
_LOG_WAITS_FROM_S = 5.0


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
