"""The one retry policy: what is tried again, when, how often and for how long, and when the run stops."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

from metagym.errors import ContextOverflowError, ModelError, ModelUnavailableError
from metagym.models.config import ClientConfig
from metagym.models.failures import AttemptFailedError, Failure

logger = logging.getLogger(__name__)

T = TypeVar("T")
_NOT_DOWN = frozenset({"HTTP 429", "HTTP 503", "HTTP 529"})
_HALF_OPEN_AFTER_S = 5.0
_TELL_EVERY_S = 1.0
_NAP_S = 0.5


class Breaker:
    """Stops the run when a server fails in the same way again and again, with no success between.

    `breaker_failures` failures of one kind in a row open it; once the server has answered, the row must
    also last `breaker_s` seconds from the start of its first attempt. A 429, 503 or 529 counts only where a
    call was given up on it: a server that limits the rate, or loads its model, is not down. While it is open,
    every call fails at once; after five seconds one more failure opens it again, one success closes it.
    """

    def __init__(self, config: ClientConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._answered = False
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
        self._answered, self._length, self._error = True, 0, None

    def failed(self, failure: Failure, began_at: float, where: str) -> None:
        """Note a failed attempt; `began_at` is when it began."""
        if failure.kind != self._kind or self._length == 0:
            self._kind, self._length, self._began_at = failure.kind, 0, began_at
        self._length += 1
        self._began_at = min(self._began_at, began_at)
        lasted_s = self._clock() - self._began_at
        if self._length < self._config.breaker_failures:
            return
        if self._answered and lasted_s < self._config.breaker_s:
            return
        self._opened_at = self._clock()
        self._error = ModelUnavailableError(
            f"Expected a reply from {where}, got the same error {self._length} times in a row within "
            f"{lasted_s:.1f} s, with no success between: {failure.told}. The run stops here; what was played is "
            f"kept. {failure.remedy}"
        )


class Retrier:
    """Tries a call again while its failure may pass: at most `max_retries` times, and within `max_retry_s`.

    Pauses are random, their bound doubles from `first_pause_s` to `max_pause_s` (full jitter); where the
    server says `Retry-After`, that is the pause. A line in the log says what is waited for, and how long, at
    most once a second for all calls together.
    """

    def __init__(
        self,
        where: str,
        *,
        max_retries: int,
        config: ClientConfig,
        breaker: Breaker,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.where, self.max_retries, self._config, self._breaker = where, max_retries, config, breaker
        self._clock, self._sleep = clock, sleep
        self._told_at = float("-inf")

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, at last.

        Raises:
            ModelError: it failed for good; what it raises besides AttemptFailedError goes through.
        """

        async def once() -> T:
            self._breaker.check()
            began_at = self._clock()
            try:
                result = await attempt()
            except AttemptFailedError as error:
                failure = error.failure
                # Refusals of a key or a model stop the run by themselves.
                if failure.passing and failure.kind not in _NOT_DOWN:
                    self._breaker.failed(failure, began_at, self.where)
                raise
            self._breaker.succeeded()
            return result

        began_at = self._clock()
        try:
            return await once()
        except AttemptFailedError as error:
            first = [error]

        async def again() -> T:
            if first:  # the attempt above is the first of the count
                raise first.pop()
            return await once()

        retrying = self._retrying()
        try:
            return await retrying(again)
        except AttemptFailedError as error:
            failure = error.failure
            if (not failure.passing and failure.error is ModelError) or failure.kind in _NOT_DOWN:
                self._breaker.failed(failure, began_at, self.where)
            self._breaker.check()
            if issubclass(failure.error, ContextOverflowError):
                raise failure.error(f"The conversation is too long for {self.where}: {failure.told}") from error
            tried = self._tried(retrying, failure, self._clock() - began_at)
            raise failure.error(
                f"Expected a reply from {self.where}, got {failure.told}. {failure.remedy}{tried}".rstrip()
            ) from error.__cause__

    def _retrying(self) -> tenacity.AsyncRetrying:
        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_passing),
            stop=tenacity.stop_after_attempt(self.max_retries + 1)
            | tenacity.stop_before_delay(self._config.max_retry_s),
            wait=self._pause_s(),
            before_sleep=self._tell,
            sleep=self._nap,
            reraise=True,
        )

    async def _nap(self, seconds: float) -> None:
        """Sleep in short pieces, so that an open breaker wakes those that wait."""
        while seconds > 0:
            self._breaker.check()
            await self._sleep(min(seconds, _NAP_S))
            seconds -= _NAP_S

    def _pause_s(self) -> Callable[[tenacity.RetryCallState], float]:
        jitter = tenacity.wait_random_exponential(multiplier=self._config.first_pause_s, max=self._config.max_pause_s)

        def pause_s(state: tenacity.RetryCallState) -> float:
            asked_s = _failure_of(state).retry_after_s
            return float(jitter(state)) if asked_s is None else asked_s

        return pause_s

    def _tell(self, state: tenacity.RetryCallState) -> None:
        if self._clock() - self._told_at < _TELL_EVERY_S:
            return
        self._told_at = self._clock()
        failure = _failure_of(state)
        asked = " (as the server asks)" if failure.retry_after_s is not None else ""
        logger.warning(
            "Waiting %.1f s%s for %s, after try %d of %d: %s",
            state.next_action.sleep if state.next_action else 0.0,
            asked,
            self.where,
            state.attempt_number,
            self.max_retries + 1,
            failure.told,
        )

    def _tried(self, retrying: tenacity.AsyncRetrying, failure: Failure, lasted_s: float) -> str:
        num_tries = retrying.statistics.get("attempt_number", 1)
        if not failure.passing:
            return ""
        tried = f" Tried {num_tries} time{'s' if num_tries > 1 else ''} in {lasted_s:.1f} s."
        if num_tries <= self.max_retries and failure.retry_after_s is not None:
            tried += (
                f" The server asks to wait {failure.retry_after_s:g} s, longer than max_retry_s="
                f"{self._config.max_retry_s:g} allows."
            )
        return tried


def _failure_of(state: tenacity.RetryCallState) -> Failure:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, AttemptFailedError)  # nothing else is tried again
    return error.failure


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, AttemptFailedError) and error.failure.passing
