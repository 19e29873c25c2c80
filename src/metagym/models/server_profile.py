"""Facts that a client finds out about its server: the roles and fields that it takes, whether it streams, its pace."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from metagym.errors import ConversationError
from metagym.models.asking import Sleep
from metagym.models.server_failures import Clock, Failure
from metagym.models.server_words import has_meaning
from metagym.types import Completion

logger = logging.getLogger(__name__)

Signal = Literal["success", "overload", "other"]
_WINDOW_S = 60.0
_LOG_WAITS_FROM_S = 5.0
SystemRole = Literal["auto", "system", "user"]
Wish = Literal["stop", "seed"]
_WISHES: frozenset[Wish] = frozenset({"stop", "seed"})
"""Fields that the client sends by itself, and leaves out for a server that refuses them."""
_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_SCORES = ("logprobs", "return_token_ids")
"""Fields of `sampling` that ask for log-probabilities and token ids."""


class ServerProfile:
    """The requests that a server takes.

    A refused request costs nothing, so that the first one may find out the server's rules; all later requests are
    made accordingly. Nothing here changes a model's reply, but for a `seed` that the server does not take.
    `own` holds the fields that the user asked for: they are sent, whatever the server says.
    """

    def __init__(self, system_role: SystemRole, *, stream: bool, own: Collection[str]) -> None:
        self._streams: bool | None = None if stream else False
        """Whether it streams, with a count of the tokens; None while that is not known."""
        self._may_stream = stream
        self._num_cut = 0
        self._renamed: dict[str, str] = {}
        self._system_role = system_role
        self._wishes = _WISHES - {*own}
        self._refused: set[Wish] = set()
        self.wants_reasoning = False

    def body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request as this server takes it."""
        body = {self._renamed.get(name, name): value for name, value in request.items()}
        for name in self._refused:
            body.pop(name, None)
        messages = in_turns(body["messages"], system_role=self._system_role != "user")
        body["messages"] = [sent_form(message, with_reasoning=self.wants_reasoning) for message in messages]
        return body if self._streams is False else body | _STREAM

    def learn_failure(self, failure: Failure, request: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
        """Learn from a request that failed, sent as `sent`; return whether to make another one at once."""
        message, parameter = failure.message, failure.parameter
        if self._system_role == "auto" and has_meaning("system role", message):
            self._system_role = "user"  # some chat templates (Gemma) know no other
        if parameter == "max_tokens" and "max_completion_tokens" in message:
            self._renamed["max_tokens"] = "max_completion_tokens"  # newer models of OpenAI
        is_final = not failure.may_pass and not issubclass(failure.error, ConversationError)
        is_refused = is_final or failure.kind == "HTTP 501"
        for name in self._wishes:
            if is_refused and name in sent and has_meaning(name, f"{parameter} {message}"):
                self._refused.add(name)
        if is_refused and has_meaning("reasoning", f"{parameter} {message}"):
            self.wants_reasoning = True  # models that think between calls (DeepSeek, Kimi)
        self._num_cut += failure.kind == "cut stream"
        # One stream may be cut by chance.
        is_unread = failure.kind == "broken reply" or (failure.kind == "cut stream" and self._num_cut > 1)
        is_no_stream = is_unread and "stream" in sent and self._streams is None
        if is_no_stream or (is_refused and "stream" in sent and has_meaning("stream", f"{parameter} {message}")):
            self._streams = False
        elif is_refused and "stream" not in sent and has_meaning("only streams", message):
            self._streams = self._may_stream
        return (is_refused or is_no_stream) and self.body(request) != sent

    def learn_reply(
        self, completion: Completion, sent: Mapping[str, Any], *, is_stream: bool, is_counted: bool
    ) -> bool:
        """Learn from a reply; return whether to ask again, because the way of asking spoiled it."""
        if "stop" in sent and completion.reasoning and "stop" in self._wishes:
            # Many servers look for the strings in the reasoning, too. The reply never began if they found one there.
            self._refused.add("stop")
            if not completion.text.strip() and completion.finish_reason == "stop":
                return True
        if "stream" not in sent:
            return False
        lacks_scores = any(sent.get(name) for name in _SCORES) and not (completion.token_ids or completion.logprobs)
        if is_stream and lacks_scores and completion.text:
            self._streams = False
            return True
        if is_stream and is_counted:
            self._streams = True
        elif self._streams is None:
            self._streams = False
        return False


def sent_form(message: Mapping[str, Any], *, with_reasoning: bool) -> Mapping[str, Any]:
    """Return a message as it is sent: null for the text of one that holds only calls, and reasoning only if wanted."""
    if message["role"] != "assistant" or (len(message) == 2 and not with_reasoning):
        return message
    sent = {name: value for name, value in message.items() if name != "reasoning_content"}
    if "tool_calls" in sent and not sent["content"]:
        sent["content"] = None  # an empty text is refused by some servers
    return sent | ({"reasoning_content": message.get("reasoning_content", "")} if with_reasoning else {})


def in_turns(messages: Sequence[Mapping[str, Any]], *, system_role: bool = True) -> Sequence[Mapping[str, Any]]:
    """Return the conversation with neighbours of one role as one message, as strict chat templates want it.

    Without a `system_role` the system message is the head of the first user message.
    """
    roles = [message["role"] for message in messages]
    if not system_role:
        roles = ["user" if role == "system" else role for role in roles]
    if system_role and all(role != other or role == "tool" for role, other in itertools.pairwise(roles)):
        return messages
    turns: list[dict[str, Any]] = []
    for role, message in zip(roles, messages, strict=True):
        # A message with calls, or with the result of one, stays as it is.
        if turns and turns[-1]["role"] == role and len(message) == 2 and len(turns[-1]) == 2:
            turns[-1]["content"] += "\n\n" + message["content"]
        else:
            turns.append({**message, "role": role})
    return turns


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
            if self._turn.locked() or self._delay(num_tokens) > 0:
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
        """End a call: `signal` is the way it ended, `num_tokens` its usage, if that is known."""
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
