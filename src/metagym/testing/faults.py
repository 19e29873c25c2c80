"""The faults that the replies of a `FakeOpenAIServer` may have, and `misbehave`, which draws them by a seed."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from metagym.errors import UnknownNameError
from metagym.testing.fake_server import Answer, ServerReply, ServerRequest, as_reply
from metagym.types import derive_seed, digest

Clock = Callable[[], float]

FAULTS: Final[Mapping[str, Callable[[ServerReply], ServerReply]]] = {
    "429": lambda reply: ServerReply("slow down", status=429),
    "429 with Retry-After": lambda reply: ServerReply("slow down", status=429, headers={"Retry-After": "0.05"}),
    "500": lambda reply: ServerReply("out of order", status=500),
    "503": lambda reply: ServerReply("overloaded", status=503),
    "slow": lambda reply: reply._replace(delay_s=0.1),
    "silent": lambda reply: reply._replace(delay_s=math.inf),
    "cut": lambda reply: reply._replace(cut=True),
    "cut in the body": lambda reply: reply._replace(cut_after=40),
    "truncated JSON": lambda reply: ServerReply(raw='{"choices": [{"message": {"role": "assis'),
    "empty body": lambda reply: ServerReply(raw=""),
    "no choice": lambda reply: ServerReply(raw='{"object": "chat.completion", "choices": []}'),
    "empty reply": lambda reply: reply._replace(text=""),
    "huge reply": lambda reply: reply._replace(text="word " * 100_000),
    "wrong model": lambda reply: reply._replace(model="another-model"),
    "no usage": lambda reply: reply._replace(says_usage=False),
    "lying usage": lambda reply: reply._replace(usage={"prompt_tokens": -7, "completion_tokens": "many"}),
    "boasting usage": lambda reply: reply._replace(usage={"prompt_tokens": 10**9, "completion_tokens": 10**9}),
    "error under 200": lambda reply: ServerReply(raw='{"error": {"message": "the worker died", "code": 502}}'),
    "error in a choice": lambda reply: reply._replace(choice_error={"message": "the worker died", "code": 502}),
    "loading": lambda reply: ServerReply("Loading model", status=503, error={"type": "unavailable_error"}),
    "content filter": lambda reply: ServerReply("flagged", status=400, error={"code": "content_filter"}),
    "filtered reply": lambda reply: reply._replace(finish_reason="content_filter"),
    "empty account": lambda reply: ServerReply("no quota", status=429, error={"code": "insufficient_quota"}),
    "slow trickle": lambda reply: reply._replace(chunk_delay_s=0.02),
    "silent in a stream": lambda reply: reply._replace(silent_after=2, streams=True),
    "error in a stream": lambda reply: reply._replace(stream_error={"message": "the worker died", "code": 502}),
    "no [DONE]": lambda reply: reply._replace(says_done=False),
    "comments": lambda reply: reply._replace(num_comments=3),
    "no stream": lambda reply: reply._replace(streams=False),
    "half a call": lambda reply: _with_calls(reply, arguments=lambda text: text[: max(1, len(text) // 2)]),
    "unknown tool": lambda reply: _with_calls(reply, name=lambda name: f"{name}_v2"),
    "calls with one id": lambda reply: _with_calls(reply, own_id="x"),
    "calls and text": lambda reply: reply._replace(text="Let me see.") if reply.tool_calls else reply,
    "arguments as an object": lambda reply: _with_calls(reply, arguments=json.loads),
    "call in the text": lambda reply: _in_text(reply),
}
"""All faults by name: each makes a bad reply from the good one. Those of streams and calls leave other replies good."""

FINAL_FAULTS: Final = frozenset({"empty account"})
"""Faults that stop a run at once; they occur only if they are named."""


def _with_calls(reply: ServerReply, *, own_id: str = "", **change: Callable[[Any], Any]) -> ServerReply:
    def changed(function: Mapping[str, Any]) -> dict[str, Any]:
        return {**function, **{name: make(function[name]) for name, make in change.items()}}

    if not reply.tool_calls:
        return reply
    calls = [
        {**call, "id": own_id or call.get("id"), "function": changed(call["function"])} for call in reply.tool_calls
    ]
    return reply._replace(tool_calls=calls)


def _in_text(reply: ServerReply) -> ServerReply:
    texts = [
        f'<tool_call>{{"name": "{call["function"]["name"]}", "arguments": {call["function"]["arguments"]}}}</tool_call>'
        for call in reply.tool_calls
    ]
    return reply._replace(text="\n".join([reply.text, *texts]), tool_calls=()) if texts else reply


class Misbehaviour:
    """Gives the replies of `respond`, with faults; see `misbehave`. `counts` holds the number of each fault so far."""

    def __init__(
        self,
        respond: Answer,
        faults: Mapping[str, float],
        *,
        seed: int,
        burst: int,
        outages: Sequence[tuple[float, float]],
        clock: Clock,
    ) -> None:
        for name in faults:
            if name not in FAULTS:
                raise UnknownNameError.of("fault", name, FAULTS)
        if sum(faults.values()) > 1:
            raise ValueError(f"The faults' rates must sum to at most 1, got {sum(faults.values()):g}.")
        self._respond, self._faults, self._seed, self._burst = respond, dict(faults), seed, burst
        self._outages, self._clock = tuple(outages), clock
        self._began_at: float | None = None
        self._attempts: Counter[str] = Counter()
        self._burst_left = 0
        self.counts: Counter[str] = Counter()

    def __call__(self, request: ServerRequest) -> ServerReply:
        """Return the reply, good or bad."""
        if self._is_down():
            self.counts["outage"] += 1
            return ServerReply(cut=True)
        reply, name = as_reply(self._respond(request)), self._draw_fault(request)
        self.counts[name or "good"] += 1
        return FAULTS[name](reply) if name else reply

    def _is_down(self) -> bool:
        self._began_at = self._clock() if self._began_at is None else self._began_at
        passed_s = self._clock() - self._began_at
        return any(start_s <= passed_s < start_s + length_s for start_s, length_s in self._outages)

    def _draw_fault(self, request: ServerRequest) -> str | None:
        asked = digest({name: value for name, value in request.body.items() if not name.startswith("stream")})
        self._attempts[asked] += 1
        if self._burst_left:
            self._burst_left -= 1
            return "500"
        # The k-th attempt at a request always has the same fate, whatever other requests come in between.
        position = np.random.default_rng(derive_seed(self._seed, asked, self._attempts[asked])).random()
        for name, rate in self._faults.items():
            if position < rate:
                self._burst_left = self._burst - 1 if name == "500" else 0
                return name
            position -= rate
        return None


def misbehave(
    respond: Answer,
    faults: Mapping[str, float] | None = None,
    *,
    seed: int = 0,
    burst: int = 1,
    outages: Sequence[tuple[float, float]] = (),
    clock: Clock = time.monotonic,
) -> Misbehaviour:
    """Return a `respond` for FakeOpenAIServer with faults: each fault in `faults` occurs at its rate (0 to 1).

    By default every fault that is not final occurs at a rate of 2 %. Whether a request fails follows from `seed`, the
    request (whether it asks for a stream or not) and the number of its attempts so far; it does not depend on the order
    of arrival. With `burst`, each 500 is the first of `burst` in a row; the others hit the next requests, whatever
    these are. Each of `outages` is a start and a length, in seconds after the first request: all requests are cut then.

    >>> respond = misbehave(lambda request: "Action: knock", {"500": 0.5, "silent": 0.1}, seed=1)
    >>> [respond(ServerRequest(n, {"messages": []}, {})).status for n in range(6)]
    [500, 500, 500, 500, 200, 200]
    """
    rates = {name: 0.02 for name in FAULTS if name not in FINAL_FAULTS} if faults is None else faults
    return Misbehaviour(respond, rates, seed=seed, burst=burst, outages=outages, clock=clock)
