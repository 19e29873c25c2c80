"""A real HTTP server on loopback that speaks the OpenAI protocol, and the faults that its replies may have."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from aiohttp import web

from metagym.errors import UnknownNameError
from metagym.types import Message, Usage, derive_seed, digest


class ServerRequest(NamedTuple):
    """A request to a FakeOpenAIServer."""

    number: int
    """The number of requests before this one."""
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def messages(self) -> list[Message]:
        """The conversation."""
        return list(self.body["messages"])


class ServerReply(NamedTuple):
    """A reply of a FakeOpenAIServer, good or bad."""

    text: str = ""
    status: int = 200
    delay_s: float = 0.0
    """Seconds before the reply; with `math.inf` it is never sent."""
    headers: Mapping[str, str] = {}
    finish_reason: str = "stop"
    raw: str | None = None
    """Sent as the body instead of a completion."""
    cut: bool = False
    """Close the connection without an answer."""
    cut_after: int | None = None
    """Close the connection after this number of bytes of the body."""
    reasoning: str = ""
    """Sent as `reasoning_content`."""
    model: str | None = None
    """The model's name in the reply; by default the requested one."""
    says_usage: bool = True
    """Whether the reply reports the tokens used."""
    error: Mapping[str, Any] = {}
    """More fields of an error's body, such as `code` and `param`."""


Answer = Callable[[ServerRequest], str | ServerReply]


class FakeOpenAIServer:
    """A real HTTP server on loopback that speaks the OpenAI protocol, and replies as `respond` decides.

    `respond(request)` returns the reply's text, or a `ServerReply` with a status, a delay, a cut; `misbehave`
    makes a `respond` with faults. Use the server as a context manager. `base_url` is its address, `requests` lists
    all requests, `delivered` the tokens of the replies that were delivered whole: a provider would bill them.

    >>> with FakeOpenAIServer(lambda request: "Thought: easy\\nAction: knock") as server:
    ...     server.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, respond: Answer) -> None:
        self._respond = respond
        self._numbers = itertools.count()
        self.requests: list[ServerRequest] = []
        self.delivered: list[Usage] = []
        self.base_url = ""

    def __enter__(self) -> FakeOpenAIServer:
        started = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(started,), name="fake-openai", daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _main(self, started: threading.Event) -> None:
        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            app = web.Application(client_max_size=2**30)
            app.router.add_post("/v1/chat/completions", self._answer)
            app.router.add_get("/v1/models", self._list_models)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.base_url = f"http://{host}:{port}/v1"
            started.set()
            await self._stop.wait()
            await runner.cleanup()

        asyncio.run(serve())

    async def _list_models(self, http_request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    async def _answer(self, http_request: web.Request) -> web.StreamResponse:
        request = ServerRequest(next(self._numbers), await http_request.json(), dict(http_request.headers))
        self.requests.append(request)
        reply = _as_reply(self._respond(request))
        if reply.delay_s == math.inf:
            await self._stop.wait()
        elif reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        transport = http_request.transport
        if reply.cut and transport is not None:
            transport.close()
            return web.Response()
        body = _body(request, reply)
        if reply.cut_after is not None and transport is not None:
            begun = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
            await begun.prepare(http_request)
            await begun.write(body[: reply.cut_after])
            transport.close()
            return begun
        response = web.Response(body=body, status=reply.status, headers=reply.headers, content_type="application/json")
        if reply.raw is not None or reply.status != 200 or transport is None or transport.is_closing():
            return response
        delivery = _usage(request, reply)
        # Counted before it is sent, because the client may read the count at once; removed if the client has gone.
        self.delivered.append(delivery)
        try:
            await response.prepare(http_request)
            await response.write_eof()
        except ConnectionError:
            self.delivered.remove(delivery)
        return response


def _body(request: ServerRequest, reply: ServerReply) -> bytes:
    if reply.raw is not None:
        return reply.raw.encode()
    if reply.status != 200:
        error = {"message": reply.text or f"fault {reply.status}", "type": "fault", "code": None, **reply.error}
        return json.dumps({"error": error}).encode()
    message = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    completion: dict[str, Any] = {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion",
        "created": 0,
        "model": reply.model or request.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
    }
    if reply.says_usage:
        usage = _usage(request, reply)
        counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
        completion["usage"] = {**counts, "total_tokens": sum(counts.values())}
    return json.dumps(completion).encode()


def _usage(request: ServerRequest, reply: ServerReply) -> Usage:
    if not reply.says_usage:
        return Usage()
    num_prompt = sum(len(message["content"].split()) for message in request.messages)
    return Usage(prompt_tokens=num_prompt, completion_tokens=len(f"{reply.text} {reply.reasoning}".split()))


def _as_reply(answer: str | ServerReply) -> ServerReply:
    return ServerReply(answer) if isinstance(answer, str) else answer


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
        reply, name = _as_reply(self._respond(request)), self._draw_fault(request)
        self.counts[name or "good"] += 1
        return FAULTS[name](reply) if name else reply

    def _draw_fault(self, request: ServerRequest) -> str | None:
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

    >>> respond = misbehave(lambda request: "Action: knock", {"500": 0.5, "silent": 0.1}, seed=1)
    >>> with FakeOpenAIServer(respond) as server:
    ...     respond.counts.total()
    0
    """
    rates = dict.fromkeys(FAULTS, 0.02) if faults is None else faults
    return Misbehaviour(respond, rates, seed=seed, burst=burst)
