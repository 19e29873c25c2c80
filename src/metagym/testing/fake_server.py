"""A real HTTP server on loopback that speaks the OpenAI protocol; its replies may be as bad as a test needs."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from metagym.types import Message


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


class Delivery(NamedTuple):
    """A reply that was delivered whole, for which a provider would send a bill."""

    number: int
    prompt_tokens: int
    completion_tokens: int


class FakeOpenAIServer:
    """A real HTTP server on loopback that speaks the OpenAI protocol, and replies as `respond` decides.

    `respond(request)` returns the reply's text, or a `ServerReply` with a status, a delay, a cut; `misbehave`
    makes a `respond` with faults. Use the server as a context manager. `base_url` is its address, `requests` lists
    all requests, `delivered` the replies that were delivered whole.

    >>> with FakeOpenAIServer(lambda request: "Thought: easy\\nAction: knock") as server:
    ...     server.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, respond: Callable[[ServerRequest], str | ServerReply]) -> None:
        self._respond = respond
        self._numbers = itertools.count()
        self.requests: list[ServerRequest] = []
        self.delivered: list[Delivery] = []
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
        answer = self._respond(request)
        reply = ServerReply(answer) if isinstance(answer, str) else answer
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
        usage = json.loads(body).get("usage") or {}
        delivery = Delivery(request.number, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
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
    num_prompt = sum(len(message["content"].split()) for message in request.messages)
    num_reply = len(reply.text.split()) + len(reply.reasoning.split())
    completion: dict[str, Any] = {
        "id": f"chatcmpl-{request.number}",
        "object": "chat.completion",
        "created": 0,
        "model": reply.model or request.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
    }
    if reply.says_usage:
        total = num_prompt + num_reply
        completion["usage"] = {"prompt_tokens": num_prompt, "completion_tokens": num_reply, "total_tokens": total}
    return json.dumps(completion).encode()
