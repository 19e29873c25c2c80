"""Faults for `FakeOpenAIServer`: a seed and the request alone decide which request fails, and how."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from metagym.errors import UnknownNameError
from metagym.testing.fake_server import ServerReply, ServerRequest
from metagym.types import derive_seed, digest

Answer = Callable[[ServerRequest], str | ServerReply]
Fault = Callable[[ServerReply], ServerReply]

_HUGE = "word " * 100_000

FAULTS: Final[Mapping[str, Fault]] = {
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
    "huge reply": lambda reply: reply._replace(text=_HUGE),
    "wrong model": lambda reply: reply._replace(model="another-model"),
    "no usage": lambda reply: reply._replace(says_usage=False),
}
"""All faults by name: each makes a bad reply from the good one."""


class Misbehaviour:
    """Gives the replies of `respond`, with faults; see `misbehave`. `counts` holds the number of each fault so far."""

    def __init__(self, respond: Answer, faults: Mapping[str, float], *, seed: int, burst: int) -> None:
        for name in faults:
            if name not in FAULTS:
                raise UnknownNameError.of("fault", name, FAULTS)
        if sum(faults.values()) > 1:
            raise ValueError(f"The faults' rates must sum to at most 1, got {sum(faults.values()):g}.")
        self._respond, self._faults, self._seed, self._burst = respond, dict(faults), seed, burst
        self._attempts: Counter[str] = Counter()
        self._burst_left = 0
        self.counts: Counter[str] = Counter()

    def __call__(self, request: ServerRequest) -> ServerReply:
        """Return the reply, good or bad."""
        answer = self._respond(request)
        reply = ServerReply(answer) if isinstance(answer, str) else answer
        name = self._draw(request)
        self.counts[name or "good"] += 1
        return FAULTS[name](reply) if name else reply

    def _draw(self, request: ServerRequest) -> str | None:
        asked = digest(request.body)
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
    respond: Answer, faults: Mapping[str, float] | None = None, *, seed: int = 0, burst: int = 1
) -> Misbehaviour:
    """Return a `respond` for FakeOpenAIServer with faults: each fault in `faults` occurs at its rate (0 to 1).

    By default every fault occurs at a rate of 2 %. Whether a request fails follows from `seed`, the request and the
    number of its attempts so far; it does not depend on the order of arrival. With `burst`, each 500 is the first of
    `burst` in a row; the others hit the next requests, whatever these are.

    >>> from metagym.testing import FakeOpenAIServer, misbehave
    >>> respond = misbehave(lambda request: "Action: knock", {"500": 0.5, "silent": 0.1}, seed=1)
    >>> with FakeOpenAIServer(respond) as server:
    ...     respond.counts.total()
    0
    """
    rates = dict.fromkeys(FAULTS, 0.02) if faults is None else faults
    return Misbehaviour(respond, rates, seed=seed, burst=burst)
